//! What people can do about a store that does not work: the same for every program that opens it.

use tesseras_core::ports::StoreError;

/// What to do about an error of the whole store; `None` where that depends on what was being done.
pub fn hint(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Full { .. } => Some("free some disk space, then try again"),
        StoreError::IndexMissing { .. } | StoreError::IndexDamaged { .. } => Some(
            "`tes repair --library` lists your tesserae again from the stored files; it deletes \
             nothing",
        ),
        StoreError::ReadOnly { .. } => Some(
            "make the data directory writable; `tes list`, `show`, `verify`, `export` and `card` \
             work without",
        ),
        StoreError::NewerFormat { .. } => {
            Some("install the version that last used this data directory, or a newer one")
        }
        _ => None,
    }
}
