//! Asking the running `tesd`, and showing progress meanwhile.

use tesseras_rpc::calls::{AskPeers, Call};
use tesseras_rpc::{Client, ClientError, socket_path};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress::Bar;

/// Asks the node of the data directory and waits for its answer. Interrupted (Ctrl-C), the
/// connection closes and the node gives up on it.
pub fn ask<C: Call>(context: &Context, call: C) -> Result<C::Answer, CommandError> {
    let runtime = runtime()?;
    let mut bar = Bar::new();
    let answer = runtime.block_on(async {
        let client = connect(context).await?;
        Ok::<_, CommandError>(client.ask(call, |progress| bar.show(&progress)).await?)
    })?;
    Ok(answer)
}

/// Connects to the node of the data directory. Where there is no data directory, it is said that no
/// node can run on it.
pub async fn connect(context: &Context) -> Result<Client, CommandError> {
    let connected = Client::connect(&socket_path(&context.data_dir)).await;
    if let Err(ClientError::NotRunning { .. }) = &connected {
        context.check_data_dir()?;
    }
    Ok(connected?)
}

/// How many other nodes the running node knows; fails, with a hint, if no node runs.
pub fn peers_known(context: &Context) -> Result<u64, CommandError> {
    Ok(ask(context, AskPeers {})?.peers.len() as u64)
}

/// Whether a node runs; an error if that cannot be told.
pub fn is_running(context: &Context) -> Result<bool, CommandError> {
    let runtime = runtime()?;
    match runtime.block_on(Client::connect(&socket_path(&context.data_dir))) {
        Ok(_) => Ok(true),
        Err(ClientError::NotRunning { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What runs one request.
pub fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(format!("cannot talk to tesd: {error}")))
}
