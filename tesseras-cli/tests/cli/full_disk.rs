//! A disk that is full to the last byte: what can be read is read, and what frees space frees it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::environment::{Environment, text};

/// Exit code of the shell where nothing can be mounted.
const NO_MOUNT: i32 = 99;

/// Runs a shell script with a file system of 4 MiB at `$disk`, to which the data directory was copied,
/// and which `fill` fills. `$out` is a directory on another one. `None` if nothing can be mounted.
fn on_a_small_disk(environment: &Environment, script: &str) -> Option<Output> {
    let (disk, out) = (environment.path("disk"), environment.path("elsewhere"));
    for directory in [&disk, &out] {
        fs::create_dir_all(directory).expect("made");
    }
    let mut command = Command::new("unshare");
    let prelude = format!(
        "mount -t tmpfs -o size=4m,mode=0700 tmpfs \"$disk\" || exit {NO_MOUNT}\n\
         cp -r \"$data\" \"$disk/data\"\n\
         fill() {{ dd if=/dev/zero of=\"$disk/filler$1\" bs=4096 2>/dev/null; }}\n\
         tes() {{ \"$program\" --data-dir \"$disk/data\" \"$@\"; }}\n\
         reserve() {{ stat -c %s \"$disk/data/db/reserve\"; }}\n"
    );
    command.args(["-rm", "sh", "-c"]).arg(prelude + script);
    let program = assert_cmd::cargo::cargo_bin("tes");
    let variables =
        [("disk", &disk), ("data", &environment.data_dir()), ("out", &out), ("program", &program)];
    command.envs(variables.map(|(name, path): (_, &std::path::PathBuf)| (name, path as &Path)));
    let output = command.output().ok()?;
    let refused = String::from_utf8_lossy(&output.stderr).starts_with("unshare:");
    let mounted = output.status.code() != Some(NO_MOUNT) && !refused;
    if !mounted {
        eprintln!("skipped: nothing can be mounted here");
    }
    mounted.then_some(output)
}

#[test]
fn a_full_disk_is_read_and_its_reserve_is_left_to_drop() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let script = format!(
        "tes list >/dev/null; fill 0\n\
         for command in list 'show {start}' 'verify {hash}' 'card {hash}' \
             \"export {hash} $out\"; do\n\
             tes $command >/dev/null || echo \"$command failed\"\n\
             fill 1\n\
         done\n\
         tes init 2>&1 || echo init was refused\n\
         fill 2; reserve\n\
         tes drop --yes {hash} && tes gc && tes list\n",
        start = &hash[..8],
    );
    let Some(output) = on_a_small_disk(&environment, &script) else { return };
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("failed"), "{said}");
    assert!(said.contains("the disk is full") && said.contains("init was refused"), "{said}");
    assert!(!said.contains("migrat"), "{said}");
    assert!(said.contains("1048576\n"), "{said}");
    assert!(said.contains("Removed the tessera") && said.contains("is empty"), "{said}");
    let exported = environment.path("elsewhere");
    assert!(fs::read_dir(&exported).expect("there").count() == 1, "{}", text(&exported));
}
