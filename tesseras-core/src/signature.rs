//! Signatures as plain data. The next layer creates and verifies them.

use serde::{Deserialize, Serialize};

/// Bytes of an Ed25519 signature (RFC 8032).
pub const ED25519_SIGNATURE_BYTES: usize = 64;
/// Bytes of an ML-DSA-65 signature (FIPS 204).
pub const ML_DSA_65_SIGNATURE_BYTES: usize = 3309;

/// Both of a creator's raw signatures over the same bytes; their lengths are unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignaturePair {
    /// RFC 8032, 64 bytes.
    pub ed25519: Vec<u8>,
    /// FIPS 204, pure, empty context, 3309 bytes.
    pub ml_dsa_65: Vec<u8>,
}
