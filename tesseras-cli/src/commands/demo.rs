//! `tes demo`: publishes, loses, fetches and repairs a tessera on a network on this machine.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::demo::Walked;
use crate::demo::{self, Plot};
use crate::exit::Exit;
use crate::human::{count, size};
use crate::interrupt::end_signals;
use crate::output::Report;

/// How long to wait for disk threads at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Show how a tessera survives its owner, with a small network of real nodes on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of photos, recordings and texts; without it, sample files are generated.
    folder: Option<PathBuf>,
    /// The number of nodes.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(3..=40))]
    nodes: u8,
    /// Keep the fetched files in this folder. Without it, everything is deleted at the end.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let plot = Plot { folder: args.folder, nodes: args.nodes, keep: args.keep };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(format!("cannot start threads: {error}")))?;
    // Before anything is created that has to be removed.
    let mut signals = {
        let _inside = runtime.enter();
        end_signals()?
    };
    // It will contain copies of personal files.
    let private = Permissions::from_mode(0o700);
    let scene = tempfile::Builder::new().prefix("tes-demo-").permissions(private).tempdir();
    let scene = scene.map_err(|e| CommandError::new(format!("no temporary folder: {e}")))?;
    let (output, place) = (context.output, scene.path().to_owned());
    let walked = runtime.block_on(async {
        tokio::select! {
            walked = demo::walk(plot, place, output) => walked,
            _ = signals.next() => Err(interrupted()),
        }
    });
    // The folder can be removed only when no thread writes to it any more.
    runtime.shutdown_timeout(PATIENCE);
    if walked.is_err() {
        // A thread that was not waited for may be writing what comes back.
        tesseras_capsule::discard_unfinished();
    }
    drop(scene);
    let walked = walked?;
    output.report(&walked)?;
    Ok(if walked.identical && walked.valid { Exit::Done } else { Exit::Failed })
}

fn interrupted() -> CommandError {
    CommandError::new("interrupted; nothing was left behind").with_code(Code::INTERRUPTED)
}

impl Report for Walked {
    fn human(&self) -> String {
        let truth = if self.identical && self.valid {
            "Every file came back bit for bit; every hash and both signatures are valid."
        } else {
            "What came back is NOT what was published."
        };
        let place = match &self.path {
            Some(path) => format!("The files that came back are in {}\n", path.display()),
            None => {
                "Nothing stays behind. To keep what came back: tes demo --keep FOLDER\n".to_owned()
            }
        };
        let others = match self.killed - 1 {
            0 => String::new(),
            n => format!(" and {}", count(n, "other node", "other nodes")),
        };
        format!(
            "\n{truth}\n\
             {} ({}) outlived the owner{others}, in {}.\n{place}\
             Your own: tes demo FOLDER, or tes init to begin for real.\n",
            count(self.memories, "memory", "memories"),
            size(self.bytes),
            count(self.seconds, "second", "seconds"),
        )
    }
}
