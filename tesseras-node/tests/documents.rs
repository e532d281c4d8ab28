//! Holds the pages to the code: what `docs/PROTOCOL.md` says of bytes and words, and which metrics
//! `docs/OPERATIONS.md` lists.

use std::collections::BTreeSet;
use std::path::Path;

use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, DhtKey, NodeId, TesseraHash};
use tesseras_core::time::Timestamp;
use tesseras_crypto::NodeKeys;
use tesseras_dht::HolderRecord;
use tesseras_node::{Node, NodeConfig};
use tesseras_replication::attestation::{self, Question};
use tesseras_replication::dossier::MAX_DOSSIER_BYTES;
use tesseras_replication::messages::{self, AttestedPiece, refusal};
use tesseras_wire::MAX_FRAME_BYTES;
use tesseras_wire::codec::{self, Answer, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the fenced block with this label: a name, spaces, a value.
fn block(page: &str, label: &str) -> Vec<(String, String)> {
    let (_, after) = page.split_once(&format!("\n```{label}\n")).expect("the block is there");
    let (inside, _) = after.split_once("\n```").expect("the block ends");
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.trim().to_owned(), value.to_owned())
    };
    inside.lines().map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        out += &format!("{byte:02x}");
        out
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The words between backticks.
fn quoted(page: &str) -> BTreeSet<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_example_frames_are_what_this_software_writes() {
    let page = page("PROTOCOL.md");
    let frames = block(&page, "frames");
    assert!(frames.len() >= 5);
    for (kind, frame) in frames {
        let frame = bytes(&frame);
        assert_eq!(codec::kind(&frame).as_deref(), Some(kind.as_str()));
        let again = if tesseras_dht::KINDS.contains(&kind.as_str()) {
            let request: tesseras_dht::messages::DhtRequest = codec::decode(&frame).expect("reads");
            codec::encode(&request)
        } else {
            let request: messages::Request = codec::decode(&frame).expect("reads");
            codec::encode(&request)
        };
        assert_eq!(hex(&again.expect("fits")), hex(&frame), "{kind}");
    }
    let pong = Answer::Ok(tesseras_dht::messages::Pong { date: Some(Timestamp(1_800_000_000)) });
    let busy = Answer::<()>::Error(Refusal::new(Refusal::BUSY, "later"));
    for answer in [codec::encode(&pong), codec::encode(&busy)] {
        let answer = hex(&answer.expect("fits"));
        assert!(page.contains(&format!("`{answer}`")), "{answer}");
    }
}

#[test]
fn every_kind_code_and_bound_stands_on_the_page() {
    let page = page("PROTOCOL.md");
    for kind in tesseras_dht::KINDS.iter().chain(&messages::KINDS) {
        assert!(page.contains(&format!("\n### `{kind}`\n")), "{kind}");
    }
    let codes = [
        Refusal::UNKNOWN_REQUEST,
        Refusal::MALFORMED,
        Refusal::BUSY,
        Refusal::INTERNAL,
        refusal::DECLINED,
        refusal::OVER_QUOTA,
        refusal::NEED_DOSSIER,
        refusal::PLAN_CONFLICT,
        refusal::INVALID,
        refusal::NOT_HELD,
    ];
    let words = quoted(&page);
    for code in codes {
        assert!(words.contains(code), "{code}");
    }
    assert_eq!((MAX_FRAME_BYTES, MAX_DOSSIER_BYTES), (65_536, 16_818_176));
    for number in ["65,536", "16,818,176", "2.25.8387236820507844979"] {
        assert!(page.contains(number), "{number}");
    }
    assert_eq!(tesseras_net::certificate::NONCE_OID, [2, 25, 8_387_236_820_507_844_979]);
    assert!(words.contains(std::str::from_utf8(tesseras_net::ALPN).expect("ASCII")));
}

#[test]
fn the_signed_bytes_are_those_of_the_page() {
    let page = page("PROTOCOL.md");
    let keys = NodeKeys::from_parts(&[7; 32], [1, 2, 3, 4, 5, 6, 7, 8]);
    let public = keys.public();
    let h = tesseras_crypto::blake3(&[&public.public_key[..], &public.nonce].concat());
    let said = |name: &str, value: String| (name.to_owned(), value);
    let node = [
        said("public key", hex(&public.public_key)),
        said("h", h.to_string()),
        said("node id", keys.id().to_string()),
    ];
    assert_eq!(block(&page, "node"), node);

    let date = Timestamp(1_800_000_000);
    let addresses =
        ["192.0.2.7:7310", "[2001:db8::1]:7310"].map(|text| text.parse().expect("an address"));
    let record = HolderRecord::sign(&keys, DhtKey::new([0x11; 20]), &addresses, date);
    let question = Question {
        asker: NodeId::new([0x33; 20]),
        holder: keys.id(),
        tessera: TesseraHash::new([0x22; 32]),
        nonce: [0x44; 32],
    };
    let plan = Some(ContentHash::new([0x55; 32]));
    let pieces = vec![
        AttestedPiece { piece: Piece::Whole, checksum: ContentHash::new([0x66; 32]) },
        AttestedPiece { piece: Piece::Index(3), checksum: ContentHash::new([0x77; 32]) },
    ];
    let under = attestation::signed_bytes(&question, date, plan.as_ref(), &pieces);
    let attested = attestation::attest(&keys, &question, date, plan, pieces);
    let signed = [
        said("record", hex(&record.signed_bytes())),
        said("record", hex(&record.signature)),
        said("attestation", hex(&under)),
        said("attestation", hex(&attested.signature)),
    ];
    assert_eq!(block(&page, "signed"), signed);
}

#[test]
fn the_storage_format_is_the_one_of_the_page() {
    let sentence = format!("The current storage format is {}", tesseras_storage::database::FORMAT);
    assert!(page("OPERATIONS.md").contains(&sentence), "{sentence}");
}

/// Name and type of the metric that a line of a table is about.
fn metric(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("| `tesseras_")?.split_once("` | ")?;
    let name = name.split_once('{').map_or(name, |(name, _)| name);
    Some((name, rest.split_once(" | ")?.0))
}

#[tokio::test]
async fn every_metric_of_a_running_node_stands_on_the_page_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let mut config = NodeConfig::new(dir.path(), loopback);
    (config.dht.work_bits, config.metrics) = (0, Some(loopback));
    let node = Node::start(config).await.expect("it starts");
    let mut stream = TcpStream::connect(node.metrics().expect("served")).await.expect("open");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("asked");
    let mut said = String::new();
    stream.read_to_string(&mut said).await.expect("UTF-8");
    node.stop().await;

    let exposed: BTreeSet<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE tesseras_")?.split_once(' '))
        .collect();
    assert!(exposed.len() > 10, "{said}");
    let page = page("OPERATIONS.md");
    let listed: BTreeSet<_> = page.lines().filter_map(metric).collect();
    assert_eq!(listed, exposed);
}
