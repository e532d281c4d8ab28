//! The same request to many nodes, without waiting for the slowest.

use std::collections::VecDeque;

use futures_util::future::OptionFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tesseras_core::contact::Contact;
use tesseras_wire::{BoxFuture, BoxStream};
use tokio::time::{Instant, sleep_until};

use crate::policy::patience::Patience;
use crate::policy::slots::Slots;

/// Sends a request to all nodes in a stream, as there are free [`Slots`], until all have answered or
/// are overdue. Nodes that did not answer, or failed, are returned without an answer. Nodes that were
/// silent lately are asked, but not waited for.
pub(crate) async fn ask_all<'a, T, E>(
    contacts: BoxStream<'a, Contact>,
    patience: &mut Patience,
    is_silent: impl Fn(&Contact) -> bool,
    ask: impl Fn(Contact) -> BoxFuture<'a, Result<T, E>>,
) -> Vec<(Contact, Option<T>)> {
    // While answers arrive, more can be expected.
    let mut heard_at = Instant::now();
    let mut contacts = Some(contacts);
    let mut waiting: VecDeque<Contact> = VecDeque::new();
    let mut asked: Vec<(Contact, Instant)> = Vec::new();
    let mut slots = Slots::default();
    let mut answers = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut has_answer = false;
    loop {
        let overdue = patience.overdue_after();
        while slots.is_free(overdue, Instant::now())
            && let Some(contact) = waiting.pop_front()
        {
            let since = Instant::now();
            slots.begin(contact.id, since);
            asked.push((contact.clone(), since));
            let answer = ask(contact.clone());
            running.push(async move { (contact, since, answer.await) });
        }
        let is_waiting = !waiting.is_empty();
        let free_at = slots.next_free_at(overdue, Instant::now()).filter(|_| is_waiting);
        let awake = asked.iter().filter(|(contact, _)| !is_silent(contact));
        let last = awake.map(|(_, since)| *since).max();
        let is_open = last.is_some() || contacts.is_some();
        let patience_ends = last.max(Some(heard_at)).map(|at| at + overdue);
        let give_up_at = patience_ends.filter(|_| is_open).unwrap_or(heard_at);
        let finding: OptionFuture<_> = contacts.as_mut().map(|found| found.next()).into();
        tokio::select! {
            biased;
            Some((contact, since, answer)) = running.next(), if !running.is_empty() => {
                slots.end(contact.id, since);
                asked.retain(|(other, _)| other.id != contact.id);
                if answer.is_ok() {
                    patience.answered_after(since.elapsed());
                    heard_at = Instant::now();
                    has_answer = true;
                }
                answers.push((contact, answer.ok()));
            }
            Some(found) = finding => match found {
                Some(contact) => waiting.push_back(contact),
                None => contacts = None,
            },
            () = sleep_until(free_at.unwrap_or(heard_at)), if free_at.is_some() => {}
            () = sleep_until(give_up_at), if has_answer && waiting.is_empty() => break,
            else => break,
        }
    }
    answers.extend(asked.into_iter().map(|(contact, _)| (contact, None)));
    answers
}
