//! Known answers of both hash functions, and that pieces hash as the whole does.

use tesseras_crypto::{Blake3, Sha256, blake3, sha256};

#[test]
fn known_answers() {
    // FIPS 180-4, as printed in NIST's examples for "" and "abc".
    let sha = [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ];
    for (text, expected) in sha {
        assert_eq!(sha256(text.as_bytes()).to_string(), expected);
    }
    // The BLAKE3 paper's authors' vectors, for no bytes and for the byte 0.
    let b3 = [
        (&b""[..], "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (&b"\0"[..], "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
    ];
    for (bytes, expected) in b3 {
        assert_eq!(blake3(bytes).to_string(), expected);
    }
}

#[test]
fn pieces_hash_as_the_whole() {
    let bytes: Vec<u8> = (0..100_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    for size in [1, 63, 64, 1000, 1024, 65_536] {
        let (mut b, mut s) = (Blake3::default(), Sha256::default());
        for piece in bytes.chunks(size) {
            b.update(piece);
            s.update(piece);
        }
        assert_eq!((b.finish(), s.finish()), (blake3(&bytes), sha256(&bytes)), "{size}");
    }
}
