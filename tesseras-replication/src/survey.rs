//! Who holds what of a tessera, asked now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tesseras_core::contact::{Contact, MAX_ADDRESSES};
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::placement::Placement;
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Fragment, PlacedPiece, StoreError};

use crate::ask::at_most;
use crate::context::Replication;
use crate::messages::{Attestation, AttestedPiece};

/// How many holders are asked at once.
const ASK_AT_ONCE: usize = 32;
/// The most holders that are asked about one tessera; the code never needs as many.
const MAX_ASKED: usize = 512;

/// A node that attested to hold something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveHolder {
    /// Where it is.
    pub contact: Contact,
    /// BLAKE3 of the plan that it keeps.
    pub plan: Option<ContentHash>,
    /// What it holds, by its own word.
    pub pieces: Vec<AttestedPiece>,
}

/// What asking all known holders gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Those who attested, this node among them if it holds a piece.
    pub live: BTreeMap<NodeId, LiveHolder>,
    /// Those who were expected to hold something, and did not answer.
    pub silent: Vec<Contact>,
    /// Whether the attestation of any other node was valid, perhaps that it holds nothing. So this
    /// node's clock is not far from that node's.
    pub others_attested: bool,
    /// Whether anyone at all was known to hold it.
    pub known: bool,
    /// How many nodes, perhaps this one too, announce something under the key and hold nothing of
    /// exactly this tessera.
    /// 0 where holders of this very tessera are known from before.
    pub of_another: usize,
}

impl Survey {
    /// The placement as attested. A piece counts only under the checksum of the plan.
    pub fn placement(&self, plan: &Plan) -> Placement {
        let mut placement = Placement::new();
        for (id, holder) in &self.live {
            let pieces: BTreeSet<_> = holder
                .pieces
                .iter()
                .filter(|p| plan.checksum(p.piece) == Some(p.checksum))
                .map(|p| p.piece)
                .collect();
            if !pieces.is_empty() {
                placement.insert(*id, pieces);
            }
        }
        placement
    }

    /// Where the live holders are, other than one of them.
    pub fn contacts_but(&self, but: NodeId) -> Vec<Contact> {
        let others = self.live.iter().filter(|(id, _)| **id != but);
        others.map(|(_, holder)| holder.contact.clone()).collect()
    }
}

impl Replication {
    /// Finds everyone who may hold a piece and asks them all to attest.
    pub async fn survey(&self, tessera: TesseraHash) -> Result<Survey, StoreError> {
        let id = self.id();
        let (remembered, placed, plan) = self
            .blocking(move |stores| {
                Ok::<_, StoreError>((
                    stores.holdings.known_holders(&tessera)?,
                    stores.holdings.placements(&tessera)?,
                    stores.holdings.plan(&tessera)?,
                ))
            })
            .await?;
        let held = self.held_pieces(tessera).await?;
        let mut known: BTreeMap<NodeId, Contact> = BTreeMap::new();
        for contact in remembered {
            known.entry(contact.id).or_insert(contact);
        }
        for piece in &placed {
            known
                .entry(piece.holder)
                .or_insert(Contact { id: piece.holder, addresses: Vec::new() });
        }
        known.remove(&id);
        let is_new = known.is_empty() && plan.is_none();
        let is_held = !held.is_empty();
        let mut survey = Survey { known: !known.is_empty() || is_held, ..Survey::default() };
        if is_held {
            survey.live.insert(id, self.own_holding(held, plan));
        }

        // Those who are remembered are asked while the network is asked for more.
        let ask_known = self.ask_holders(known.clone(), tessera);
        let find = self.parts.directory.find_holders(tessera.dht_key());
        let (mut answers, found) = tokio::join!(ask_known, find);
        survey.known |= !found.is_empty();
        let announced_here = found.iter().any(|contact| contact.id == id);
        let mut fresh: BTreeMap<NodeId, Contact> =
            found.into_iter().map(|contact| (contact.id, contact)).collect();
        fresh.retain(|holder, _| *holder != id && !answers.contains_key(holder));
        known.retain(|holder, _| !answers.contains_key(holder) && !fresh.contains_key(holder));
        answers.extend(self.ask_holders(fresh.clone(), tessera).await);
        // Nobody announces those who are left: perhaps they moved, or were only slow.
        let moved = known.keys().map(|holder| self.parts.directory.resolve(*holder));
        let moved = at_most(ASK_AT_ONCE, moved).await.into_iter().flatten();
        let moved: BTreeMap<_, _> = moved.map(|contact| (contact.id, contact)).collect();
        answers.extend(self.ask_holders(moved, tessera).await);

        survey.silent.extend(
            known
                .into_iter()
                .chain(fresh)
                // One without an address was not seen for so long that it is expected no more.
                .filter(|(holder, contact)| {
                    !answers.contains_key(holder) && !contact.addresses.is_empty()
                })
                .map(|(_, contact)| contact),
        );
        // A key is the beginning of a hash, so it may be that of another.
        if is_new && !is_held {
            let without = answers.values().filter(|h| h.pieces.is_empty()).count();
            survey.of_another = without + usize::from(announced_here);
            survey.known = without < answers.len() || !survey.silent.is_empty();
        }
        survey.others_attested = !answers.is_empty();
        // What a holder says itself that it has no more is no longer counted in the ledger.
        let lacks = |p: &PlacedPiece| {
            let holder = answers.get(&p.holder);
            holder.is_some_and(|h| h.pieces.iter().all(|held| held.piece != p.piece))
        };
        let gone: Vec<PlacedPiece> = placed.into_iter().filter(lacks).collect();
        // Some answer that they have nothing (any more).
        survey.live.extend(answers.into_iter().filter(|(_, holder)| !holder.pieces.is_empty()));
        let seen = survey.contacts_but(id);
        let now = self.now();
        self.blocking(move |stores| {
            gone.iter().try_for_each(|p| stores.holdings.forget_placement(&tessera, p))?;
            stores.holdings.remember_holders(&tessera, &seen, now)
        })
        .await?;
        Ok(survey)
    }

    /// Asks nodes what they hold; those who do not answer are left out.
    async fn ask_holders(
        &self,
        holders: BTreeMap<NodeId, Contact>,
        tessera: TesseraHash,
    ) -> BTreeMap<NodeId, LiveHolder> {
        let questions = holders.into_values().take(MAX_ASKED).map(|contact| async move {
            match self.attest(&contact, tessera).await {
                Ok((Attestation { plan, pieces, .. }, reached)) => {
                    let contact = reached_first(contact, reached);
                    Some((contact.id, LiveHolder { contact, plan, pieces }))
                }
                Err(error) => {
                    tracing::debug!(holder = %contact.id, %tessera, %error, "no attestation");
                    None
                }
            }
        });
        at_most(ASK_AT_ONCE, questions).await.into_iter().flatten().collect()
    }

    fn own_holding(&self, held: Vec<Fragment>, plan: Option<Vec<u8>>) -> LiveHolder {
        LiveHolder {
            contact: Contact { id: self.id(), addresses: self.parts.directory.own_addresses() },
            plan: plan.map(|bytes| tesseras_crypto::blake3(&bytes)),
            pieces: held
                .into_iter()
                .map(|f| AttestedPiece { piece: f.piece, checksum: f.checksum })
                .collect(),
        }
    }
}

/// The contact with the address first at which it was reached just now: the others are its own
/// word.
fn reached_first(mut contact: Contact, reached: SocketAddr) -> Contact {
    contact.addresses.retain(|address| *address != reached);
    contact.addresses.insert(0, reached);
    contact.addresses.truncate(MAX_ADDRESSES);
    contact
}
