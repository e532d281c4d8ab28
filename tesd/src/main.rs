//! The Tesseras node daemon: reads its configuration, runs a node, and stops it on a signal.

mod args;
mod config;
mod fatal;
mod logging;
mod resolve;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use tesseras_node::Node;
use tesseras_node::end_signals::EndSignals;
use tracing::{info, warn};

use args::Args;
use config::Config;
use fatal::Fatal;

/// The longest time that stopping may take.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// The extra time for work on blocking threads after that; none of it has been acknowledged.
const DISK_DEADLINE: Duration = Duration::from_millis(250);
/// Exit code when a second signal cuts a stop short.
const CUT_SHORT: i32 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(text) = to_print(&args) {
        // A closed reader (`tesd --print-config | head`) is not a failure.
        let _ = io::stdout().lock().write_all(&text);
        return ExitCode::SUCCESS;
    }
    let (format, outcome) = match args.config() {
        Ok(config) => (config.log_format, start(config)),
        Err(refused) => (refused.log_format, Err(Fatal::Config(refused.error))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => fatal.complain(format),
    }
}

/// Starts logging, and runs a node on its own runtime.
fn start(config: Config) -> Result<(), Fatal> {
    logging::start(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(config));
    runtime.shutdown_timeout(DISK_DEADLINE);
    outcome
}

/// The output of an option that prints something instead of running a node.
fn to_print(args: &Args) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    if args.print_config {
        text = config::print(&Config::default()).into_bytes();
    } else if let Some(shell) = args.completions {
        clap_complete::generate(shell, &mut Args::command(), "tesd", &mut text);
    } else if args.man {
        clap_mangen::Man::new(Args::command()).render(&mut text).ok()?;
    } else {
        return None;
    }
    Some(text)
}

/// Runs a node until a signal comes.
async fn run(config: Config) -> Result<(), Fatal> {
    let mut signals = EndSignals::of_daemon()?;
    let starting = async { Node::start(resolve::resolve(config.into_node()).await).await };
    let node = tokio::select! {
        node = starting => node?,
        asked = signals.next() => {
            info!(signal = asked.name(), "stopped before it had started");
            return Ok(());
        }
    };
    say_ready(&node);
    let asked = signals.next().await;
    info!(signal = asked.name(), "stopping");
    tokio::select! {
        stopped = tokio::time::timeout(STOP_DEADLINE, node.stop()) => {
            if stopped.is_err() {
                warn!("some work did not end in time and was aborted");
            }
        }
        asked = signals.next() => {
            warn!(signal = asked.name(), "asked twice: stopping at once");
            std::process::exit(CUT_SHORT);
        }
    }
    Ok(())
}

fn say_ready(node: &Node) {
    let metrics = node.metrics().map_or_else(|| "-".to_owned(), |address| address.to_string());
    let mut stdout = io::stdout().lock();
    let line = format!("ready node={} listen={} metrics={metrics}\n", node.id(), node.listen());
    if let Err(error) = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        warn!(%error, "the ready line could not be printed");
    }
}
