//! Malformed keys and signatures are refused, and never panic.

use proptest::prelude::*;
use tesseras_crypto::{CreatorKeys, CreatorPublic, NodeKeys, NodePublic};

use crate::{check, somebody};

/// A text with some of its bytes changed, cut or doubled, as far as it is still UTF-8.
fn mutated(text: String) -> impl Strategy<Value = String> {
    let length = text.len();
    let change = (0..length, any::<u8>(), 0..4u8);
    prop::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = text.clone().into_bytes();
        for (at, byte, kind) in changes {
            let at = at.min(bytes.len().saturating_sub(1));
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 => drop(bytes.drain(at..bytes.len().min(at + 1))),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_a_key_reader_panic(text in ".{0,300}", other in any::<Vec<u8>>()) {
        let public = somebody().public();
        let other = String::from_utf8_lossy(&other).into_owned();
        prop_assert!(CreatorPublic::from_pem(&text, &public.ml_dsa_65_pem()).is_err());
        prop_assert!(CreatorPublic::from_pem(&public.ed25519_pem(), &other).is_err());
        prop_assert!(CreatorKeys::from_pem(&text, &other).is_err());
    }

    #[test]
    fn no_damage_makes_a_key_reader_panic(
        ed in mutated(somebody().public().ed25519_pem()),
        ml in mutated(somebody().public().ml_dsa_65_pem()),
        secret_ed in mutated(somebody().ed25519_pem().to_string()),
        secret_ml in mutated(somebody().ml_dsa_65_pem().to_string()),
    ) {
        // A damaged key may still be some key. What it then says of a signature is a plain no.
        let good = somebody().sign(b"x");
        if let Ok(other) = CreatorPublic::from_pem(&ed, &somebody().public().ml_dsa_65_pem()) {
            let same = other.id() == somebody().public().id();
            prop_assert_eq!(other.verify(b"x", &good).ed25519, same);
        }
        if let Ok(other) = CreatorPublic::from_pem(&somebody().public().ed25519_pem(), &ml) {
            let same = other.id() == somebody().public().id();
            prop_assert_eq!(other.verify(b"x", &good).ml_dsa_65, same);
        }
        let _ = CreatorKeys::from_pem(&secret_ed, &secret_ml);
    }

    #[test]
    fn only_the_signature_holds(
        bytes in any::<[u8; 16]>(),
        bit in 0..64 * 8usize,
        long_bit in 0..3309 * 8usize,
        junk in prop::collection::vec(any::<u8>(), 0..80),
        long_junk in prop::collection::vec(any::<u8>(), 3300..3320),
    ) {
        let keys = somebody();
        let mut pair = keys.sign(&bytes);
        prop_assert!(keys.public().verify(&bytes, &pair).both());
        pair.ed25519[bit / 8] ^= 1 << (bit % 8);
        pair.ml_dsa_65[long_bit / 8] ^= 1 << (long_bit % 8);
        let found = keys.public().verify(&bytes, &pair);
        prop_assert!(!found.ed25519 && !found.ml_dsa_65);
        let found = check(&keys.public(), &bytes, &junk, &long_junk);
        prop_assert!(!found.ed25519 && !found.ml_dsa_65);
    }

    #[test]
    fn no_claim_to_be_a_node_panics(
        public_key in any::<[u8; 32]>(),
        nonce in any::<[u8; 8]>(),
        bytes in any::<Vec<u8>>(),
        signature in prop::collection::vec(any::<u8>(), 60..68),
    ) {
        let claim = NodePublic { public_key, nonce };
        prop_assert!(!claim.verify(&bytes, &signature));
        prop_assert!(claim.work_bits() <= 128);
        prop_assert_eq!(claim.id(), NodePublic { public_key, nonce }.id());
    }
}

#[test]
fn keys_of_small_order_sign_nothing() {
    // With a public key of order 1, 2, 4 or 8 one signature fits many messages. These are the
    // canonical encodings of the identity and of the points of order 2 and 4.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut two = [0xff; 32];
    two[0] = 0xec;
    two[31] = 0x7f;
    for public_key in [identity, two, [0; 32]] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&identity);
        let claim = NodePublic { public_key, nonce: [0; 8] };
        for message in [&b"a"[..], b"b", b"c", b"d"] {
            assert!(!claim.verify(message, &signature));
        }
    }
}

#[test]
fn secrets_are_not_printed() {
    let node = NodeKeys::from_parts(&[3; 32], [0; 8]);
    let printed = format!("{:?} {node:?}", somebody());
    assert!(printed.contains("secret"));
    for seed in [[3u8; 32], [7; 32], [8; 32]] {
        assert!(!printed.contains(&hex::encode(seed)));
    }
}
