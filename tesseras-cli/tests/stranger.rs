//! Somebody who has found an exported capsule, and has common tools and its README.decode: the
//! commands are taken from the page, in each of its languages, and run as they stand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The languages of the page, by their headings.
const LANGUAGES: [&str; 6] = ["ENGLISH", "ESPAÑOL", "PORTUGUÊS", "中文", "العربية", "हिन्दी"];
/// What the commands of section 5 do, in their order.
const STEPS: [&str; 9] = [
    "sha256",
    "blake3",
    "no other files",
    "ed25519",
    "ml-dsa-65",
    "named creator",
    "creator of the keys",
    "hash",
    "sums",
];

/// The whole page in one language: from its heading to that of the next one.
fn part<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let is_heading = |line: &&str| LANGUAGES.contains(line);
    let mut lines = page.lines().skip_while(|line| *line != language);
    let heading = lines.next().unwrap_or_else(|| panic!("{language} is not there"));
    std::iter::once(heading).chain(lines.take_while(|line| !is_heading(line))).collect()
}

/// The commands of section 5: paragraphs in which every line begins with two blanks.
fn commands(page: &str, language: &str) -> BTreeMap<&'static str, String> {
    let lines = part(page, language).into_iter().skip_while(|line| !line.starts_with("5. "));
    let section: Vec<&str> = lines.take_while(|line| !line.starts_with("6. ")).collect();
    let is_command = |paragraph: &&[&str]| {
        !paragraph.is_empty() && paragraph.iter().all(|line| line.starts_with("  "))
    };
    let paragraphs = section.split(|line| line.is_empty()).filter(is_command);
    let found: Vec<String> = paragraphs.map(|paragraph| paragraph.join("\n")).collect();
    assert_eq!(found.len(), STEPS.len(), "{language}: {found:#?}");
    STEPS.into_iter().zip(found).collect()
}

/// A shell with the tools that the page asks for. Where this machine lacks one, the reader written
/// from the capsule's own description stands in its place, as the page says.
struct Shell {
    _tools: TempDir,
    path: String,
}

impl Shell {
    /// `None`, with a note, if the machine lacks what cannot be replaced.
    fn new() -> Option<Self> {
        for tool in ["sh", "sed", "sha256sum", "find", "base64", "openssl", "python3"] {
            if Command::new(tool).arg("--help").output().is_err() {
                eprintln!("skipped: there is no {tool} here");
                return None;
            }
        }
        let tools = tempfile::tempdir().unwrap();
        let readers =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tesseras-capsule/tests/decode");
        let python = |reader: &str| format!("python3 '{}'", readers.join(reader).display());
        let script = |name: &str, text: String| {
            let path = tools.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        if Command::new("b3sum").arg("--version").output().is_err() {
            script("b3sum", format!("exec {} \"$@\"", python("blake3.py")));
        }
        let algorithms = Command::new("openssl").args(["list", "-signature-algorithms"]).output();
        let algorithms = String::from_utf8(algorithms.unwrap().stdout).unwrap();
        if !algorithms.to_ascii_uppercase().contains("ML-DSA-65") {
            let real = Command::new("sh").args(["-c", "command -v openssl"]).output().unwrap();
            let real = String::from_utf8(real.stdout).unwrap();
            script(
                "openssl",
                format!(
                    "case \"$*\" in\n\
                     pkeyutl*ml-dsa-65*) exec {} identity/creator.ml-dsa-65.pem \
                     MANIFEST.ml-dsa-65.sig MANIFEST;;\n\
                     pkey*ml-dsa-65*) {} identity/creator.ml-dsa-65.pem | python3 -c \
                     'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read().split()[-1]))'\
                     ;;\n\
                     *) exec '{}' \"$@\";;\nesac",
                    python("ml_dsa_65.py"),
                    python("pem.py"),
                    real.trim()
                ),
            );
        }
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        Some(Self { _tools: tools, path })
    }

    fn run(&self, command: &str, directory: &Path) -> Output {
        let mut shell = Command::new("sh");
        shell.env("PATH", &self.path).env("LC_ALL", "C").args(["-c", command]);
        shell.current_dir(directory).output().unwrap()
    }

    /// Follows the page to the letter, knowing the creator and the hash from elsewhere. The first
    /// step that refuses.
    fn follow(
        &self,
        commands: &BTreeMap<&'static str, String>,
        directory: &Path,
        known: &Known,
    ) -> Result<(), &'static str> {
        let mut said = BTreeMap::new();
        for step in STEPS.into_iter().filter(|step| *step != "sums") {
            let output = self.run(&commands[step], directory);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let holds = match step {
                "sha256" | "blake3" => {
                    output.status.success()
                        && !text.is_empty()
                        && text.lines().all(|line| line.ends_with(": OK"))
                }
                "no other files" => text.is_empty() && output.stderr.is_empty(),
                _ => output.status.success(),
            };
            if !holds {
                return Err(step);
            }
            said.insert(step, text.split_whitespace().next().unwrap_or_default().to_owned());
        }
        if said["named creator"] != said["creator of the keys"] {
            return Err("creator of the keys");
        }
        if said["named creator"] != known.creator {
            return Err("named creator");
        }
        if said["hash"] == known.hash { Ok(()) } else { Err("hash") }
    }
}

