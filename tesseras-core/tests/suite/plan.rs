//! The plan: one text for one meaning, and only the code that follows from the length.

use proptest::prelude::*;
use tesseras_core::code::{
    CODED_FROM_BYTES, CodedForm, MAX_PACK_BYTES, NARROW, Piece, WIDE, WIDE_FROM_BYTES,
};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::{FIRST_LINE, MAX_PLAN_BYTES, Plan, PlanError};

use crate::{damage, damaged};

fn plan(pack_bytes: u64) -> Plan {
    let n = CodedForm::of_pack(pack_bytes).map_or(0, |form| form.shape.n());
    let checksums = (0..n).map(|i| ContentHash::new([i; 32])).collect();
    Plan::new(TesseraHash::new([0xaa; 32]), pack_bytes, ContentHash::new([0xbb; 32]), checksums)
        .expect("a plan")
}

fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..CODED_FROM_BYTES,
        CODED_FROM_BYTES..WIDE_FROM_BYTES,
        WIDE_FROM_BYTES..=MAX_PACK_BYTES,
        prop::sample::select(vec![
            0,
            CODED_FROM_BYTES - 1,
            CODED_FROM_BYTES,
            WIDE_FROM_BYTES - 1,
            WIDE_FROM_BYTES,
            MAX_PACK_BYTES
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_written_is_read_back(pack_bytes in lengths()) {
        let made = plan(pack_bytes);
        let text = made.render();
        prop_assert!(text.len() <= MAX_PLAN_BYTES);
        prop_assert_eq!(Plan::parse(text.as_bytes()), Ok(made));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
        let with_head = [FIRST_LINE.as_bytes(), b"\n", &bytes].concat();
        prop_assert!(Plan::parse(&bytes).is_err());
        prop_assert!(Plan::parse(&with_head).is_err());
    }

    #[test]
    fn damage_is_refused_or_is_another_plan_with_that_one_text(
        pack_bytes in lengths(),
        damage in damage(),
    ) {
        let bytes = damaged(&plan(pack_bytes).render(), &damage);
        if let Ok(read) = Plan::parse(&bytes) {
            prop_assert_eq!(read.render().into_bytes(), bytes);
        }
    }

    #[test]
    fn there_are_the_pieces_of_the_one_coded_form(pack_bytes in lengths()) {
        let plan = plan(pack_bytes);
        let n = plan.checksums().len();
        prop_assert_eq!(plan.piece_bytes(Piece::Whole), Some(pack_bytes));
        prop_assert_eq!(plan.checksum(Piece::Whole), Some(plan.pack_hash()));
        for index in 0..u8::MAX {
            let there = usize::from(index) < n;
            prop_assert_eq!(plan.checksum(Piece::Index(index)).is_some(), there);
            prop_assert_eq!(plan.piece_bytes(Piece::Index(index)).is_some(), there);
        }
        if let Some(form) = plan.coded() {
            let k = u64::from(form.shape.k);
            prop_assert_eq!(form.fragment_bytes % 1024, 0);
            prop_assert!(k * form.fragment_bytes >= pack_bytes);
            prop_assert!(k * (form.fragment_bytes - 1024) < pack_bytes, "L is the least");
        }
    }
}

#[test]
fn the_text_is_this() {
    assert_eq!(
        plan(77).render(),
        format!(
            "tesseras-plan 1\ntessera: {}\npack: 1\nbytes: 77\nblake3: {}\n",
            "aa".repeat(32),
            "bb".repeat(32)
        )
    );
    let coded = plan(CODED_FROM_BYTES + 1).render();
    let lines: Vec<&str> = coded.lines().collect();
    assert_eq!(lines.len(), 7 + 24);
    assert_eq!(lines[5..7], ["code: 16+8", "length: 263168"]);
    assert_eq!(lines[7 + 23], format!("23 {}", "17".repeat(32)));
    assert_eq!(plan(WIDE_FROM_BYTES).render().lines().nth(5), Some("code: 48+24"));
}

#[test]
fn nothing_but_that_text_is_read() {
    let text = plan(CODED_FROM_BYTES).render();
    let swap = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?}");
        Plan::parse(text.replacen(from, to, 1).as_bytes())
    };
    let malformed = [
        ("tesseras-plan 1", "tesseras-plan 2", 1),
        ("tesseras-plan 1", "tesseras-plan 1 ", 1),
        ("pack: 1", "pack: 2", 3),
        ("bytes: 4194304", "bytes: +4194304", 4),
        ("bytes: 4194304", "bytes: 04194304", 4),
        ("blake3: bb", "blake3: BB", 5),
        ("code: 16+8", "code: 17+8", 6),
        ("code: 16+8", "code: 016+8", 6),
        ("length: 262144", "length: 262145", 7),
        ("\n3 ", "\n03 ", 11),
        ("\n3 ", "\n4 ", 11),
    ];
    for (from, to, line) in malformed {
        assert_eq!(swap(from, to), Err(PlanError::Malformed(line)), "{from:?} {to:?}");
    }
    // A length with another shape asks for other lines than there are.
    assert!(swap("bytes: 4194304", "bytes: 268435456").is_err());
    assert!(swap("bytes: 4194304", "bytes: 4194303").is_err());
    assert!(Plan::parse(text.trim_end().as_bytes()).is_err());
    assert!(Plan::parse(text.replace('\n', "\r\n").as_bytes()).is_err());
    assert!(Plan::parse(format!("{text}\n").as_bytes()).is_err());
    assert!(Plan::parse(format!("{text}24 {}\n", "00".repeat(32)).as_bytes()).is_err());
    let long = vec![b'x'; 10_000_000];
    assert_eq!(Plan::parse(&long), Err(PlanError::TooLong(long.len())));
}

#[test]
fn a_length_that_no_pack_has_is_refused() {
    let text = plan(WIDE_FROM_BYTES).render();
    for bytes in [MAX_PACK_BYTES + 1, u64::MAX] {
        let text = text.replacen("bytes: 268435456", &format!("bytes: {bytes}"), 1);
        assert_eq!(Plan::parse(text.as_bytes()), Err(PlanError::PackTooLong(bytes)));
    }
}

#[test]
fn a_plan_has_all_checksums_or_none() {
    let new = |bytes, n| {
        let none = ContentHash::new([0; 32]);
        Plan::new(TesseraHash::new([0; 32]), bytes, none, vec![none; n])
    };
    assert!(new(CODED_FROM_BYTES - 1, 0).is_ok() && new(CODED_FROM_BYTES - 1, 24).is_err());
    assert!(new(CODED_FROM_BYTES, 24).is_ok() && new(CODED_FROM_BYTES, 23).is_err());
    assert!(new(WIDE_FROM_BYTES, 72).is_ok() && new(WIDE_FROM_BYTES, 24).is_err());
    assert_eq!((NARROW.n(), WIDE.n()), (24, 72));
}
