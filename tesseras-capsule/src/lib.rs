//! From a folder of memories to a signed capsule and back. Knows neither network nor SQL: it works
//! over the core's ports.
//!
//! To follow one memory: [`walk`] finds its file; [`recognise`] detects its format from its
//! content; [`mod@create`] stages it, describes it ([`meta`]) and signs the MANIFEST; [`open`]
//! reads it back; [`mod@export`] writes the directory for people; [`pack_reader`] presents the
//! capsule as one tar without ever holding it; [`mod@unpack`] turns such a tar into a stored
//! capsule again, [`import`] such a directory; [`verify`] checks that all of it is still what its
//! creator signed; [`restore`] writes the original folder.

mod above;
pub mod card;
pub mod create;
mod create_error;
pub mod dates;
mod dirfd;
pub mod exif;
pub mod export;
pub mod exported;
mod folder_plan;
mod gather;
mod hash_file;
pub mod import;
mod index;
pub mod meta;
mod null_blob_store;
pub mod open;
pub mod pack_reader;
mod partial;
mod pump;
pub mod recognise;
pub mod restore;
mod staging;
mod sync_tree;
mod texts;
pub mod unpack;
pub mod verify;
pub mod walk;

pub use card::{CardFacts, Kept, recovery_card};
pub use create::{CreateOptions, Created, create, dry_run};
pub use create_error::CreateError;
pub use export::{ExportError, export, export_on_disk};
pub use exported::{ExportedCapsule, ExportedError};
pub use gather::Draft;
pub use import::{ImportError, Imported, import};
pub use meta::{MemoryType, Place, rfc_3339};
pub use open::{MemorySummary, OpenError, StoredCapsule};
pub use pack_reader::PackReader;
pub use partial::{Discarded, discard_unfinished};
pub use restore::{RestoreError, Restored, restore, restore_on_disk};
pub use unpack::{UnpackError, Unpacked, Unpacking, unpack};
pub use verify::{
    FileStatus, Report, SignatureStatus, VerifyError, verify_directory, verify_opened,
    verify_stored,
};
pub use walk::{SkipReason, Skipped};
