//! One MANIFEST, its keys and its signatures: each part must be the right one.

use tesseras_core::manifest::{FileEntry, Manifest, listed};
use tesseras_core::path::CapsulePath;
use tesseras_core::signature::SignaturePair;
use tesseras_crypto::signed_manifest::{CreatorError, NameError, SignedError};
use tesseras_crypto::{
    CreatorKeys, CreatorPems, NamedManifest, SignedManifest, blake3, sha256, tessera_of,
};

use crate::somebody;

fn entry(path: &str, bytes: &[u8]) -> FileEntry {
    FileEntry {
        blake3: blake3(bytes),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
        mime: "text/plain".to_owned(),
        path: CapsulePath::new(path).expect("a path"),
    }
}

/// The MANIFEST of `named`, which lists the keys of `keys`.
fn manifest(named: &CreatorKeys, keys: &CreatorKeys) -> Vec<u8> {
    let (named, keys) = (named.public(), keys.public());
    let files = vec![
        entry(listed::ED25519_PEM, keys.ed25519_pem().as_bytes()),
        entry(listed::ML_DSA_65_PEM, keys.ml_dsa_65_pem().as_bytes()),
        entry(listed::README, b"read me"),
    ];
    Manifest::new(named.id(), 1, Vec::new(), files).expect("a MANIFEST").render().into_bytes()
}

fn verify(
    bytes: &[u8],
    (ed25519, ml_dsa_65): (&str, &str),
    signatures: &SignaturePair,
) -> Result<(), SignedError> {
    let named = NamedManifest::read(bytes, &tessera_of(bytes)).expect("a MANIFEST");
    let pems = CreatorPems { ed25519: ed25519.as_bytes(), ml_dsa_65: ml_dsa_65.as_bytes() };
    let signed = SignedManifest::verify(&named, pems, signatures)?;
    assert_eq!(signed.creator().id(), signed.named().manifest().creator());
    Ok(())
}

#[test]
fn only_the_manifest_of_the_name_is_read() {
    let good = manifest(&somebody(), &somebody());
    let name = tessera_of(&good);
    assert_eq!(NamedManifest::read(good.as_slice(), &name).unwrap().tessera(), name);
    let mut other = good.clone();
    other.extend_from_slice(b"\n");
    let refused = NamedManifest::read(other.as_slice(), &name).unwrap_err();
    assert!(matches!(refused, NameError::WrongTessera { expected, .. } if expected == name));
    let malformed = NamedManifest::read(other.as_slice(), &tessera_of(&other)).unwrap_err();
    assert!(matches!(malformed, NameError::Malformed(_)), "{malformed}");
    let (found, parsed) = NamedManifest::of_any(other.as_slice());
    assert!(found == tessera_of(&other) && parsed.is_err());
}

#[test]
fn both_signatures_must_be_of_the_creator_that_is_named() {
    let (mine, other) = (somebody(), CreatorKeys::from_seeds(&[1; 32], &[2; 32]));
    let texts = |keys: &CreatorKeys| (keys.public().ed25519_pem(), keys.public().ml_dsa_65_pem());
    let (ed25519, ml_dsa_65) = texts(&mine);
    let pems = (ed25519.as_str(), ml_dsa_65.as_str());
    let good = manifest(&mine, &mine);
    let signatures = mine.sign(&good);
    assert_eq!(verify(&good, pems, &signatures), Ok(()));

    for (which, name) in [(0, "Ed25519"), (1, "ML-DSA-65")] {
        let mut bad = signatures.clone();
        [&mut bad.ed25519, &mut bad.ml_dsa_65][which][5] ^= 1;
        let refused = verify(&good, pems, &bad).unwrap_err();
        assert!(matches!(refused, SignedError::Signature(check) if check.first_invalid() == name));
        assert!(refused.to_string().contains(name), "{refused}");
    }

    // The keys of another creator, whether the MANIFEST lists them or not.
    let (ed25519, ml_dsa_65) = texts(&other);
    let theirs = (ed25519.as_str(), ml_dsa_65.as_str());
    let not_listed = SignedError::Creator(CreatorError::NotListed);
    assert_eq!(verify(&good, theirs, &other.sign(&good)), Err(not_listed));
    let forged = manifest(&mine, &other);
    let others = SignedError::Creator(CreatorError::Other);
    assert_eq!(verify(&forged, theirs, &other.sign(&forged)), Err(others));

    // The same key in another text is not the file that the MANIFEST lists.
    let longer = format!("{}\n", pems.0);
    assert_eq!(verify(&good, (&longer, pems.1), &signatures), Err(not_listed));
}
