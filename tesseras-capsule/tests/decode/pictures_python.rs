//! Runs the readers of pictures, sounds and streams on many files at once.

use std::fs;
use std::process::Output;

use crate::python::python;

/// Where the readers and the fixtures are.
pub const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decode");

/// Calls a function of a reader with each file's bytes, and writes its result, or why it refused.
const MANY: &str = r#"
import importlib, sys
sys.path.insert(0, sys.argv[1])
reader = importlib.import_module(sys.argv[2])
for i in range(int(sys.argv[4])):
    with open(str(i), "rb") as file:
        data = file.read()
    try:
        out, name = getattr(reader, sys.argv[3])(data), "%d.out"
    except reader.Wrong as why:
        out, name = str(why).encode(), "%d.wrong"
    with open(name % i, "wb") as file:
        file.write(out)
"#;

/// What a reader made of a file: its output, or why it refused it.
pub type Outcome = Result<Vec<u8>, String>;

/// Calls `reader.function` for each file. `None`, with a note, if there is no Python.
pub fn read_all(reader: &str, function: &str, files: &[Vec<u8>]) -> Option<Vec<Outcome>> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: String| directory.path().join(name);
    for (i, bytes) in files.iter().enumerate() {
        fs::write(path(i.to_string()), bytes).unwrap();
    }
    let count = files.len().to_string();
    let output = python(&["-c", MANY, HERE, reader, function, &count], directory.path())?;
    assert!(output.status.success(), "{reader}: {output:?}");
    let outcome = |i| match fs::read(path(format!("{i}.out"))) {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(fs::read_to_string(path(format!("{i}.wrong"))).unwrap()),
    };
    Some((0..files.len()).map(outcome).collect())
}

/// Runs a reader by its command line on one file.
pub fn run(reader: &str, arguments: &[&str], file: &[u8]) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), file).unwrap();
    let script = format!("{HERE}/{reader}.py");
    python(&[&[&*script], arguments, &["file"]].concat(), directory.path())
}

/// Each of these has to be refused, in words.
pub fn refuses_all(reader: &str, function: &str, files: &[Vec<u8>]) {
    let Some(outcomes) = read_all(reader, function, files) else { return };
    for (file, outcome) in files.iter().zip(outcomes) {
        let why = outcome.expect_err("a damaged file was read");
        assert!(why.len() > 8, "{reader}, {} bytes: {why}", file.len());
    }
}

/// All that is left of a file that was cut off at each place in turn.
pub fn cut_everywhere(file: &[u8]) -> Vec<Vec<u8>> {
    (0..file.len()).map(|length| file[..length].to_vec()).collect()
}

/// By its command line, a reader shows a good file and refuses a bad one with a message.
pub fn answers_on_the_command_line(reader: &str, arguments: &[&str], good: &[u8]) {
    let Some(output) = run(reader, arguments, good) else { return };
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    let output = run(reader, arguments, &good[..good.len() / 2]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.starts_with("file: "), "{said}");
}

/// A text of `decode/`.
pub fn text(name: &str) -> String {
    fs::read_to_string(format!("{HERE}/../../texts/decode/{name}.txt")).unwrap()
}

/// The bytes that a text prints in hexadecimal after some words: the tokens that follow, as long as
/// they are of two digits.
pub fn printed(text: &str, after: &str) -> Vec<u8> {
    let (_, rest) = text.split_once(after).expect("the words");
    rest.split_whitespace()
        .map_while(|token| if token.len() == 2 { u8::from_str_radix(token, 16).ok() } else { None })
        .collect()
}

/// Pseudo-random numbers (xorshift64), the same every time.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed)
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    pub fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
