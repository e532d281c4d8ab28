//! Identifiers as types: the type says what was hashed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Why a string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected {expected} hex digits for a {what}, found {found:?}")]
pub struct ParseIdError {
    what: &'static str,
    expected: usize,
    found: String,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Its length in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Wraps a slice of exactly [`Self::LEN`] bytes; `None` for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// Parses lower-case hex, the only form that is ever written.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refuse = || ParseIdError {
                    what: $what,
                    expected: 2 * $len,
                    found: text.chars().take(2 * $len + 1).collect(),
                };
                if text.len() != 2 * $len || text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(refuse());
                }
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| refuse())?;
                Ok(Self(bytes))
            }
        }

        /// Hex for people (JSON), raw bytes for machines (MessagePack).
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} bytes or their hex: a {}", $len, $what)
                    }

                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        $name::from_slice(bytes)
                            .ok_or_else(|| E::invalid_length(bytes.len(), &self))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Visitor)
                } else {
                    deserializer.deserialize_bytes(Visitor)
                }
            }
        }
    };
}

id_type!(
    /// BLAKE3-256 of some bytes: a file, a blob, a fragment, a pack.
    ContentHash,
    32,
    "content hash"
);
id_type!(
    /// SHA-256 of some bytes (FIPS 180-4), the second, independent digest of every file.
    Sha256Digest,
    32,
    "SHA-256 digest"
);
id_type!(
    /// The id of a tessera: BLAKE3-256 of its MANIFEST's bytes.
    TesseraHash,
    32,
    "tessera hash"
);
id_type!(
    /// The id of a creator: BLAKE3-256 of both public keys, Ed25519 first, as raw bytes.
    CreatorId,
    32,
    "creator id"
);
id_type!(
    /// The id of a node: first 20 bytes of BLAKE3(public key ‖ nonce).
    NodeId,
    20,
    "node id"
);
id_type!(
    /// A point of the 160-bit XOR space that node ids and tesserae share.
    DhtKey,
    20,
    "DHT key"
);

impl TesseraHash {
    /// The key at which the holders of this tessera are announced: the hash's first 20 bytes.
    pub fn dht_key(&self) -> DhtKey {
        let mut key = [0; 20];
        key.copy_from_slice(&self.0[..20]);
        DhtKey(key)
    }

    /// The first 16 hex digits, used in the name of an exported directory.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

impl From<ContentHash> for TesseraHash {
    /// The content hash of a MANIFEST is the hash of its tessera.
    fn from(hash: ContentHash) -> Self {
        Self(hash.0)
    }
}

impl From<TesseraHash> for ContentHash {
    fn from(hash: TesseraHash) -> Self {
        Self(hash.0)
    }
}

impl From<NodeId> for DhtKey {
    fn from(id: NodeId) -> Self {
        Self(id.0)
    }
}

/// A distance in the XOR space (Maymounkov and Mazières, Kademlia, 2002). Smaller is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; 20]);

impl Distance {
    /// The number of leading zero bits, 160 for a distance of zero.
    pub fn leading_zeros(&self) -> u32 {
        let mut zeros = 0;
        for byte in self.0 {
            zeros += byte.leading_zeros();
            if byte != 0 {
                break;
            }
        }
        zeros
    }
}

impl DhtKey {
    /// The XOR distance between two points.
    pub fn distance(&self, other: &DhtKey) -> Distance {
        let mut out = [0; 20];
        for (o, (a, b)) in out.iter_mut().zip(self.0.iter().zip(other.0)) {
            *o = a ^ b;
        }
        Distance(out)
    }
}

impl NodeId {
    /// The XOR distance from this node to a point.
    pub fn distance(&self, key: &DhtKey) -> Distance {
        DhtKey(self.0).distance(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_anything_else_is_refused() {
        let hash = ContentHash::new([0xab; 32]);
        assert_eq!(hash.to_string().parse::<ContentHash>(), Ok(hash));
        assert!("AB".repeat(32).parse::<ContentHash>().is_err());
        assert!("ab".repeat(31).parse::<ContentHash>().is_err());
        assert!("zz".repeat(32).parse::<ContentHash>().is_err());
    }

    #[test]
    fn distance_is_symmetric_and_zero_only_to_itself() {
        let a = DhtKey::new([1; 20]);
        let b = DhtKey::new([3; 20]);
        assert_eq!(a.distance(&b), b.distance(&a));
        assert_eq!(a.distance(&a).leading_zeros(), 160);
        assert_eq!(a.distance(&b).leading_zeros(), 6);
    }
}