/// What the finder knows from a card.
struct Known {
    creator: String,
    hash: String,
}

/// An exported capsule, and what its maker knows of it.
struct Found {
    home: TempDir,
    directory: PathBuf,
    known: Known,
}

fn tes(home: &Path, args: &[&str]) -> serde_json::Value {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_tes"));
    command.env_clear().env("HOME", home).args(["--json", "--data-dir"]).arg(home.join("data"));
    let output = command.args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Found {
    /// Made by somebody who says that she is Ana.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let photos = home.path().join("Férias 1978");
        fs::create_dir_all(photos.join("a b")).unwrap();
        let jpeg = [&[0xff, 0xd8, 0xff, 0xfe, 0, 2][..], b"the sea", &[0xff, 0xd9]].concat();
        fs::write(photos.join("a b/mar \\ sol.jpg"), &jpeg).unwrap();
        fs::write(photos.join("a b/mar \\ sol.txt"), "É lindo.\n").unwrap();
        fs::write(photos.join("letter.txt"), "Dear grandma,\n").unwrap();
        let creator = tes(home.path(), &["init", "--name", "Ana"])["creator"].clone();
        let made = tes(home.path(), &["create", photos.to_str().unwrap()]);
        let hash = made["hash"].as_str().unwrap().to_owned();
        let out = home.path().join("out");
        let exported = tes(home.path(), &["export", &hash, out.to_str().unwrap()]);
        let directory = PathBuf::from(exported["path"].as_str().unwrap());
        let known = Known { creator: creator.as_str().unwrap().to_owned(), hash };
        Self { home, directory, known }
    }

    fn page(&self) -> String {
        fs::read_to_string(self.directory.join("README.decode")).unwrap()
    }

    /// The directory of its first memory.
    fn memory(&self) -> PathBuf {
        let memories = fs::read_dir(self.directory.join("memories")).unwrap();
        memories.map(|entry| entry.unwrap().path()).min().unwrap()
    }
}

/// Writes SHA256SUMS anew, as somebody does who hides a change.
fn recompute_sums(shell: &Shell, directory: &Path) {
    let command = "find . -type f ! -name SHA256SUMS ! -name HASH.txt | sed 's,^\\./,,' | sort | \
                   while read -r f; do sha256sum \"$f\" || true; done > ../sums && mv ../sums SHA256SUMS";
    assert!(shell.run(command, directory).status.success());
}

fn flip_a_bit(found: &Found) {
    let photo = found.memory().join("media.jpg");
    let mut bytes = fs::read(&photo).unwrap();
    bytes[8] ^= 1;
    fs::write(&photo, bytes).unwrap();
}

fn add_a_file(found: &Found) {
    fs::write(found.memory().join("more.txt"), "And so it was.\n").unwrap();
}

/// Its name is made of lines that stand in the list of files already.
fn add_a_file_named_like_two(found: &Found) {
    fs::write(found.directory.join("MANIFEST\nSHA256SUMS"), "And so it was.\n").unwrap();
}

/// Its path, taken for lines, says one name twice.
fn add_a_file_below_a_name_of_two_lines(found: &Found) {
    fs::create_dir(found.directory.join("more\n.")).unwrap();
    fs::write(found.directory.join("more\n./more"), "And so it was.\n").unwrap();
}

fn remove_a_file(found: &Found) {
    fs::remove_file(found.memory().join("context.txt")).unwrap();
}

