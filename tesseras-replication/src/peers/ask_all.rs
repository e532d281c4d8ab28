//! The same request to many nodes, without waiting for the slowest.

use std::collections::VecDeque;

use futures_util::future::OptionFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tesseras_core::contact::Contact;
use tesseras_wire::{BoxFuture, BoxStream};
use tokio::time::{Duration, Instant, sleep_until};

use crate::policy::patience::Patience;

/// How many times as many may be asked at once, with those that are overdue.
const WITH_OVERDUE: usize = 4;

/// Sends a request to all nodes in a stream, at most `limit` at once besides those that are overdue,
/// until all have answered or are overdue. Nodes that did not answer, or failed, are returned without an answer. Nodes that
/// were silent lately are asked, but not waited for.
pub(crate) async fn ask_all<'a, T, E>(
    contacts: BoxStream<'a, Contact>,
    limit: usize,
    patience: &mut Patience,
    is_silent: impl Fn(&Contact) -> bool,
    ask: impl Fn(Contact) -> BoxFuture<'a, Result<T, E>>,
) -> Vec<(Contact, Option<T>)> {
    // While answers arrive, more can be expected.
    let mut heard_at = Instant::now();
    let mut contacts = Some(contacts);
    let mut waiting: VecDeque<Contact> = VecDeque::new();
    let mut asked: Vec<(Contact, Instant)> = Vec::new();
    let mut answers = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut has_answer = false;
    loop {
        let place = patience.place();
        while running.len() < WITH_OVERDUE * limit
            && places_end(&asked, place).count() < limit
            && let Some(contact) = waiting.pop_front()
        {
            let since = Instant::now();
            asked.push((contact.clone(), since));
            let answer = ask(contact.clone());
            running.push(async move { (contact, since, answer.await) });
        }
        let is_waiting = !waiting.is_empty() && running.len() < WITH_OVERDUE * limit;
        let place_at = places_end(&asked, place).min().filter(|_| is_waiting);
        let overdue = patience.overdue_after();
        let awake = asked.iter().filter(|(contact, _)| !is_silent(contact));
        let last = awake.map(|(_, since)| *since).max();
        let is_open = last.is_some() || contacts.is_some();
        let patience_ends = last.max(Some(heard_at)).map(|at| at + overdue);
        let give_up_at = patience_ends.filter(|_| is_open).unwrap_or(heard_at);
        let finding: OptionFuture<_> = contacts.as_mut().map(|found| found.next()).into();
        tokio::select! {
            biased;
            Some((contact, since, answer)) = running.next(), if !running.is_empty() => {
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
            () = sleep_until(place_at.unwrap_or(heard_at)), if place_at.is_some() => {}
            () = sleep_until(give_up_at), if has_answer && waiting.is_empty() => break,
            else => break,
        }
    }
    answers.extend(asked.into_iter().map(|(contact, _)| (contact, None)));
    answers
}

/// When each that was asked stops to count against the limit, by how long it may take a place.
fn places_end(
    asked: &[(Contact, Instant)],
    place: Duration,
) -> impl Iterator<Item = Instant> + use<'_> {
    let now = Instant::now();
    asked.iter().map(move |(_, since)| *since + place).filter(move |end| *end > now)
}
