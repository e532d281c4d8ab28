//! Announcing what this node holds: one signed record per key, at the k nodes nearest to it, many
//! records in one message (the STORE of Kademlia, batched by target).

use std::collections::BTreeMap;

use tesseras_core::contact::Contact;
use tesseras_core::ids::DhtKey;

use super::events::{CommandOutcome, Effect, OperationId};
use super::state::{Announcement, Engine, Purpose, Turn, Want};
use crate::config::RECORDS_PER_ANNOUNCE;
use crate::lookup::Lookup;
use crate::messages::{AnnounceReply, DhtRequest};
use crate::records::HolderRecord;

/// Keys whose targets are looked up before their records are sent; bounds memory and the time spent
/// signing in one turn.
const KEYS_PER_CHUNK: usize = 256;
/// Concurrent lookups of one announcement.
const LOOKUPS_AT_ONCE: usize = 8;
/// Messages in flight for one announcement.
const MESSAGES_AT_ONCE: usize = 16;

impl Engine {
    pub(super) fn start_announcement(
        &mut self,
        turn: &mut Turn<'_>,
        operation: OperationId,
        keys: Vec<DhtKey>,
    ) {
        let stored: BTreeMap<_, _> = keys.into_iter().map(|key| (key, 0)).collect();
        // Sorted, so that neighbouring keys share their targets and thus their messages.
        let waiting = stored.keys().copied().collect();
        self.announcements
            .insert(operation, Announcement { waiting, stored, ..Announcement::default() });
        self.advance_announcement(turn, operation);
    }

    /// The nodes nearest to a key are known.
    pub(super) fn on_targets(&mut self, turn: &mut Turn<'_>, op: OperationId, lookup: &Lookup) {
        let targets = lookup.closest();
        if let Some(announcement) = self.announcements.get_mut(&op) {
            announcement.looking = announcement.looking.saturating_sub(1);
            if !targets.is_empty() && targets.len() < self.config.k {
                announcement.everyone = Some(targets.clone());
            }
        }
        self.assign(turn, op, lookup.target(), targets);
        self.advance_announcement(turn, op);
    }

    /// A message was answered or has failed.
    pub(super) fn on_announced(
        &mut self,
        turn: &mut Turn<'_>,
        operation: OperationId,
        keys: &[DhtKey],
        answer: Option<&AnnounceReply>,
    ) {
        let Some(announcement) = self.announcements.get_mut(&operation) else { return };
        announcement.sending = announcement.sending.saturating_sub(1);
        if let Some(answer) = answer {
            for (position, key) in (0_u32..).zip(keys) {
                if !answer.refused.contains(&position) {
                    *announcement.stored.entry(*key).or_default() += 1;
                }
            }
        }
        self.advance_announcement(turn, operation);
    }

    fn assign(
        &mut self,
        turn: &mut Turn<'_>,
        operation: OperationId,
        key: DhtKey,
        mut targets: Vec<Contact>,
    ) {
        let share = self.config.records_per_announcer();
        if targets.is_empty() && self.records.announced_by(&self.id) >= share {
            // With no other node to send to and no room here, a signature would be wasted.
            return;
        }
        let record =
            HolderRecord::sign(&*self.identity, key, &self.reach.addresses(turn.now), turn.wall);
        if record.addresses.is_empty() {
            // A record without an address is of no use to other nodes.
            return;
        }
        let own = self.id.distance(&key);
        targets.sort_unstable_by_key(|contact| contact.id.distance(&key));
        let nearer = targets.iter().filter(|contact| contact.id.distance(&key) < own).count();
        if nearer < self.config.k {
            targets.truncate(self.config.k - 1);
            let local = std::net::Ipv4Addr::LOCALHOST.into();
            // A full store does not end the announcement: other nodes may have room.
            let _ = self.records.insert(record.clone(), self.id, local, turn.wall);
        }
        let Some(announcement) = self.announcements.get_mut(&operation) else { return };
        announcement.records.insert(key, record);
        for contact in targets {
            let batch = announcement.batches.entry(contact.id);
            batch.or_insert_with(|| (contact, Vec::new())).1.push(key);
        }
    }

    fn advance_announcement(&mut self, turn: &mut Turn<'_>, operation: OperationId) {
        loop {
            let Some(announcement) = self.announcements.get_mut(&operation) else { return };
            let chunk_is_open = announcement.in_chunk < KEYS_PER_CHUNK;
            if chunk_is_open
                && announcement.looking < LOOKUPS_AT_ONCE
                && let Some(key) = announcement.waiting.pop_front()
            {
                announcement.in_chunk += 1;
                if let Some(everyone) = announcement.everyone.clone() {
                    self.assign(turn, operation, key, everyone);
                } else if self.table.is_empty() {
                    self.assign(turn, operation, key, Vec::new());
                } else {
                    announcement.looking += 1;
                    self.search(turn, key, Want::Targets(operation));
                }
                continue;
            }
            if announcement.looking > 0 {
                return;
            }
            for (contact, keys) in std::mem::take(&mut announcement.batches).into_values() {
                for keys in keys.chunks(RECORDS_PER_ANNOUNCE) {
                    announcement.ready.push_back((contact.clone(), keys.to_vec()));
                }
            }
            if announcement.sending < MESSAGES_AT_ONCE
                && let Some((contact, keys)) = announcement.ready.pop_front()
            {
                announcement.sending += 1;
                let records = keys.iter().filter_map(|key| announcement.records.get(key));
                let request = DhtRequest::Announce { records: records.cloned().collect() };
                let purpose = Purpose::Announce { operation, keys };
                self.send(turn, &contact, request, self.config.request_deadline, purpose);
                continue;
            }
            if announcement.sending > 0 {
                return;
            }
            announcement.records.clear();
            announcement.in_chunk = 0;
            if announcement.waiting.is_empty() {
                break;
            }
        }
        if let Some(announcement) = self.announcements.remove(&operation) {
            let outcome = CommandOutcome::Announced(announcement.stored);
            turn.effects.push(Effect::Finished { operation, outcome });
        }
    }
}
