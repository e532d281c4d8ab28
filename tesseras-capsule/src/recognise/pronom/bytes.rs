//! Looks at the first bytes of a file.

/// Whether these bytes are at this offset.
pub(super) fn at(head: &[u8], offset: usize, bytes: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(bytes))
}

/// Where these bytes are for the first time.
pub(super) fn find(head: &[u8], bytes: &[u8]) -> Option<usize> {
    head.windows(bytes.len()).position(|window| window == bytes)
}

/// Whether these bytes are anywhere.
pub(super) fn has(head: &[u8], bytes: &[u8]) -> bool {
    find(head, bytes).is_some()
}

/// The four bytes at this offset.
pub(super) fn four(head: &[u8], offset: usize) -> Option<[u8; 4]> {
    head.get(offset..offset.checked_add(4)?)?.try_into().ok()
}
