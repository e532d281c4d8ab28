//! A node that is killed in the middle of receiving has everything that it acknowledged. This
//! binary runs itself again as that node.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ports::{FragmentStore as _, HeldPiece};
use tesseras_core::time::Timestamp;
use tesseras_node::{Node, NodeConfig};

use crate::network::{MIB, WORK_BITS, open};
use crate::stranger::{Goods, Stranger, read};

const DIRECTORY: &str = "TESSERAS_TEST_NODE";
const ROUNDS: u64 = 10;
/// How many pieces are offered in one life, and how many of them at once.
const PIECES: usize = 7;
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other side of nothing_acknowledged_is_lost_by_a_kill"]
async fn holds_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let mut config = NodeConfig::new(dir, "127.0.150.1:0".parse().unwrap());
    config.dht.work_bits = WORK_BITS;
    config.replication.limits.min_free_space = 0;
    let node = Node::start(config).await.unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nready {} {}", node.id(), node.listen()).unwrap();
    out.flush().unwrap();
    // It does not outlive who started it.
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = parent.await;
}

/// A node in a process of its own, killed at the latest when this is dropped.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(data: &Path) -> (Victim, Contact) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::holds_until_it_is_killed", "--ignored", "--nocapture", "-q"])
        .env(DIRECTORY, data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut victim = Victim(child.unwrap());
    let out = BufReader::new(victim.0.stdout.take().unwrap());
    for line in out.lines() {
        if let Some(words) = line.unwrap().strip_prefix("ready ") {
            let (id, address) = words.split_once(' ').unwrap();
            let addresses = vec![address.parse().unwrap()];
            return (victim, Contact { id: id.parse().unwrap(), addresses });
        }
    }
    let mut why = String::new();
    victim.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    panic!("the node did not start: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let goods: Vec<Goods> = (0..3).map(|n| Goods::make(4 * MIB, 20 + 2 * n)).collect();
    let mut waiting: Vec<(usize, Piece)> =
        (0..goods.len()).flat_map(|g| (0..24).map(move |i| (g, Piece::Index(i)))).collect();
    let mut acknowledged: Vec<(usize, Piece)> = Vec::new();
    let mut cut_off = 0;
    for round in 0..ROUNDS {
        let (victim, contact) = start(&data);
        let stranger = Stranger::at("127.0.100.1");
        let put = |(from, piece): (usize, Piece)| {
            let parcel = goods[from].parcel(piece);
            let (stranger, contact) = (&stranger, &contact);
            async move { ((from, piece), stranger.put(contact, parcel).await) }
        };
        let mut offered: Vec<_> = waiting.split_off(waiting.len().saturating_sub(PIECES));
        let mut running = FuturesUnordered::new();
        let mut given: Vec<(usize, Piece)> = Vec::new();
        // Once it is at work, it lives for some 0 to 150 ms more.
        let life = Duration::from_millis(round * 7919 % 151);
        let mut end = std::pin::pin!(None);
        loop {
            while running.len() < AT_ONCE
                && let Some(next) = offered.pop()
            {
                given.push(next);
                running.push(put(next));
            }
            let killed = async {
                match end.as_mut().as_pin_mut() {
                    None => std::future::pending().await,
                    Some(sleep) => sleep.await,
                }
            };
            tokio::select! {
                () = killed => break,
                Some((what, answer)) = running.next() => {
                    answer.unwrap();
                    given.retain(|other| *other != what);
                    acknowledged.push(what);
                    if end.is_none() {
                        end.set(Some(tokio::time::sleep(life)));
                    }
                }
            }
        }
        drop(victim);
        // What was acknowledged before the kill, and not yet seen here, counts, too.
        cut_off += given.len();
        drop(running);
        waiting.extend(offered.into_iter().chain(given));

        let store = open(&data);
        store.sweep_tmp().unwrap();
        // A file gets its name before its row.
        store.collect_garbage(Timestamp(u64::MAX)).unwrap();
        let check = store.check().unwrap();
        assert!(check.is_tidy(), "round {round}: {check:#?}");
        for (from, piece) in &acknowledged {
            let bytes = goods[*from].bytes(*piece);
            let checksum = goods[*from].plan.checksum(*piece).unwrap();
            let tessera = goods[*from].tessera;
            let held = HeldPiece { tessera, piece: *piece, checksum, bytes: bytes.len() as u64 };
            assert!(store.fragments().list_fragments(&tessera).unwrap().contains(&held));
            let kept = read(&*store.fragments().read_fragment(&held).unwrap());
            assert!(kept == bytes, "round {round}: piece {piece} is not what was acknowledged");
        }
    }
    assert!(acknowledged.len() >= ROUNDS as usize && cut_off > 0, "{acknowledged:?}, {cut_off}");
}
