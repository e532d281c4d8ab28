//! Conversions between the core's types and database columns. Invalid values are errors, not
//! panics.

use std::net::SocketAddr;

use rusqlite::Row;
use rusqlite::types::Type;
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, MAX_ADDRESSES};
use tesseras_core::ids::{ContentHash, CreatorId, NodeId, TesseraHash};
use tesseras_core::ports::Origin;

macro_rules! id_columns {
    ($($name:ident => $type:ty),* $(,)?) => {
        $(pub(crate) fn $name(row: &Row<'_>, index: usize) -> rusqlite::Result<$type> {
            Ok(<$type>::new(row.get(index)?))
        })*
    };
}

id_columns! {
    content_hash => ContentHash,
    tessera_hash => TesseraHash,
    creator_id => CreatorId,
    node_id => NodeId,
}

/// A count as an SQLite integer. Values above 2^63 cannot be real lengths or dates, and are stored
/// as the largest integer.
pub(crate) fn to_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count as it was kept.
pub(crate) fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(index)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, value))
}

const CREATED: i64 = 0;
const FETCHED: i64 = 1;

/// How a capsule came here, as SQLite keeps it.
pub(crate) fn from_origin(origin: Origin) -> i64 {
    match origin {
        Origin::Created => CREATED,
        Origin::Fetched => FETCHED,
    }
}

/// How a capsule came here, as it was kept.
pub(crate) fn origin(row: &Row<'_>, index: usize) -> rusqlite::Result<Origin> {
    match row.get(index)? {
        CREATED => Ok(Origin::Created),
        FETCHED => Ok(Origin::Fetched),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(index, other)),
    }
}

/// A piece as SQLite keeps it, so that rows sort like pieces.
pub(crate) fn from_piece(piece: Piece) -> i64 {
    match piece {
        Piece::Whole => -1,
        Piece::Index(index) => i64::from(index),
    }
}

/// A piece as it was kept.
pub(crate) fn piece(row: &Row<'_>, index: usize) -> rusqlite::Result<Piece> {
    match row.get::<_, i64>(index)? {
        -1 => Ok(Piece::Whole),
        value => match u8::try_from(value) {
            Ok(byte) if byte < u8::MAX => Ok(Piece::Index(byte)),
            _ => Err(rusqlite::Error::IntegralValueOutOfRange(index, value)),
        },
    }
}

/// The addresses of a contact in one column.
pub(crate) fn from_addresses(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> =
        addresses.iter().take(MAX_ADDRESSES).map(SocketAddr::to_string).collect();
    texts.join(" ")
}

/// A contact from two neighbouring columns: node and addresses.
pub(crate) fn contact(row: &Row<'_>, index: usize) -> rusqlite::Result<Contact> {
    let text = row.get_ref(index + 1)?.as_str().map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(index + 1, Type::Text, Box::new(e))
    })?;
    // An invalid address is only a lost hint.
    let addresses = text.split(' ').filter_map(|a| a.parse().ok()).take(MAX_ADDRESSES).collect();
    Ok(Contact { id: node_id(row, index)?, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_sort_as_their_columns_do() {
        let pieces = [Piece::Whole, Piece::Index(0), Piece::Index(1), Piece::Index(71)];
        for pair in pieces.windows(2) {
            assert!(pair[0] < pair[1] && from_piece(pair[0]) < from_piece(pair[1]));
        }
    }

    #[test]
    fn what_no_column_can_hold_is_the_greatest_it_can() {
        assert_eq!(to_integer(u64::MAX), i64::MAX);
        assert_eq!(to_integer(7), 7);
    }
}
