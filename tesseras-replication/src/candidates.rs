//! Which nodes would take pieces of a tessera: those near its key are asked.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures_util::stream;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::Candidate;
use tesseras_wire::{BoxFuture, BoxStream};

use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::messages::{Attestation, Offered};
use crate::peers::{Peers, ask_all};
use crate::policy::offers::{Eligible, OfferTerms, Offers};
use crate::policy::patience::{Manner, Patience};
use crate::policy::survey::{LiveHolder, Survey};
use crate::ports::Directory;

/// The answers to offers of nodes near the key, with the addresses at which they were reached.
pub(crate) struct Prospects(Vec<(Contact, Option<(SocketAddr, Offered)>)>);

/// The collaborators of looking for candidates: other nodes, and this one as one of them.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) directory: &'a dyn Directory,
}

impl Prospects {
    /// Forgets the pieces of a publication that has not ended: nobody who looks for the tessera
    /// finds them.
    pub(crate) fn forget_drafts(&mut self) {
        for (_, offered) in self.0.iter_mut().filter_map(|(_, answer)| answer.as_mut()) {
            if offered.published == Some(false) {
                offered.pieces.clear();
            }
        }
    }
}

impl Candidates<'_> {
    /// Asks nodes near the key whether they would hold pieces of a tessera, and how many bytes.
    pub(crate) async fn ask(
        &self,
        tessera: TesseraHash,
        terms: OfferTerms,
        manner: Manner,
    ) -> Prospects {
        let found = self.directory.candidates(tessera.dht_key(), terms.wanted);
        Prospects(self.offer_to(found, tessera, terms, manner).await)
    }

    /// The nodes that may be given pieces: candidates and live holders, and this node itself if the
    /// terms say so. Holders that the survey did not know are found by their answers, and added to
    /// it.
    pub(crate) async fn eligible(
        &self,
        dossier: &VerifiedDossier,
        survey: &mut Survey,
        prospects: &Prospects,
        terms: OfferTerms,
    ) -> Eligible {
        let (tessera, plan, me) = (dossier.tessera(), dossier.plan(), self.peers.me());
        self.attest_those_who_hold(tessera, survey, prospects).await;
        let placement = survey.placement(plan);
        let asked: BTreeSet<NodeId> = prospects.0.iter().map(|(contact, _)| contact.id).collect();
        let mut others = survey.contacts();
        others.retain(|id, _| *id != me && !asked.contains(id));
        let others = Box::pin(stream::iter(others.into_values()));
        let more = self.offer_to(others, tessera, terms, Manner::Quick).await;
        // The dossier is sent with each of the first transfers to a node.
        let transfers = self.peers.max_transfers() as u64;
        let beside = dossier.encoded_bytes().saturating_mul(transfers);
        let mut offers = Offers::default();
        for (contact, answer) in prospects.0.iter().cloned().chain(more) {
            // What it holds cannot be counted, so it is given nothing.
            if let Some(ahead) = survey.refused.get(&contact.id) {
                offers.refuse(contact.id, *ahead);
                continue;
            }
            let pieces = placement.get(&contact.id).cloned().unwrap_or_default();
            offers.note(contact, answer, pieces, beside);
        }
        if terms.include_self
            && let Some(address) = self.directory.own_addresses().first()
        {
            let pieces = placement.get(&me).cloned().unwrap_or_default();
            let subnet = Subnet::of(address.ip());
            let room = self.holder.own_room().await;
            offers.note_self(Candidate { id: me, subnet, pieces, room }, terms);
        }
        offers.eligible(plan)
    }

    /// A candidate that claims to hold pieces is asked to attest them.
    async fn attest_those_who_hold(
        &self,
        tessera: TesseraHash,
        survey: &mut Survey,
        prospects: &Prospects,
    ) {
        let unknown = prospects.0.iter().filter(|(contact, answer)| {
            answer.as_ref().is_some_and(|(_, offered)| !offered.pieces.is_empty())
                && !survey.live.contains_key(&contact.id)
        });
        let unknown: Vec<Contact> = unknown.map(|(contact, _)| contact.clone()).collect();
        let peers = self.peers;
        let attest = |contact: Contact| -> BoxFuture<'_, _> {
            Box::pin(async move { peers.attest(&contact, tessera).await })
        };
        let mut patience = Patience::new(Manner::Quick, peers.answer_deadline());
        let is_silent = |_: &Contact| false;
        let unknown = Box::pin(stream::iter(unknown));
        for (contact, answer) in ask_all(unknown, &mut patience, is_silent, attest).await {
            let Some((Attestation { plan, pieces, .. }, reached)) = answer else { continue };
            survey.others_attested = true;
            if !pieces.is_empty() {
                let holder = LiveHolder::reached_at(reached, contact, plan, pieces);
                survey.live.insert(holder.contact.id, holder);
            }
        }
    }

    async fn offer_to(
        &self,
        contacts: BoxStream<'_, Contact>,
        tessera: TesseraHash,
        terms: OfferTerms,
        manner: Manner,
    ) -> Vec<(Contact, Option<(SocketAddr, Offered)>)> {
        let peers = self.peers;
        let offer = |contact: Contact| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let answer = peers.offer(&contact, tessera, terms.bytes, terms.charge).await;
                answer.inspect_err(|error| {
                    tracing::debug!(peer = %contact.id, %error, "no answer to an offer");
                })
            })
        };
        let is_silent = |contact: &Contact| peers.is_silent_at(contact);
        let mut patience = Patience::new(manner, peers.answer_deadline());
        ask_all(contacts, &mut patience, is_silent, offer).await
    }
}
