//! Conversion from a TOML value to a typed one, and back to text.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

const KIB: u64 = 1024;
/// Binary and decimal units; a number is shown in the one that makes it shortest.
const UNITS: [(&str, u64); 9] = [
    ("TiB", KIB * KIB * KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("MiB", KIB * KIB),
    ("KiB", KIB),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// The largest length that a setting may have, in bytes; far more than any disk, far from overflow.
pub const MAX_BYTES: u64 = 1 << 60;

/// A whole number in a range.
pub fn integer(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let wanted = || format!("expected a whole number from {} to {}", range.start(), range.end());
    let number =
        value.as_integer().ok_or_else(|| format!("{}, found {}", wanted(), shown(value)))?;
    u64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("{}, found {}", wanted(), number.as_str()))
}

/// A length: a whole number of bytes, or a string such as "10 GiB".
pub fn bytes(value: &DeValue<'_>) -> Result<u64, String> {
    match value.as_str() {
        Some(text) => parse_bytes(text),
        None => integer(value, &(0..=MAX_BYTES)).map_err(|_| {
            format!("expected bytes or a string such as \"10 GiB\", found {}", shown(value))
        }),
    }
}

/// Reads a string such as "10 GiB".
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let refuse = || format!("expected a length such as \"10 GiB\", at most 1 EiB, found {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        _ => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?.1,
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(factor).filter(|bytes| *bytes <= MAX_BYTES).ok_or_else(refuse)
}

/// A length as the string that [`parse_bytes`] reads.
pub fn show_bytes(bytes: u64) -> String {
    let fits = |unit: &&(&str, u64)| bytes >= unit.1 && bytes.is_multiple_of(unit.1);
    match UNITS.iter().filter(fits).min_by_key(|unit| bytes / unit.1) {
        Some((name, factor)) => format!("\"{} {name}\"", bytes / factor),
        None => "0".to_owned(),
    }
}

/// True or false.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", shown(value)))
}

/// A string.
pub fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("expected a string, found {}", shown(value)))
}

/// A path; `~` at its beginning is the home directory.
pub fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    expand(text(value)?, home().as_deref())
}

/// The home directory of this user.
pub fn home() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned())
}

fn expand(text: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("expected a path, found an empty string".to_owned());
    }
    let rest = match text.strip_prefix('~') {
        Some("") => "",
        Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
        Some(_) => return Err(format!("{text:?}: only one's own home can be written as ~")),
        None => return Ok(PathBuf::from(text)),
    };
    let home = home.ok_or("~ cannot be expanded: this user has no home directory")?;
    Ok(if rest.is_empty() { home.to_owned() } else { home.join(rest) })
}

/// A path as TOML text, `~` for the home directory.
pub fn show_path(path: &Path) -> String {
    let text = match home().and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    };
    toml::Value::String(text).to_string()
}

/// An IP address and a port.
pub fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    parse_address(text(value)?)
}

/// Reads an IP address and a port.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("expected an address such as \"192.0.2.1:7310\" or \"[::]:7310\", found {text:?}")
    })
}

/// [`address`]; an empty string means none.
pub fn optional_address(value: &DeValue<'_>) -> Result<Option<SocketAddr>, String> {
    if text(value)?.is_empty() { Ok(None) } else { address(value).map(Some) }
}

/// An optional address as TOML text.
pub fn show_optional(address: Option<SocketAddr>) -> String {
    format!("\"{}\"", address.map(|a| a.to_string()).unwrap_or_default())
}

/// A list of addresses, or a single one.
fn addresses(value: &DeValue<'_>) -> Result<Vec<SocketAddr>, String> {
    match value.as_array() {
        Some(list) => list.iter().map(|one| address(one.get_ref())).collect(),
        None => Ok(vec![address(value)?]),
    }
}

/// [`addresses`] that another node could dial.
pub fn dialable(value: &DeValue<'_>) -> Result<Vec<SocketAddr>, String> {
    let addresses = addresses(value)?;
    addresses.iter().try_for_each(check_dialable)?;
    Ok(addresses)
}

/// Refuses an address that another node could not dial.
pub fn check_dialable(address: &SocketAddr) -> Result<(), String> {
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(format!("{address} is not an address that another node could dial"));
    }
    Ok(())
}

/// Addresses as a TOML list.
pub fn show_addresses(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// A list of `host:port`.
pub fn peers(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let list = value
        .as_array()
        .ok_or_else(|| format!("expected a list of \"host:port\", found {}", shown(value)))?;
    list.iter().map(|peer| parse_peer(text(peer.get_ref())?)).collect()
}

/// Checks one `host:port`; the name is resolved later.
pub fn parse_peer(text: &str) -> Result<String, String> {
    let refuse = || format!("expected a peer such as \"host:port\", found {text:?}");
    if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return Ok(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let named = (1..=253).contains(&host.len()) && host.bytes().all(plain);
    // Digits and dots alone are a malformed address, not a name.
    let named = named && host.bytes().any(|b| b.is_ascii_alphabetic());
    match port.parse::<u16>() {
        Ok(1..) if named => Ok(text.to_owned()),
        _ => Err(refuse()),
    }
}

/// A value for an error message, shortened.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            format!("the string {:?}", text.chars().take(60).collect::<String>())
        }
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("10 GiB", 10 << 30),
            ("10GiB", 10 << 30),
            ("1 GB", 1_000_000_000),
            ("3 kB", 3000),
            ("1048576 TiB", 1 << 60),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5 GiB", "10 gib", "1048577 TiB", "99999999999999999999"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        for bytes in [0, 1, 1000, 1024, 1536, 10 << 30, 123_456_789] {
            assert_eq!(parse_bytes(show_bytes(bytes).trim_matches('"')), Ok(bytes));
        }
    }

    #[test]
    fn home_is_expanded_only_at_the_beginning() {
        let home = Some(Path::new("/home/ana"));
        let expand = |text: &str| super::expand(text, home);
        assert_eq!(expand("~/memories"), Ok("/home/ana/memories".into()));
        assert_eq!(expand("~"), Ok("/home/ana".into()));
        assert_eq!(expand("/srv/~"), Ok("/srv/~".into()));
        assert!(expand("~rui/memories").is_err());
        assert!(super::expand("~/memories", None).is_err());
    }

    #[test]
    fn peers_are_addresses_or_names_with_a_port() {
        for good in ["127.0.0.1:7310", "[::1]:7310", "node.example.org:7310", "localhost:1"] {
            assert!(parse_peer(good).is_ok(), "{good}");
        }
        for bad in ["", "host", "host:", "host:0", "host:65536", "1.2.3:7", "a b:7", "::1:7310"] {
            assert!(parse_peer(bad).is_err(), "{bad}");
        }
    }
}
