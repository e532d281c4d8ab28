//! The recorded holders of tesserae: those that were seen, and hints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{
    HintBy, KnownHolder, MAX_HINTS, MAX_HINTS_OF_STRANGERS, MAX_KNOWN_HOLDERS,
};
use tesseras_core::time::{CLOCK_TOLERANCE, Timestamp};

use crate::columns::{contact, count, from_addresses, to_integer};

/// A holder that was not seen for this long is expected no more.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Value of the column `hint` of a holder that was seen.
const SEEN: u8 = 0;

/// Value of the column `hint`; lower ones are kept first.
fn column(by: HintBy) -> u8 {
    match by {
        HintBy::Placer => 1,
        HintBy::Stranger => 2,
    }
}

/// Records holders that were seen.
pub(crate) fn remember(
    tx: &Transaction<'_>,
    tessera: &TesseraHash,
    holders: &[Contact],
    now: Timestamp,
) -> rusqlite::Result<()> {
    // A clock that no holder agrees with dates nothing and expires nothing.
    if holders.is_empty() {
        return Ok(());
    }
    tx.prepare_cached(
        "UPDATE holders SET hint = MAX(hint, ?3), seen = ?2 WHERE tessera = ?1 AND seen > ?4",
    )?
    .execute(params![
        tessera.as_bytes(),
        to_integer(now.0),
        column(HintBy::Placer),
        to_integer(now.plus(CLOCK_TOLERANCE).0),
    ])?;
    write(tx, tessera, holders, SEEN, now)?;
    let oldest = to_integer(now.0.saturating_sub(LIFETIME.as_secs()));
    tx.prepare_cached("DELETE FROM holders WHERE tessera = ?1 AND seen < ?2")?
        .execute(params![tessera.as_bytes(), oldest])?;
    trim(tx, tessera)
}

/// Records hints.
pub(crate) fn hint(
    tx: &Transaction<'_>,
    tessera: &TesseraHash,
    hints: &[Contact],
    by: HintBy,
    now: Timestamp,
) -> rusqlite::Result<()> {
    match by {
        HintBy::Placer => write(tx, tessera, hints, column(by), now)?,
        HintBy::Stranger => {
            let known = known(tx, tessera)?;
            let is_new = |hint: &&Contact| known.iter().all(|known| known.contact.id != hint.id);
            let new: Vec<Contact> = hints.iter().filter(is_new).cloned().collect();
            let room = new.len().min(room_for_strangers(tx, tessera)?);
            write(tx, tessera, &new[..room], column(by), now)?;
        }
    }
    trim(tx, tessera)
}

/// How many hints of strangers displace nothing.
fn room_for_strangers(tx: &Transaction<'_>, tessera: &TesseraHash) -> rusqlite::Result<usize> {
    let counts =
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE hint > 0), COUNT(*) FILTER (WHERE hint = ?2)
                  FROM holders WHERE tessera = ?1";
    let stranger = column(HintBy::Stranger);
    let [all, hints, of_strangers] =
        tx.prepare_cached(counts)?.query_row(params![tessera.as_bytes(), stranger], |row| {
            Ok([count(row, 0)?, count(row, 1)?, count(row, 2)?])
        })?;
    let left = |limit: usize, used: u64| (limit as u64).saturating_sub(used) as usize;
    Ok(left(MAX_KNOWN_HOLDERS, all)
        .min(left(MAX_HINTS, hints))
        .min(left(MAX_HINTS_OF_STRANGERS, of_strangers)))
}

/// Adds holders; replaces what is known less well, and of those that were seen what is older.
fn write(
    tx: &Transaction<'_>,
    tessera: &TesseraHash,
    holders: &[Contact],
    hint: u8,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut write = tx.prepare_cached(
        "INSERT INTO holders (tessera, node, addresses, seen, hint) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tessera, node) DO UPDATE
         SET addresses = excluded.addresses, seen = excluded.seen, hint = excluded.hint
         WHERE excluded.hint < hint OR (excluded.hint = 0 AND excluded.seen >= seen)",
    )?;
    for holder in holders {
        write.execute(params![
            tessera.as_bytes(),
            holder.id.as_bytes(),
            from_addresses(&holder.addresses),
            to_integer(now.0),
            hint,
        ])?;
    }
    Ok(())
}

/// Drops what exceeds the limits.
fn trim(tx: &Transaction<'_>, tessera: &TesseraHash) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM holders WHERE tessera = ?1 AND node IN (
             SELECT node FROM holders WHERE tessera = ?1 AND hint > 0
             ORDER BY hint, seen DESC, node LIMIT -1 OFFSET ?2)",
    )?
    .execute(params![tessera.as_bytes(), to_integer(MAX_HINTS as u64)])?;
    let mut drop = tx.prepare_cached("DELETE FROM holders WHERE tessera = ?1 AND node = ?2")?;
    for node in too_many(known(tx, tessera)?) {
        drop.execute(params![tessera.as_bytes(), node.as_bytes()])?;
    }
    Ok(())
}

/// Those that exceed the limit of holders: hints before holders that were seen, and of these the
/// ones that have the most others in their neighbourhood. Names cost nothing, and many of one
/// machine may attest at once.
fn too_many(known: Vec<KnownHolder>) -> Vec<NodeId> {
    if known.len() <= MAX_KNOWN_HOLDERS {
        return Vec::new();
    }
    let mut near: BTreeMap<Subnet, usize> = BTreeMap::new();
    let mut ranked: Vec<(bool, usize, NodeId)> = Vec::new();
    for KnownHolder { contact, seen } in known {
        let ip = contact.addresses.first().map(SocketAddr::ip);
        let before = match ip.and_then(|ip| Subnet::of(ip).limited()) {
            None => 0,
            Some(subnet) => {
                let others = near.entry(subnet).or_default();
                *others += 1;
                *others - 1
            }
        };
        ranked.push((seen.is_none(), before, contact.id));
    }
    ranked.sort_by_key(|(is_hint, before, _)| (*is_hint, *before));
    ranked.into_iter().skip(MAX_KNOWN_HOLDERS).map(|(_, _, node)| node).collect()
}

/// The recorded holders, those that were seen first.
pub(crate) fn known(
    connection: &Connection,
    tessera: &TesseraHash,
) -> rusqlite::Result<Vec<KnownHolder>> {
    connection
        .prepare_cached(
            "SELECT node, addresses, seen, hint FROM holders
             WHERE tessera = ?1 ORDER BY hint, seen DESC, node",
        )?
        .query_map([tessera.as_bytes()], |row| {
            let date = Timestamp(count(row, 2)?);
            let hint: u8 = row.get(3)?;
            Ok(KnownHolder { contact: contact(row, 0)?, seen: (hint == SEEN).then_some(date) })
        })?
        .collect()
}
