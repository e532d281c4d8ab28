//! The messages of the DHT (the RPCs of Kademlia, section 2.3, and a greeting that proves
//! reachability).
//!
//! A request is `{kind: {fields}}`, an answer `{"ok": {fields}}` or `{"error": {…}}`; see
//! [`tesseras_wire::codec`].

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tesseras_core::contact::Contact;
use tesseras_core::ids::DhtKey;
use tesseras_core::time::Timestamp;
use tesseras_wire::codec::{self, Answer, CodecError, Refusal};

use crate::records::HolderRecord;

/// The kinds of request that are answered by [`Dht::serve`](crate::Dht::serve).
pub const KINDS: [&str; 5] = ["ping", "find_node", "find_holders", "announce", "hello"];

/// A request to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DhtRequest {
    /// Check that the peer is alive.
    Ping {},
    /// Ask for the contacts nearest to a point.
    FindNode {
        /// The point; a NodeId is one too.
        target: DhtKey,
    },
    /// Ask for the holder records of a tessera and for contacts nearer to its key.
    FindHolders {
        /// The tessera's key.
        key: DhtKey,
        /// The page of the records, from 0.
        page: u32,
    },
    /// Ask the peer to keep these records.
    Announce {
        /// At most [`RECORDS_PER_ANNOUNCE`](crate::config::RECORDS_PER_ANNOUNCE); more are refused.
        records: Vec<HolderRecord>,
    },
    /// Greeting: asks the peer to dial back and report the result.
    Hello {
        /// Addresses at which the sender listens, as far as it knows; at most four are tried.
        addresses: Vec<SocketAddr>,
    },
}

/// The answer to [`DhtRequest::Ping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The answering node's wall clock; peers of version 0.1.0 do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

/// The answer to [`DhtRequest::FindNode`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contacts {
    /// At most 20 contacts, nearest first, whose addresses the answering node has dialled.
    pub contacts: Vec<Contact>,
}

/// The answer to [`DhtRequest::FindHolders`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// One page of records, in order of the holders' ids.
    pub records: Vec<HolderRecord>,
    /// Whether there is another page.
    pub more: bool,
    /// As in [`Contacts`].
    pub contacts: Vec<Contact>,
}

/// The answer to [`DhtRequest::Announce`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceReply {
    /// How many of the records are now kept.
    pub stored: u32,
    /// The positions, from 0, of the records that are not kept.
    pub refused: Vec<u32>,
}

/// The answer to [`DhtRequest::Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeted {
    /// The source address of the sender's packets.
    pub observed: SocketAddr,
    /// The sender's addresses that were dialled back with success.
    pub reached: Vec<SocketAddr>,
    /// Addresses at which the answering node listens, as far as it knows.
    pub addresses: Vec<SocketAddr>,
    /// As in [`Pong`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

/// Any successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhtResponse {
    /// To a ping.
    Pong(Pong),
    /// To a search for nodes.
    Contacts(Contacts),
    /// To a search for holders.
    Holders(Holders),
    /// To an announcement.
    Announced(AnnounceReply),
    /// To a greeting.
    Greeted(Greeted),
}

/// The kind of a request without its fields; selects how to decode the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// [`DhtRequest::Ping`]
    Ping,
    /// [`DhtRequest::FindNode`]
    FindNode,
    /// [`DhtRequest::FindHolders`]
    FindHolders,
    /// [`DhtRequest::Announce`]
    Announce,
    /// [`DhtRequest::Hello`]
    Hello,
}

impl DhtRequest {
    /// The kind of this request.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Ping {} => RequestKind::Ping,
            Self::FindNode { .. } => RequestKind::FindNode,
            Self::FindHolders { .. } => RequestKind::FindHolders,
            Self::Announce { .. } => RequestKind::Announce,
            Self::Hello { .. } => RequestKind::Hello,
        }
    }
}

impl DhtResponse {
    /// The answering node's wall clock, if the answer carries it.
    pub fn date(&self) -> Option<Timestamp> {
        match self {
            Self::Pong(Pong { date }) | Self::Greeted(Greeted { date, .. }) => *date,
            Self::Contacts(_) | Self::Holders(_) | Self::Announced(_) => None,
        }
    }

    /// Encodes this answer as a frame.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Pong(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Contacts(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Holders(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Announced(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Greeted(fields) => codec::encode(&Answer::Ok(fields)),
        }
    }

    /// Decodes the answer to a request of this kind.
    pub fn decode(kind: RequestKind, frame: &[u8]) -> Result<Result<Self, Refusal>, CodecError> {
        fn read<T: DeserializeOwned>(
            frame: &[u8],
            wrap: fn(T) -> DhtResponse,
        ) -> Result<Result<DhtResponse, Refusal>, CodecError> {
            Ok(codec::decode_answer(frame)?.map(wrap))
        }
        match kind {
            RequestKind::Ping => read(frame, Self::Pong),
            RequestKind::FindNode => read(frame, Self::Contacts),
            RequestKind::FindHolders => read(frame, Self::Holders),
            RequestKind::Announce => read(frame, Self::Announced),
            RequestKind::Hello => read(frame, Self::Greeted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CONTACT_WIRE_BYTES, MAX_CONTACTS, RECORD_WIRE_BYTES, RECORDS_PER_PAGE};
    use tesseras_core::ids::NodeId;

    fn widest_address() -> SocketAddr {
        SocketAddr::new([0xffff_u16; 8].into(), u16::MAX)
    }

    fn widest_record() -> HolderRecord {
        HolderRecord {
            key: DhtKey::new([0xff; 20]),
            public_key: [0xff; 32],
            nonce: [0xff; 8],
            addresses: vec![widest_address(); 4],
            date: Timestamp(u64::MAX),
            signature: [0xff; 64],
        }
    }

    #[test]
    fn the_widest_page_is_as_wide_as_the_constants_say() {
        let contact = Contact { id: NodeId::new([0xff; 20]), addresses: vec![widest_address(); 4] };
        let size = |n: usize, m: usize| {
            let holders = Holders {
                records: vec![widest_record(); n],
                more: true,
                contacts: vec![contact.clone(); m],
            };
            DhtResponse::Holders(holders).encode().expect("fits").len()
        };
        assert!(size(2, 0) - size(1, 0) <= RECORD_WIRE_BYTES);
        assert!(size(0, 2) - size(0, 1) <= CONTACT_WIRE_BYTES);
        size(RECORDS_PER_PAGE, MAX_CONTACTS);
    }

    #[test]
    fn a_request_is_a_map_of_its_kind() {
        let requests = [
            DhtRequest::Ping {},
            DhtRequest::FindNode { target: DhtKey::new([1; 20]) },
            DhtRequest::FindHolders { key: DhtKey::new([2; 20]), page: 1 },
            DhtRequest::Announce { records: vec![widest_record()] },
            DhtRequest::Hello { addresses: vec![widest_address()] },
        ];
        for (request, kind) in requests.into_iter().zip(KINDS) {
            let frame = codec::encode(&request).expect("fits");
            assert_eq!(codec::kind(&frame).as_deref(), Some(kind));
            assert_eq!(codec::decode::<DhtRequest>(&frame).expect("reads"), request);
        }
    }
}
