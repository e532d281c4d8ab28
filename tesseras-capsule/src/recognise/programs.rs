//! Programs: executable files. Only certain signatures count, since a memory that is left out by
//! mistake is lost.

/// Whether a file's first bytes are those of a program or a part of one.
pub(super) fn is_program(head: &[u8]) -> bool {
    let magic = head.get(..4).unwrap_or_default();
    matches!(
        magic,
        // ELF: Linux, Android and others.
        b"\x7fELF"
        // Mach-O: macOS and iOS, in both byte orders and word sizes.
        | b"\xfe\xed\xfa\xce" | b"\xfe\xed\xfa\xcf" | b"\xce\xfa\xed\xfe" | b"\xcf\xfa\xed\xfe"
        // A class of Java, or several Mach-O in one.
        | b"\xca\xfe\xba\xbe"
        | b"\0asm"
        | b"dex\n"
    ) || is_windows_program(head)
}

/// "MZ" alone may start any file; the header that it points to does not.
fn is_windows_program(head: &[u8]) -> bool {
    let at = head.get(0x3c..0x40).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let header = at.and_then(|at| head.get(usize::try_from(at).ok()?..));
    head.starts_with(b"MZ")
        && header.is_some_and(|h| h.starts_with(b"PE\0\0") || h.starts_with(b"NE"))
}
