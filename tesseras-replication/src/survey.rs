//! Who holds what of a tessera, asked now.

use std::collections::{BTreeMap, BTreeSet};

use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::placement::Placement;
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Fragment, StoreError};

use crate::ask::at_most;
use crate::context::Replication;
use crate::messages::AttestedPiece;

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
    /// Whether anyone at all was known to hold it.
    pub known: bool,
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
        let (remembered, placed, held, plan) = self
            .blocking(move |stores| {
                Ok::<_, StoreError>((
                    stores.holdings.known_holders(&tessera)?,
                    stores.holdings.placements(&tessera)?,
                    stores.fragments.list_fragments(&tessera)?,
                    stores.holdings.plan(&tessera)?,
                ))
            })
            .await?;
        // Fresh addresses from the network come before remembered ones.
        let mut hints: BTreeMap<NodeId, Contact> = BTreeMap::new();
        for contact in self.parts.directory.find_holders(tessera.dht_key()).await {
            hints.insert(contact.id, contact);
        }
        for contact in remembered {
            hints.entry(contact.id).or_insert(contact);
        }
        for piece in placed {
            hints
                .entry(piece.holder)
                .or_insert(Contact { id: piece.holder, addresses: Vec::new() });
        }
        hints.remove(&id);

        let mut survey =
            Survey { known: !hints.is_empty() || !held.is_empty(), ..Survey::default() };
        if !held.is_empty() {
            survey.live.insert(id, self.own_holding(held, plan));
        }
        let asked = hints.into_values().take(MAX_ASKED);
        let questions = asked.map(|contact| self.ask_holder(contact, tessera));
        let answers = at_most(ASK_AT_ONCE, questions).await;
        for (contact, holder) in answers {
            match holder {
                // It answered, and has nothing (any more).
                Some(holder) if holder.pieces.is_empty() => {}
                Some(holder) => {
                    survey.live.insert(contact.id, holder);
                }
                None => survey.silent.push(contact),
            }
        }
        let seen = survey.contacts_but(id);
        let now = self.now();
        self.blocking(move |stores| stores.holdings.remember_holders(&tessera, &seen, now)).await?;
        Ok(survey)
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

    /// Asks one node; where it does not answer, once more at the address it may have moved to.
    async fn ask_holder(
        &self,
        contact: Contact,
        tessera: TesseraHash,
    ) -> (Contact, Option<LiveHolder>) {
        let first = self.attest(&contact, tessera).await;
        let (contact, answer) = match first {
            Ok(answer) => (contact, Some(answer)),
            Err(error) => {
                tracing::debug!(holder = %contact.id, %tessera, %error, "no attestation");
                match self.parts.directory.resolve(contact.id).await {
                    // Somebody reached it: it moved, or was only slow.
                    Some(found) => {
                        let answer = self.attest(&found, tessera).await.ok();
                        (found, answer)
                    }
                    None => (contact, None),
                }
            }
        };
        let holder =
            answer.map(|a| LiveHolder { contact: contact.clone(), plan: a.plan, pieces: a.pieces });
        (contact, holder)
    }
}
