//! The code of a hash: what was mistyped is never taken for another hash.

use proptest::prelude::*;
use tesseras_core::hash_code::{CODE_CHARACTERS, HashCodeError};
use tesseras_core::ids::TesseraHash;

/// Codes that BIP 350's reference implementation gives, in docs/FORMAT.md as well.
const VECTORS: [([u8; 32], &str); 2] = [
    ([0; 32], "tes1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq678twh"),
    (
        [
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
            24, 25, 26, 27, 28, 29, 30, 31,
        ],
        "tes1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sn2vfww",
    ),
];

fn replaced(code: &str, at: usize, with: char) -> String {
    code.chars().enumerate().map(|(i, c)| if i == at { with } else { c }).collect()
}

#[test]
fn codes_are_those_of_bip_350() {
    for (bytes, code) in VECTORS {
        let hash = TesseraHash::new(bytes);
        assert_eq!(hash.to_code(), code);
        assert_eq!(TesseraHash::from_code(code), Ok(hash));
    }
}

#[test]
fn another_prefix_another_checksum_and_set_padding_are_refused() {
    let refused = [
        // The prefix `tas` with a checksum of its own, and the checksum of BIP 173.
        bech32::encode::<bech32::Bech32m>(bech32::Hrp::parse("tas").expect("one"), &[7; 32]),
        bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("tes").expect("one"), &[7; 32]),
    ];
    for code in refused {
        let code = code.expect("short");
        assert_eq!(code.len(), CODE_CHARACTERS);
        assert_eq!(TesseraHash::from_code(&code), Err(HashCodeError::Wrong), "{code}");
    }
    // 52 times `l`, all bits set, the four of padding as well, under a right checksum.
    use bech32::primitives::iter::Fe32IterExt as _;
    let all = std::iter::repeat_n(bech32::Fe32::L, 52);
    let hrp = bech32::Hrp::parse("tes").expect("one");
    let padded: String = all.with_checksum::<bech32::Bech32m>(&hrp).chars().collect();
    assert_eq!(padded.len(), CODE_CHARACTERS);
    assert_eq!(TesseraHash::from_code(&padded), Err(HashCodeError::Wrong));
}

#[test]
fn every_character_of_every_place_is_checked() {
    for (_, code) in VECTORS {
        for at in 0..code.len() {
            for with in (' '..='~').chain(['é', '１']) {
                if code[at..].starts_with(with.to_ascii_lowercase()) {
                    continue;
                }
                let wrong = replaced(code, at, with);
                assert_eq!(TesseraHash::from_code(&wrong), Err(HashCodeError::Wrong), "{wrong}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_code_round_trips_in_any_case(bytes: [u8; 32], upper: [bool; 32]) {
        let hash = TesseraHash::new(bytes);
        let code = hash.to_code();
        prop_assert_eq!(code.len(), CODE_CHARACTERS);
        prop_assert!(code.starts_with("tes1"));
        let mixed: String = code
            .chars()
            .zip(upper.iter().cycle())
            .map(|(c, up)| if *up { c.to_ascii_uppercase() } else { c })
            .collect();
        prop_assert_eq!(TesseraHash::from_code(&mixed), Ok(hash));
    }

    #[test]
    fn one_wrong_character_is_found(bytes: [u8; 32], at in 0..CODE_CHARACTERS, with in "[a-z0-9]") {
        let code = TesseraHash::new(bytes).to_code();
        prop_assume!(!code[at..].starts_with(&with));
        let wrong = replaced(&code, at, with.chars().next().expect("one"));
        prop_assert_eq!(TesseraHash::from_code(&wrong), Err(HashCodeError::Wrong));
    }

    #[test]
    fn two_neighbours_that_were_swapped_are_found(bytes: [u8; 32]) {
        let code = TesseraHash::new(bytes).to_code().into_bytes();
        for at in 1..code.len() {
            if code[at - 1] == code[at] {
                continue;
            }
            let mut wrong = code.clone();
            wrong.swap(at - 1, at);
            let wrong = String::from_utf8(wrong).expect("ASCII");
            prop_assert_eq!(TesseraHash::from_code(&wrong), Err(HashCodeError::Wrong));
        }
    }

    #[test]
    fn a_missing_or_an_additional_character_is_found(bytes: [u8; 32], at in 0..CODE_CHARACTERS) {
        let code = TesseraHash::new(bytes).to_code();
        let mut less = code.clone();
        less.remove(at);
        prop_assert_eq!(TesseraHash::from_code(&less), Err(HashCodeError::Length { found: 61 }));
        let mut more = code;
        more.insert(at, 'q');
        prop_assert_eq!(TesseraHash::from_code(&more), Err(HashCodeError::Length { found: 63 }));
    }

    #[test]
    fn no_string_is_read_as_anything_but_what_it_says(text in ".{0,80}") {
        if let Ok(hash) = TesseraHash::from_code(&text) {
            prop_assert_eq!(hash.to_code(), text.to_ascii_lowercase());
        }
    }
}
