//! `tes demo` on folders of one's own: every size class, in small and in larger networks; for no
//! other user's eyes, and gone however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::environment::{Environment, text};

const MB: usize = 1_000_000;

/// Recordings of noise in a folder of their own, which nothing can make shorter.
fn folder(environment: &Environment, bytes: usize) -> PathBuf {
    let folder = environment.path(&format!("{bytes} bytes"));
    fs::create_dir(&folder).expect("made");
    for name in ["one.wav", "two.wav", "three.wav"] {
        record(&folder.join(name), bytes / 3);
    }
    folder
}

fn record(path: &Path, bytes: usize) {
    let mut state = bytes as u64 ^ path.as_os_str().len() as u64;
    let mut recording = b"RIFF\xff\xff\xff\x7fWAVEfmt ".to_vec();
    while recording.len() < bytes {
        // Knuth's MMIX generator; its upper half is noise enough.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        recording.extend_from_slice(&state.to_le_bytes()[4..]);
    }
    fs::write(path, recording).expect("written");
}

#[test]
fn a_folder_of_any_size_outlives_its_owner_in_a_network_of_any_size() {
    let environment = Environment::new();
    for bytes in [MB, 6 * MB, 30 * MB] {
        let folder = folder(&environment, bytes);
        for nodes in ["4", "12", "20"] {
            let told = environment.json(&["demo", text(&folder), "--nodes", nodes]);
            let case = format!("{bytes} bytes, {nodes} nodes: {}{}", told.stderr, told.json);
            assert_eq!(told.code, Some(0), "{case}");
            assert_eq!(
                (&told.json["identical"], &told.json["valid"]),
                (&true.into(), &true.into())
            );
            let number = |field: &str| told.json[field].as_u64().expect(field);
            // The owner and as many others as the nodes themselves said could be spared.
            assert_eq!(number("killed"), number("survives") + 1, "{case}");
            assert!(number("survives") > 0 && number("restored") > 0, "{case}");
            for wrong in [" 1 pieces", " 1 nodes", " 1 whole copies", " 0 nodes", "any 1 of them"] {
                assert!(!case.contains(wrong), "{wrong:?}: {case}");
            }
        }
    }
}

#[test]
fn nobody_else_can_look_at_a_demo_and_a_closed_terminal_leaves_nothing_behind() {
    let environment = Environment::new();
    let folder = folder(&environment, MB);
    let temporary = environment.path("temporary");
    fs::create_dir(&temporary).expect("made");
    let mut sh = Command::new("sh");
    // Whatever the user's mask lets through.
    sh.args(["-c", "umask 000; exec \"$0\" demo \"$1\" --nodes 3", env!("CARGO_BIN_EXE_tes")]);
    sh.arg(&folder).env_clear().env("HOME", environment.path("home")).env("TMPDIR", &temporary);
    let mut demo = sh.process_group(0).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut told = BufReader::new(demo.stdout.take().expect("piped")).lines();
    assert!(told.next().expect("a line").expect("UTF-8").starts_with("1. 3 nodes start"));
    let scenes: Vec<_> =
        fs::read_dir(&temporary).expect("listed").map(|entry| entry.expect("an entry")).collect();
    assert_eq!(scenes.len(), 1);
    assert_eq!(scenes[0].metadata().expect("there").permissions().mode() & 0o777, 0o700);
    let hung_up = Command::new("kill").args(["-HUP", &demo.id().to_string()]).status();
    assert!(hung_up.expect("it runs").success());
    assert_eq!(demo.wait().expect("it ends").code(), Some(1));
    assert_eq!(fs::read_dir(&temporary).expect("listed").count(), 0);
}
