//! Looks after the log of the database while the node is idle: if another process could not sync it
//! and has ended, nobody can open the data directory beside the node until the node verifies it.

use std::time::Duration;

use tesseras_core::ports::StoreError;
use tesseras_storage::Store;
use tokio_util::sync::CancellationToken;

/// The pause while all is well, and while another process has the directory open. Whoever opens it
/// waits longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause while the log cannot be written back. It doubles with each attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Looks after the log of `store` until the token is cancelled.
pub async fn look_after_log(store: Store, token: CancellationToken) {
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let store = store.clone();
        let looked = tokio::task::spawn_blocking(move || store.look_after_log()).await;
        pause = match looked {
            Ok(Ok(()) | Err(StoreError::Locked { .. })) => LOOK_EVERY,
            Ok(Err(error)) => {
                // Once, when it begins.
                if pause == LOOK_EVERY {
                    tracing::warn!(%error, "the log of the database could not be written back");
                }
                (2 * pause).min(LONGEST_PAUSE)
            }
            Err(error) => {
                tracing::error!(%error, "a look after the log of the database ended early");
                LONGEST_PAUSE
            }
        };
    }
}
