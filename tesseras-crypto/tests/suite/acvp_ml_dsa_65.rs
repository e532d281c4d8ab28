//! Known answers of NIST's Automated Cryptographic Validation Protocol: the public key that follows
//! from a seed (FIPS 204, algorithm 6). Vector set 42 of ML-DSA-keyGen-FIPS204, ML-DSA-65, as the
//! crate `fips204` 0.5 carries it; of each public key only its SHA-256 is kept here.

use tesseras_crypto::{CreatorKeys, sha256};

use crate::pem::der;

const VECTORS: &str = include_str!("vectors/acvp-ml-dsa-65-keygen.txt");
const PUBLIC_KEY_BYTES: usize = 1952;

#[test]
fn a_seed_gives_the_public_key_that_nist_expects() {
    let mut count = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let mut seed = [0; 32];
        hex::decode_to_slice(fields[1], &mut seed).expect("a seed in hex");
        let spki = der(&CreatorKeys::from_seeds(&[1; 32], &seed).public().ml_dsa_65_pem());
        let key = &spki[spki.len() - PUBLIC_KEY_BYTES..];
        assert_eq!(sha256(key).to_string(), fields[2], "test case {}", fields[0]);
        count += 1;
    }
    assert_eq!(count, 25);
}
