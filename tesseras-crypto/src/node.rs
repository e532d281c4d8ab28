//! A node's identity: an Ed25519 key and a nonce with a proof of work.
//!
//! h = BLAKE3(public key ‖ nonce); the NodeId is the first 20 bytes of h; the work is the number of
//! zero bits at the end of h. It deters accidents, not a determined attacker.

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use tesseras_core::ids::NodeId;
use zeroize::Zeroizing;

use crate::{KeyError, random};

/// The proof of work that the public network requires of a node: zero bits at the end of h.
pub const DEFAULT_WORK_BITS: u32 = 20;

/// The public identity of a node, from which its NodeId is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodePublic {
    /// The raw Ed25519 public key.
    pub public_key: [u8; 32],
    /// The nonce of the proof of work.
    pub nonce: [u8; 8],
}

/// The secret half of a node. Wiped from memory when dropped.
pub struct NodeKeys {
    signing: SigningKey,
    nonce: [u8; 8],
}

impl NodePublic {
    /// The id derived from key and nonce.
    pub fn id(&self) -> NodeId {
        NodeId::from_slice(&self.hash()[..NodeId::LEN]).expect("20 of 32 bytes")
    }

    /// The proof of work of key and nonce, in bits.
    pub fn work_bits(&self) -> u32 {
        let hash = self.hash();
        let tail = u128::from_be_bytes(hash[16..].try_into().expect("16 of 32 bytes"));
        tail.trailing_zeros()
    }

    /// Whether this node signed these bytes. `false` for a malformed key or signature.
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.public_key) else { return false };
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok())
    }

    fn hash(&self) -> [u8; 32] {
        let mut input = [0; 40];
        input[..32].copy_from_slice(&self.public_key);
        input[32..].copy_from_slice(&self.nonce);
        *crate::blake3(&input).as_bytes()
    }
}

impl NodeKeys {
    /// Creates a new node with at least `work_bits` of work: 2^work_bits hashes on average, about
    /// 0.1 s at [`DEFAULT_WORK_BITS`].
    pub fn generate(work_bits: u32) -> Result<Self, KeyError> {
        let seed = random::<32>()?;
        let signing = SigningKey::from_bytes(&seed);
        let mut public =
            NodePublic { public_key: *signing.verifying_key().as_bytes(), nonce: *random::<8>()? };
        while public.work_bits() < work_bits {
            public.nonce = u64::from_le_bytes(public.nonce).wrapping_add(1).to_le_bytes();
        }
        Ok(Self { signing, nonce: public.nonce })
    }

    /// The node of a stored secret seed and nonce.
    pub fn from_parts(seed: &[u8; 32], nonce: [u8; 8]) -> Self {
        Self { signing: SigningKey::from_bytes(seed), nonce }
    }

    /// The secret seed, to be stored or turned into a certificate.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> NodePublic {
        NodePublic { public_key: *self.signing.verifying_key().as_bytes(), nonce: self.nonce }
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.public().id()
    }

    /// Signs bytes (RFC 8032). They must start with a domain string and a version.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes).to_bytes()
    }
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKeys({}, secret)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_shows_its_work_and_keeps_its_id() {
        let keys = NodeKeys::generate(10).expect("randomness");
        assert!(keys.public().work_bits() >= 10);
        let again = NodeKeys::from_parts(&keys.seed(), keys.public().nonce);
        assert_eq!(again.id(), keys.id());
        assert!(keys.public().verify(b"hello", &again.sign(b"hello")));
        assert!(!keys.public().verify(b"hullo", &again.sign(b"hello")));
        assert!(!keys.public().verify(b"hello", b"short"));
    }

    #[test]
    fn another_nonce_is_another_node() {
        let keys = NodeKeys::generate(0).expect("randomness");
        let mut other = keys.public();
        other.nonce[0] ^= 1;
        assert_ne!(other.id(), keys.id());
    }
}
