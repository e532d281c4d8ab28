//! Ids and pieces as JSON (for people) and as MessagePack (between machines).

use proptest::prelude::*;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, DhtKey, NodeId, TesseraHash};
use tesseras_core::time::Timestamp;

#[test]
fn an_id_is_hex_in_json_and_bytes_in_messagepack() {
    let id = NodeId::new([0xab; 20]);
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{}\"", "ab".repeat(20)));
    assert_eq!(serde_json::from_str::<NodeId>(&format!("\"{}\"", "ab".repeat(20))).unwrap(), id);
    let packed = rmp_serde::to_vec(&id).unwrap();
    assert_eq!(packed, [&[0xc4, 20][..], &[0xab; 20]].concat(), "bin 8, then 20 bytes");
    assert_eq!(rmp_serde::from_slice::<NodeId>(&packed).unwrap(), id);
    let hash = ContentHash::new([7; 32]);
    let packed = rmp_serde::to_vec(&hash).unwrap();
    assert_eq!(packed[..2], [0xc4, 32]);
    assert_eq!(rmp_serde::from_slice::<ContentHash>(&packed).unwrap(), hash);
}

#[test]
fn an_id_of_another_length_is_refused() {
    for length in [0u8, 19, 21, 32] {
        let packed = [vec![0xc4, length], vec![0; usize::from(length)]].concat();
        assert!(rmp_serde::from_slice::<NodeId>(&packed).is_err(), "{length}");
    }
    for text in ["\"\"", "\"ab\"", "1", "null", "[1,2]"] {
        assert!(serde_json::from_str::<NodeId>(text).is_err(), "{text}");
    }
    let upper = format!("\"{}\"", "AB".repeat(20));
    assert!(serde_json::from_str::<NodeId>(&upper).is_err(), "only lower case is ever written");
}

#[test]
fn a_piece_is_its_index_or_whole() {
    let both = |piece: Piece, json: &str| {
        assert_eq!(serde_json::to_string(&piece).unwrap(), json);
        assert_eq!(serde_json::from_str::<Piece>(json).unwrap(), piece);
        let packed = rmp_serde::to_vec(&piece).unwrap();
        assert_eq!(rmp_serde::from_slice::<Piece>(&packed).unwrap(), piece);
    };
    both(Piece::Whole, "\"whole\"");
    both(Piece::Index(0), "0");
    both(Piece::Index(71), "71");
    both(Piece::Index(200), "200");
    for bad in ["255", "256", "-1", "\"Whole\"", "1.5", "null"] {
        assert!(serde_json::from_str::<Piece>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn hex_is_read_back_and_nothing_else_is(bytes in any::<[u8; 32]>(), junk in ".{0,70}") {
        let hash = TesseraHash::new(bytes);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        prop_assert_eq!(hash.short(), hash.to_string()[..16].to_owned());
        let key = hash.dht_key();
        prop_assert_eq!(key.as_bytes().as_slice(), &bytes[..20]);
        if let Ok(parsed) = junk.parse::<TesseraHash>() {
            prop_assert_eq!(parsed.to_string(), junk);
        }
    }

    #[test]
    fn no_message_makes_a_reader_panic(bytes in any::<Vec<u8>>()) {
        let _ = rmp_serde::from_slice::<NodeId>(&bytes);
        let _ = rmp_serde::from_slice::<Piece>(&bytes);
        let _ = rmp_serde::from_slice::<Contact>(&bytes);
        let _ = rmp_serde::from_slice::<Timestamp>(&bytes);
    }

    #[test]
    fn a_contact_is_read_back(id in any::<[u8; 20]>(), v4 in any::<[u8; 4]>(), port in any::<u16>()) {
        let contact =
            Contact { id: NodeId::new(id), addresses: vec![(v4, port).into(), ([0u8; 16], 1).into()] };
        let packed = rmp_serde::to_vec_named(&contact).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<Contact>(&packed).unwrap(), &contact);
        let json = serde_json::to_string(&contact).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Contact>(&json).unwrap(), &contact);
    }

    #[test]
    fn distance_is_a_metric(a in any::<[u8; 20]>(), b in any::<[u8; 20]>(), bit in 0..160usize) {
        let (a, b) = (DhtKey::new(a), DhtKey::new(b));
        prop_assert_eq!(a.distance(&b), b.distance(&a));
        prop_assert_eq!(a.distance(&b).leading_zeros() == 160, a == b);
        let mut near = *a.as_bytes();
        near[bit / 8] ^= 0x80 >> (bit % 8);
        prop_assert_eq!(a.distance(&DhtKey::new(near)).leading_zeros() as usize, bit);
    }
}
