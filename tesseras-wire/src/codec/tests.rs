use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Find { key: Vec<u8>, limit: Option<u32> },
    Note { text: String, tags: Vec<String> },
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tree {
    branches: Vec<Tree>,
}

#[test]
fn messages_come_back_and_kinds_are_told_apart() {
    let find = Ask::Find { key: vec![1, 2, 3], limit: None };
    let note = Ask::Note { text: "ä".repeat(300), tags: vec![String::new(); 20] };
    for (ask, expected) in [(find, "find"), (note, "note")] {
        let frame = encode(&ask).unwrap();
        assert_eq!(kind(&frame).as_deref(), Some(expected));
        assert_eq!(decode::<Ask>(&frame).unwrap(), ask);
    }
    let future = encode(&BTreeMap::from([("sing", BTreeMap::from([("song", 7)]))])).unwrap();
    assert_eq!(kind(&future).as_deref(), Some("sing"));
    assert!(decode::<Ask>(&future).is_err());
    let two = encode(&BTreeMap::from([("find", 1), ("note", 2)])).unwrap();
    for frame in [two, encode(&7).unwrap(), encode(&[1, 2]).unwrap(), vec![0x80], vec![]] {
        assert_eq!(kind(&frame), None, "{frame:?}");
    }
    assert_eq!(kind(b"\xff"), None);
    assert_eq!(kind(&vec![0; MAX_FRAME_BYTES + 1]), None);
}

#[test]
fn unknown_fields_are_ignored_and_left_over_bytes_are_not() {
    #[derive(Serialize)]
    struct Newer {
        branches: Vec<Tree>,
        mood: BTreeMap<&'static str, f64>,
    }
    let newer = Newer { branches: vec![], mood: BTreeMap::from([("joy", 0.5)]) };
    let mut frame = encode(&newer).unwrap();
    assert_eq!(decode::<Tree>(&frame).unwrap(), Tree::default());
    frame.push(0xc0);
    assert!(matches!(decode::<Tree>(&frame), Err(CodecError::Shape(_))));
}

#[test]
fn answers_are_ok_or_a_refusal() {
    let frame = refuse(Refusal::BUSY, "x".repeat(100_000));
    let refusal = decode_answer::<Tree>(&frame).unwrap().unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.message.chars().count()), ("busy", 120));
    let frame = encode(&Answer::Ok(Tree::default())).unwrap();
    assert_eq!(decode_answer::<Tree>(&frame).unwrap(), Ok(Tree::default()));
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    for marker in [0x91, 0x81] {
        let mut frame = vec![marker; MAX_FRAME_BYTES - 1];
        frame.push(0xc0);
        assert!(matches!(decode::<IgnoredAny>(&frame), Err(CodecError::Shape(_))));
        assert_eq!(kind(&frame), None);
    }
    let mut tree = Tree::default();
    for _ in 0..10 {
        tree = Tree { branches: vec![tree] };
    }
    assert_eq!(decode::<Tree>(&encode(&tree).unwrap()).unwrap(), tree);
    for _ in 0..30 {
        tree = Tree { branches: vec![tree] };
    }
    assert!(matches!(decode::<Tree>(&encode(&tree).unwrap()), Err(CodecError::Shape(_))));
}

#[test]
fn huge_claims_are_refused_before_memory_is_set_aside() {
    let claims: [&[u8]; 7] = [
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 0],
        &[0xdc, 0xff, 0xff, 1, 2],
        &[0x93, 1, 2],
    ];
    for claim in claims {
        assert!(matches!(decode::<Vec<u64>>(claim), Err(CodecError::Shape(_))), "{claim:x?}");
        assert!(decode::<String>(claim).is_err());
        assert!(decode::<Vec<Vec<[u64; 32]>>>(claim).is_err());
    }
    assert!(matches!(
        decode::<IgnoredAny>(&vec![0xc0; MAX_FRAME_BYTES + 1]),
        Err(CodecError::TooLong(_))
    ));
    assert!(matches!(encode(&vec![0_u8; MAX_FRAME_BYTES]), Err(CodecError::TooLong(_))));
}

/// Bytes that resemble MessagePack more often than random ones would.
fn hostile() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let marker = prop_oneof![
        Just(0x81_u8),
        Just(0x92),
        Just(0xa4),
        Just(0xdd),
        Just(0xdf),
        Just(0xc6),
        0xc0_u8..=0xdf,
        any::<u8>()
    ];
    vec(marker, 0..600)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in hostile()) {
        let _ = kind(&bytes);
        let _ = decode::<Ask>(&bytes);
        let _ = decode::<Tree>(&bytes);
        let _ = decode::<Answer<Vec<String>>>(&bytes);
        let _ = decode::<BTreeMap<String, Vec<(u64, f32)>>>(&bytes);
    }

    #[test]
    fn damage_is_an_error_or_another_message(at in any::<usize>(), byte in any::<u8>()) {
        let ask = Ask::Note { text: "hello".into(), tags: vec!["a".into(), "b".into()] };
        let mut frame = encode(&ask).unwrap();
        let at = at % frame.len();
        prop_assert!(decode::<Ask>(&frame[..at]).is_err());
        frame[at] = byte;
        let _ = decode::<Ask>(&frame);
    }

    #[test]
    fn every_shape_of_ours_passes(
        numbers in vec(any::<i64>(), 0..40),
        texts in vec(".{0,40}", 0..20),
        float in any::<f64>(),
        flag in any::<Option<bool>>(),
    ) {
        let value = (numbers, texts, flag, u64::MAX);
        prop_assert_eq!(decode::<(Vec<i64>, Vec<String>, Option<bool>, u64)>(&encode(&value).unwrap()).unwrap(), value);
        prop_assert!(decode::<f64>(&encode(&float).unwrap()).is_ok());
    }
}