fn remove_a_file_with_its_line(found: &Found) {
    remove_a_file(found);
    let manifest = found.directory.join("MANIFEST");
    let text = fs::read_to_string(&manifest).unwrap();
    let kept: String =
        text.split_inclusive('\n').filter(|line| !line.ends_with("/context.txt\n")).collect();
    assert_ne!(kept, text);
    fs::write(manifest, kept).unwrap();
}

fn rename_a_directory(found: &Found) {
    fs::rename(found.memory(), found.directory.join("memories/9999-00000000")).unwrap();
}

#[test]
fn the_page_accepts_what_its_maker_signed_in_every_language() {
    let Some(shell) = Shell::new() else { return };
    let found = Found::new();
    let page = found.page();
    let english = commands(&page, "ENGLISH");
    assert_eq!(shell.follow(&english, &found.directory, &found.known), Ok(()));
    let sums = shell.run(&english["sums"], &found.directory);
    assert!(sums.status.success(), "{sums:?}");
    for language in LANGUAGES {
        assert_eq!(commands(&page, language), english, "{language}");
        let lines = part(&page, language);
        let sections: Vec<usize> = (1..=9)
            .filter(|n| lines.iter().any(|line| line.starts_with(&format!("{n}. "))))
            .collect();
        assert_eq!(sections, [1, 2, 3, 4, 5, 6, 7, 8], "{language}");
    }
    let hash = fs::read_to_string(found.directory.join("HASH.txt")).unwrap();
    assert_eq!(hash, format!("{}  MANIFEST\n", found.known.hash));
    let checked = shell.run("b3sum -c HASH.txt", &found.directory);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn the_page_refuses_what_was_changed_even_if_the_sums_were_made_anew() {
    let Some(shell) = Shell::new() else { return };
    for (change, step) in [
        (flip_a_bit as fn(&Found), "sha256"),
        (add_a_file, "no other files"),
        (add_a_file_named_like_two, "no other files"),
        (add_a_file_below_a_name_of_two_lines, "no other files"),
        (remove_a_file, "sha256"),
        (remove_a_file_with_its_line, "ed25519"),
        (rename_a_directory, "sha256"),
    ] {
        let found = Found::new();
        let commands = commands(&found.page(), "ENGLISH");
        change(&found);
        recompute_sums(&shell, &found.directory);
        let sums = shell.run(&commands["sums"], &found.directory);
        assert_eq!(shell.follow(&commands, &found.directory, &found.known), Err(step));
        // This is why the page does not stop at SHA256SUMS.
        assert!(sums.status.success() || step == "no other files", "{step}: {sums:?}");
    }
}

#[test]
fn the_page_refuses_another_who_claims_the_same_name() {
    let Some(shell) = Shell::new() else { return };
    let (found, other) = (Found::new(), Found::new());
    let commands = commands(&other.page(), "ENGLISH");
    assert_eq!(shell.follow(&commands, &other.directory, &other.known), Ok(()));
    assert_eq!(shell.follow(&commands, &other.directory, &found.known), Err("named creator"));
    let card = tes(found.home.path(), &["card", &found.known.hash]);
    let card: String = card["text"].as_str().unwrap().split_whitespace().collect();
    assert!(card.contains(&found.known.creator) && card.contains(&found.known.hash), "{card}");
    both_keys_in_one_file(&shell, &found, &other);
    // Her keys beside the other's signatures.
    for key in ["identity/creator.ed25519.pem", "identity/creator.ml-dsa-65.pem"] {
        fs::copy(found.directory.join(key), other.directory.join(key)).unwrap();
    }
    assert_eq!(shell.follow(&commands, &other.directory, &found.known), Err("sha256"));
}

/// A key file that holds one person's key for the one who reads it from the front, and another's
/// for the one who reads it from the end: both commands must mean the same key.
fn both_keys_in_one_file(shell: &Shell, found: &Found, other: &Found) {
    let name = "identity/creator.ed25519.pem";
    let (hers, theirs) = (found.directory.join(name), other.directory.join(name));
    let own = fs::read_to_string(&theirs).unwrap();
    let appended = fs::read_to_string(hers).unwrap().lines().nth(1).unwrap().to_owned();
    fs::write(&theirs, format!("{own}{appended}\n")).unwrap();
    let commands = commands(&other.page(), "ENGLISH");
    let creator = shell.run(&commands["creator of the keys"], &other.directory);
    let creator = String::from_utf8(creator.stdout).unwrap();
    assert!(!creator.starts_with(&found.known.creator), "{creator}");
    fs::write(&theirs, own).unwrap();
}
