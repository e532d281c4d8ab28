//! Asking the running `tesd`, and showing progress meanwhile.

use tesseras_rpc::messages::{Request, Response};
use tesseras_rpc::{Client, ClientError, socket_path};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress::Bar;

/// Sends a request to the node of the data directory and waits for its result. Interrupted
/// (Ctrl-C), the connection closes and the node gives up on the request.
pub fn ask(context: &Context, request: &Request) -> Result<Response, CommandError> {
    let runtime = runtime()?;
    let mut bar = Bar::new();
    let response = runtime.block_on(async {
        let client = Client::connect(&socket_path(&context.data_dir)).await?;
        client.request(request, |progress| bar.show(&progress)).await
    })?;
    Ok(response)
}

/// The error for a result of another kind than was asked for.
pub fn unexpected() -> CommandError {
    CommandError::new("tesd answered something else than it was asked")
        .with_hint("use the tes and the tesd of one version")
}

/// How many other nodes the running node knows; fails, with a hint, if no node runs.
pub fn peers_known(context: &Context) -> Result<u64, CommandError> {
    match ask(context, &Request::Peers)? {
        Response::Peers { peers } => Ok(peers.len() as u64),
        _ => Err(unexpected()),
    }
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
