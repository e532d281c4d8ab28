//! Error texts with singular and plural counts.

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::NoSpace;
use tesseras_replication::collect::CollectError;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::publish::PublishError;

#[test]
fn errors_are_right_for_one_and_for_many() {
    let unplaced = |placed, needed| PublishError::TooFew {
        placed,
        needed,
        refusals: Vec::new(),
        causes: Box::default(),
    };
    let unobtained = |found, needed| CollectError::TooFew { found, needed, last: None };
    let no_space = |needed, free| CollectError::Prepare(NoSpace::Bytes { needed, free }.into());
    let tessera = TesseraHash::new([7; 32]);
    let silent = |silent| FetchError::AllSilent { tessera, silent };
    for (error, said) in [
        (unplaced(0, 1).to_string(), "it cannot be read back: no node holds a whole copy"),
        (
            unplaced(1, 16).to_string(),
            "it cannot be read back: holders were found for only 1 of the 16 pieces needed",
        ),
        (
            unplaced(9, 16).to_string(),
            "it cannot be read back: holders were found for only 9 of the 16 pieces needed",
        ),
        (unobtained(0, 1).to_string(), "no whole copy could be obtained"),
        (unobtained(9, 16).to_string(), "only 9 of the 16 pieces needed could be obtained"),
        (
            no_space(300 << 20, 1).to_string(),
            "300.0 MiB of disk space is needed, and 1 byte is available",
        ),
        (
            silent(1).to_string(),
            &format!("1 node is known to hold {tessera}, but it does not answer now"),
        ),
        (
            silent(3).to_string(),
            &format!("3 nodes are known to hold {tessera}, but none of them answers now"),
        ),
    ] {
        assert_eq!(error, said);
    }
    let busy = PublishError::TooFew {
        placed: 0,
        needed: 1,
        refusals: vec!["busy".to_owned()],
        causes: Box::default(),
    };
    assert!(busy.to_string().ends_with("whole copy (busy)"));
    let broken = CollectError::TooFew { found: 0, needed: 1, last: Some("it broke".to_owned()) };
    assert!(broken.to_string().ends_with("obtained; the last failure: it broke"));
}
