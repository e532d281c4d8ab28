//! A person at a terminal: what is asked is answered, and all that the screen shows is read.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::environment::{Environment, text};

/// Runs a program on a terminal of its own. Waits for each prompt in turn and types its answer,
/// for a passphrase the terminal must not show any more what is typed. Ctrl-C is an answer, too. Says
/// which files of the index it has open while it waits for an answer, and runs another command before
/// the first one. A program that asks nothing for a minute is stopped.
const TALK: &str = r#"
import fcntl, json, os, pty, select, signal, struct, subprocess, sys, termios
task = json.load(sys.stdin)
pid, screen = pty.fork()
if pid == 0:
    os.execve(task["argv"][0], task["argv"], task["env"])
fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
shown, looked_at = b"", 0
dialogue = [(prompt.encode(), answer.encode()) for prompt, answer in task["dialogue"]]
echoed, index = False, set()
def look():
    files = f"/proc/{pid}/fd"
    for name in os.listdir(files) if os.path.isdir(files) else []:
        try:
            path = os.readlink(f"{files}/{name}")
        except OSError:
            continue
        if "/data/db/" in path:
            index.add(path)
while True:
    if not select.select([screen], [], [], 60)[0]:
        os.kill(pid, signal.SIGKILL)
        break
    try:
        more = os.read(screen, 4096)
    except OSError:
        break
    if not more:
        break
    shown += more
    while dialogue and dialogue[0][0] in shown[looked_at:]:
        prompt, answer = dialogue.pop(0)
        looked_at = shown.index(prompt, looked_at) + len(prompt)
        look()
        if task["meanwhile"]:
            subprocess.run(task["meanwhile"], env=task["env"], stdout=sys.stderr, check=True)
            task["meanwhile"] = []
        if task["hidden"]:
            echoed = echoed or bool(termios.tcgetattr(screen)[3] & termios.ECHO)
        os.write(screen, answer if answer == b"\x03" else answer + b"\n")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps({"code": code, "shown": shown.decode(), "left": len(dialogue), "echoed": echoed, "index": sorted(index)}))
"#;

/// What came of a dialogue.
pub struct Talked {
    pub code: i64,
    pub shown: String,
}

/// Runs `tes` on a terminal, with these prompts and answers. `None` where there is no Python.
pub fn talk(environment: &Environment, args: &[&str], dialogue: &[(&str, &str)]) -> Option<Talked> {
    run(environment, args, dialogue, false, &[])
}

/// [`talk`], while another `tes` with these arguments runs before the first answer.
pub fn talk_meanwhile(
    environment: &Environment,
    args: &[&str],
    dialogue: &[(&str, &str)],
    meanwhile: &[&str],
) -> Option<Talked> {
    run(environment, args, dialogue, false, meanwhile)
}

/// [`talk`], where the answers are passphrases.
pub fn whisper(
    environment: &Environment,
    args: &[&str],
    dialogue: &[(&str, &str)],
) -> Option<Talked> {
    run(environment, args, dialogue, true, &[])
}

fn run(
    environment: &Environment,
    args: &[&str],
    dialogue: &[(&str, &str)],
    hidden: bool,
    meanwhile: &[&str],
) -> Option<Talked> {
    let data_dir = environment.data_dir();
    let tes = [env!("CARGO_BIN_EXE_tes"), "--data-dir", text(&data_dir)];
    let argv = [&tes[..], args].concat();
    let meanwhile = if meanwhile.is_empty() { vec![] } else { [&tes[..], meanwhile].concat() };
    let home = environment.path("home");
    let env = json!({ "HOME": text(&home), "TERM": "xterm" });
    let task = json!({
        "argv": argv, "env": env, "dialogue": dialogue, "hidden": hidden, "meanwhile": meanwhile,
    });
    let python = Command::new("python3")
        .args(["-c", TALK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        eprintln!("skipped: there is no python3");
        return None;
    };
    let mut stdin = python.stdin.take().expect("piped");
    stdin.write_all(task.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = python.wait_with_output().expect("it ends");
    let talked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(talked["echoed"], false, "the terminal shows what is typed at a hidden prompt");
    assert_eq!(talked["index"], json!([]), "others wait for the index while a person thinks");
    let shown = talked["shown"].as_str().expect("a text").to_owned();
    assert_eq!(talked["left"], 0, "not everything was asked: {shown}");
    Some(Talked { code: talked["code"].as_i64().expect("a code"), shown })
}
