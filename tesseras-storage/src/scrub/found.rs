//! Records that an object was found damaged, or sound, unless it was replaced meanwhile; and whether
//! its file is there at all.

use tesseras_core::ids::ContentHash;
use tesseras_core::ports::StoreError;

use crate::cas::{Cas, FileReader, object_bytes, set_damaged};

/// Whether the file of an object is there in its full length; nothing of it is read. If it is not,
/// the object is recorded as damaged. Fails if the file cannot be opened for a reason that says
/// nothing about the object, as when the disk is away.
pub(crate) fn is_there(cas: &Cas, object: &ContentHash, bytes: u64) -> Result<bool, StoreError> {
    // The name alone is looked up as long as all is well.
    if cas.files().has(object, bytes).is_ok_and(|is_there| is_there) {
        return Ok(true);
    }
    match cas.open_of_length(object, bytes) {
        Ok(_) => return Ok(true),
        Err(error) if error.is_damage() => {}
        Err(error) => return Err(error),
    }
    if record_found(cas, object, bytes, None)? {
        let path = cas.files().path(object);
        tracing::error!(path = %path.display(), "a stored file is gone, or has another length");
    }
    Ok(false)
}

/// Records an object as damaged that was found so; `false` if it was replaced or removed since it was
/// opened.
pub(super) fn record_found(
    cas: &Cas,
    object: &ContentHash,
    bytes: u64,
    file: Option<&FileReader>,
) -> Result<bool, StoreError> {
    cas.database().write_durably("noting a damaged object", |tx| {
        // No file is put into place while this runs.
        if object_bytes(tx, object)?.is_none() || is_replaced(cas, object, bytes, file)? {
            return Ok(false);
        }
        set_damaged(tx, object, true)?;
        Ok(true)
    })
}

/// Records that an object is not damaged any more.
pub(super) fn record_sound(cas: &Cas, object: &ContentHash) -> Result<(), StoreError> {
    cas.database().write_durably("noting a sound object", |tx| {
        set_damaged(tx, object, false)?;
        Ok(())
    })
}

/// Whether another file is there now than the one that was found damaged, or a file where none was.
fn is_replaced(
    cas: &Cas,
    object: &ContentHash,
    bytes: u64,
    file: Option<&FileReader>,
) -> Result<bool, StoreError> {
    match file {
        Some(file) => Ok(!file.is_in_place()?),
        None => cas.files().has(object, bytes),
    }
}
