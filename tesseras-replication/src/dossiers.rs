//! Obtaining the dossier of a tessera: from this node, or from a holder.

use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;

use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::peers::Peers;
use crate::policy::survey::{Survey, by_turns};

/// How many of the attested plans are tried, the most common first. There is only one, unless its
/// creator or holders lie.
const MAX_PLANS: usize = 4;
/// How many holders are asked for the dossier of one plan.
const MAX_TELLERS: usize = 8;

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
    dossiers_of_holders(peers, tessera, survey).await.into_iter().next()
}

/// Those that were not silent lately first; of these one of each neighbourhood first; otherwise at
/// random, so that nobody can arrange to be first.
fn in_order(peers: &Peers, mut holders: Vec<Contact>) -> Vec<Contact> {
    peers.shuffle(&mut holders);
    let (silent, awake): (Vec<_>, Vec<_>) =
        holders.into_iter().partition(|holder| peers.is_silent_at(holder));
    [by_turns(awake), by_turns(silent)].concat()
}

/// One dossier for each plan that holders keep, the most common plan first.
pub(crate) async fn dossiers_of_holders(
    peers: &Peers,
    tessera: TesseraHash,
    survey: &Survey,
) -> Vec<VerifiedDossier> {
    let mut dossiers = Vec::new();
    for (plan, holders) in survey.holders_by_plan(peers.me()).into_iter().take(MAX_PLANS) {
        for holder in in_order(peers, holders).iter().take(MAX_TELLERS) {
            match peers.take_dossier(holder, tessera).await {
                Ok(dossier) if dossier.plan_hash() == plan => {
                    dossiers.push(dossier);
                    break;
                }
                Ok(_) => tracing::warn!(holder = %holder.id, %tessera, "attests another plan"),
                Err(error) => tracing::info!(holder = %holder.id, %tessera, %error, "no dossier"),
            }
        }
    }
    dossiers
}
