//! Obtaining the dossier of a tessera: from this node, or from a holder. Several holders are asked,
//! each a little after the one before it, and the first that gives a valid one is enough.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_wire::BoxFuture;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::peers::{Peers, Priority};
use crate::policy::survey::{Survey, round_robin};

/// How many of the attested plans are tried, the most common first. There is only one, unless its
/// creator or holders lie.
const MAX_PLANS: usize = 4;
/// How many holders are asked for the dossier of one plan.
const MAX_SOURCES: usize = 16;
/// How many dossiers of one tessera are received at once; each may have 16 MiB in memory.
const AT_ONCE: usize = 4;
/// When the next holder is asked although the last has not failed: a small dossier has arrived by then.
const NEXT_AFTER: Duration = Duration::from_secs(1);

/// The dossier kept here, or that of any live holder; of several plans the one that most holders
/// keep.
pub(crate) async fn any_dossier(
    peers: &Peers,
    holder: &Holder,
    tessera: TesseraHash,
    survey: &Survey,
) -> Option<VerifiedDossier> {
    if let Ok(Some(dossier)) = holder.stored_dossier(tessera).await {
        return Some(dossier);
    }
    dossiers_of_holders(peers, tessera, survey, Priority::Interactive).await.into_iter().next()
}

/// Those that were not silent lately first; of these one of each neighbourhood first; otherwise at
/// random, so that nobody can arrange to be first.
fn in_order(peers: &Peers, mut holders: Vec<Contact>) -> Vec<Contact> {
    peers.shuffle(&mut holders);
    let (silent, awake): (Vec<_>, Vec<_>) =
        holders.into_iter().partition(|holder| peers.is_silent_at(holder));
    [round_robin(awake), round_robin(silent)].concat()
}

/// One dossier for each plan that holders keep, the most common plan first.
pub(crate) async fn dossiers_of_holders(
    peers: &Peers,
    tessera: TesseraHash,
    survey: &Survey,
    priority: Priority,
) -> Vec<VerifiedDossier> {
    let mut dossiers = Vec::new();
    for (plan, holders) in survey.holders_by_plan(peers.me()).into_iter().take(MAX_PLANS) {
        let mut sources = DossierSources::new(peers, tessera, priority);
        let holders = in_order(peers, holders).into_iter().take(MAX_SOURCES);
        sources.waiting.extend(holders.map(|holder| (holder, plan)));
        dossiers.extend(sources.next().await);
    }
    dossiers
}

/// The holders that are asked for a dossier.
pub(crate) struct DossierSources<'a> {
    peers: &'a Peers,
    tessera: TesseraHash,
    priority: Priority,
    /// Those that are still to be asked, with the plan that each attests.
    waiting: VecDeque<(Contact, ContentHash)>,
    asked: FuturesUnordered<BoxFuture<'a, Option<VerifiedDossier>>>,
    /// When the last one was asked.
    asked_at: Option<Instant>,
}

impl<'a> DossierSources<'a> {
    /// Asks nobody yet.
    pub(crate) fn new(peers: &'a Peers, tessera: TesseraHash, priority: Priority) -> Self {
        let (waiting, asked) = (VecDeque::new(), FuturesUnordered::new());
        Self { peers, tessera, priority, waiting, asked, asked_at: None }
    }

    /// One more that may be asked. It is chosen at random among those that wait, not in the order
    /// of their answers.
    pub(crate) fn add(&mut self, holder: Contact, plan: ContentHash) {
        self.waiting.push_back((holder, plan));
        self.peers.shuffle(self.waiting.make_contiguous());
    }

    /// The first dossier that one of them gives, by the plan that it attests; `None` once all have
    /// failed. Nothing is lost if this is dropped before.
    pub(crate) async fn next(&mut self) -> Option<VerifiedDossier> {
        loop {
            let next_at = self.asked_at.map(|at| at + NEXT_AFTER);
            if self.asked.is_empty() || next_at.is_none_or(|at| at <= Instant::now()) {
                self.ask();
            }
            let next_at = self.asked_at? + NEXT_AFTER;
            let has_slot = self.asked.len() < AT_ONCE && !self.waiting.is_empty();
            tokio::select! {
                biased;
                told = self.asked.next() => match told {
                    None => return None,
                    Some(Some(dossier)) => return Some(dossier),
                    // The next one takes its slot at once.
                    Some(None) => self.ask(),
                },
                () = sleep_until(next_at), if has_slot => {}
            }
        }
    }

    fn ask(&mut self) {
        if self.asked.len() >= AT_ONCE {
            return;
        }
        let Some((holder, plan)) = self.waiting.pop_front() else { return };
        self.asked_at = Some(Instant::now());
        let Self { peers, tessera, priority, .. } = *self;
        // While others can be asked, nobody is waited for as long as a large dossier may take over a
        // slow line.
        let patience = (!self.waiting.is_empty()).then(|| 2 * peers.answer_deadline());
        self.asked.push(Box::pin(async move {
            // Waiting for this node's own permit is not the holder's lateness.
            let _permit = peers.incoming_permit(priority).await;
            let taking = peers.take_dossier(&holder, tessera);
            let told = match patience {
                Some(patience) => timeout(patience, taking).await.ok()?,
                None => taking.await,
            };
            match told {
                Ok(dossier) if dossier.plan_hash() == plan => Some(dossier),
                Ok(_) => {
                    tracing::warn!(holder = %holder.id, %tessera, "attests another plan");
                    None
                }
                Err(error) => {
                    tracing::info!(holder = %holder.id, %tessera, %error, "no dossier");
                    None
                }
            }
        }));
    }
}
