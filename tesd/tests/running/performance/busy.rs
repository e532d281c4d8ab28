//! `sqlite_busy_timeout_ms`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::node::Running;
use super::peer::Owner;

/// Another process that holds the write lock of a database.
struct Foreigner(Child);

impl Foreigner {
    /// Returns once it holds the lock.
    fn locking(data_dir: &Path) -> Self {
        let program = "import sqlite3, sys\n\
             database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
             database.execute('BEGIN IMMEDIATE')\n\
             print('locked', flush=True)\n\
             sys.stdin.readline()\n\
             database.execute('ROLLBACK')\n";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(data_dir.join("db/tesseras.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("UTF-8");
        assert_eq!(line, "locked\n");
        Self(child)
    }

    fn let_go(mut self) {
        self.0.stdin.take().expect("piped").write_all(b"\n").expect("it listens");
        assert!(self.0.wait().expect("it ends").success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_busy_timeout_says_how_long_another_writer_is_waited_for() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 command");
        return;
    }
    let hasty = Running::start("sqlite_busy_timeout_ms = 1");
    let patient = Running::start("sqlite_busy_timeout_ms = 600000");

    let owner = Owner::knowing(&[&hasty]).await;
    let hash = owner.capsule(10);
    let foreigner = Foreigner::locking(&hasty.data_dir());
    let refused = owner.publish(hash).await;
    assert!(refused.is_err(), "{refused:?}");
    foreigner.let_go();
    assert_eq!(owner.publish(hash).await, Ok(1));

    let owner = Owner::knowing(&[&patient]).await;
    let hash = owner.capsule(20);
    let foreigner = Foreigner::locking(&patient.data_dir());
    // Longer than the default timeout.
    let later = async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        foreigner.let_go();
    };
    let (published, ()) = tokio::join!(owner.publish(hash), later);
    assert_eq!(published, Ok(1));
}
