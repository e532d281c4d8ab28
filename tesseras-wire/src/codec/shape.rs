//! Checks the structure of a MessagePack value before it is decoded.
//!
//! A peer can claim a list of four billion items in five bytes, or nest lists until a recursive
//! reader has no stack left. Here every claimed length is checked against the bytes that are
//! present, with a small explicit stack.

/// The deepest nesting that a message may have. Ours have about 6 levels.
pub(super) const MAX_DEPTH: usize = 32;

/// Checks that the bytes are exactly one whole value; the error is a message for people.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut rest = bytes;
    let mut open = [0_u64; MAX_DEPTH];
    let mut depth = 0;
    loop {
        match item(&mut rest)? {
            0 => {}
            items if items > rest.len() as u64 => {
                return Err("it claims more items than it contains");
            }
            items => {
                *open.get_mut(depth).ok_or("it is nested too deeply")? = items;
                depth += 1;
                continue;
            }
        }
        while depth > 0 {
            open[depth - 1] -= 1;
            if open[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
        if depth == 0 {
            return if rest.is_empty() { Ok(()) } else { Err("it is followed by more bytes") };
        }
    }
}

/// Reads one marker and its bytes; returns how many values are nested in it.
fn item(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let marker = number(rest, 1)?;
    let (payload, items) = match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
        0x80..=0x8f => (0, 2 * (marker & 0x0f)),
        0x90..=0x9f => (0, marker & 0x0f),
        0xa0..=0xbf => (marker & 0x1f, 0),
        0xc4 | 0xd9 => (number(rest, 1)?, 0),
        0xc5 | 0xda => (number(rest, 2)?, 0),
        0xc6 | 0xdb => (number(rest, 4)?, 0),
        0xc7 => (number(rest, 1)? + 1, 0),
        0xc8 => (number(rest, 2)? + 1, 0),
        0xc9 => (number(rest, 4)? + 1, 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xd4..=0xd8 => (1 + (1 << (marker - 0xd4)), 0),
        0xdc => (0, number(rest, 2)?),
        0xdd => (0, number(rest, 4)?),
        0xde => (0, 2 * number(rest, 2)?),
        0xdf => (0, 2 * number(rest, 4)?),
        _ => return Err("it has an unknown MessagePack marker"),
    };
    take(rest, payload)?;
    Ok(items)
}

/// A big-endian number of up to four bytes.
fn number(rest: &mut &[u8], bytes: u64) -> Result<u64, &'static str> {
    Ok(take(rest, bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn take<'a>(rest: &mut &'a [u8], bytes: u64) -> Result<&'a [u8], &'static str> {
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= rest.len());
    let (taken, after) = rest.split_at(bytes.ok_or("it is truncated")?);
    *rest = after;
    Ok(taken)
}
