//! The whole vector of decode/ml-dsa-65.txt, built by the rules that stand there.

use crate::signatures::{ML_DSA_65, ML_DSA_65_TXT};
use tesseras_crypto::sha256;

/// Bytes of the hints before those that say where each row ends.
const PLACES: usize = 55;

/// A key and a signature over `abc`, taken apart.
struct WeakKey {
    key: Vec<u8>,
    seed: Vec<u8>,
    z: Vec<i32>,
    rows: Vec<Vec<u8>>,
}

impl WeakKey {
    /// With the seed and the hints that stand below a line of the text.
    fn below(line: &str) -> Self {
        let (_, text) = ML_DSA_65_TXT.split_once(line).expect(line);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let seed = lines.by_ref().take(2).map(|half| hex::decode(half).unwrap());
        let seed = seed.collect::<Vec<_>>().concat();
        let rows = lines.skip(1).take(6).enumerate().map(|(row, line)| {
            let places = line.strip_prefix(&format!("{row}: ")).expect("a row of hints");
            let places = places.split(' ').filter(|place| *place != "(none)");
            places.map(|place| place.parse().unwrap()).collect()
        });
        let t1 = |row: u32, i: u32| match (i % 64 == row, i % 2 == 1) {
            (true, _) => 1,
            (_, true) => 1023,
            (_, false) => 0,
        };
        let t1 = (0..6).flat_map(|row| (0..256).map(move |i| t1(row, i)));
        let z = |i: i64| i32::try_from(1_000_003 * i % 1_048_183 - 524_091).unwrap();
        Self {
            key: [(0..32).collect(), packed(t1, 10)].concat(),
            seed,
            z: (0..5 * 256).map(z).collect(),
            rows: rows.collect(),
        }
    }

    fn signature(&self) -> Vec<u8> {
        let z = packed(self.z.iter().map(|z| u32::try_from(524_288 - z).unwrap()), 20);
        let mut hints = self.rows.concat();
        hints.resize(PLACES, 0);
        let mut end = 0;
        for row in &self.rows {
            end += row.len();
            hints.push(u8::try_from(end).unwrap());
        }
        [self.seed.clone(), z, hints].concat()
    }

    fn judge(&self, signature: &[u8]) -> bool {
        ML_DSA_65.judge(&self.key, signature, b"abc")
    }
}

/// Numbers of so many bits each, lowest bit first.
fn packed(numbers: impl Iterator<Item = u32>, bits: u32) -> Vec<u8> {
    let (mut waiting, mut count, mut out) = (0_u64, 0, Vec::new());
    for number in numbers {
        waiting |= u64::from(number) << count;
        count += bits;
        while count >= 8 {
            out.push(waiting as u8);
            waiting >>= 8;
            count -= 8;
        }
    }
    assert_eq!(count, 0);
    out
}

#[test]
fn the_whole_vector_is_valid() {
    let weak = WeakKey::below("c~        (two lines)\n");
    let signature = weak.signature();
    let (_, digests) = ML_DSA_65_TXT.split_once("of the key, then of the signature:\n").unwrap();
    let digests: Vec<&str> = digests.split_whitespace().take(2).collect();
    assert_eq!(digests, [sha256(&weak.key).to_string(), sha256(&signature).to_string()]);
    assert!(weak.judge(&signature));
}

#[test]
fn hints_that_are_not_well_formed_are_refused() {
    let weak = WeakKey::below("c~        (two lines)\n");
    let good = weak.signature();
    let hints = good.len() - PLACES - 6;
    let refused = |change: &dyn Fn(&mut [u8])| {
        let mut signature = good.clone();
        change(&mut signature[hints..]);
        assert_ne!(signature, good);
        assert!(!weak.judge(&signature));
    };
    // The first row has two places.
    refused(&|hints| hints.swap(0, 1));
    refused(&|hints| hints[1] = hints[0]);
    refused(&|hints| hints[PLACES - 1] = 1);
    refused(&|hints| hints[PLACES + 5] += 1);
    refused(&|hints| hints[PLACES + 5] = 56);
    refused(&|hints| hints[PLACES] = 255);
    refused(&|hints| hints[PLACES + 2] = hints[PLACES + 1] - 1);
}

#[test]
fn a_coefficient_that_is_too_large_is_refused() {
    let mut weak = WeakKey::below("      c~ =\n");
    weak.z[0] = 524_092;
    assert!(!weak.judge(&weak.signature()));
}
