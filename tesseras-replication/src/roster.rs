//! Telling the holders of a tessera about each other, and that it is published.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::stream;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_wire::BoxFuture;

use crate::announce::announce_new;
use crate::holder::Holder;
use crate::peers::Peers;
use crate::ports::Directory;

/// Concurrent rosters.
const TOLD_AT_ONCE: usize = 16;

/// What is told to the holders of a tessera, and by which means.
#[derive(Clone, Copy)]
pub(crate) struct Roster<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) directory: &'a dyn Directory,
    pub(crate) tessera: TesseraHash,
    /// All holders, possibly including this node.
    pub(crate) holders: &'a [Contact],
}

/// The answers to a roster.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The holders that know now that the tessera is published, possibly including this node.
    pub(crate) confirmed: BTreeSet<NodeId>,
    /// Those for which it is still a draft: this node has not placed their pieces.
    pub(crate) unconfirmed: Vec<Contact>,
}

impl Roster<'_> {
    /// Tells these holders about all, and that the tessera is published; each announces itself
    /// before it answers.
    pub(crate) async fn send(&self, to: &[Contact]) -> Told {
        let Self { peers, holder, directory, tessera, holders } = *self;
        let (me, mut told) = (peers.me(), Told::default());
        if to.iter().any(|holder| holder.id == me) {
            match holder.note_confirmed(tessera).await {
                Ok(()) => {
                    told.confirmed.insert(me);
                }
                Err(error) => {
                    tracing::error!(%tessera, %error, "cannot record that the tessera is published");
                }
            }
            announce_new(holder, directory, tessera).await;
        }
        let tell = |other| -> BoxFuture<'_, _> {
            Box::pin(async move { (other, peers.tell_holders(other, tessera, holders).await) })
        };
        let others: Vec<_> = to.iter().filter(|holder| holder.id != me).map(tell).collect();
        let mut answers = stream::iter(others).buffer_unordered(TOLD_AT_ONCE);
        while let Some((other, answer)) = answers.next().await {
            match answer {
                Ok(true) => {
                    told.confirmed.insert(other.id);
                }
                Ok(false) => told.unconfirmed.push(other.clone()),
                Err(error) => {
                    tracing::info!(%tessera, node = %other.id, %error, "a holder was not told");
                }
            }
        }
        told
    }
}
