//! What nodes say to each other about who is where (the RPCs of Kademlia, section 2.3, and a
//! greeting that proves reachability).
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

/// What is asked of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Are you there?
    Ping {},
    /// Whom do you know near this point?
    FindNode {
        /// The point; a NodeId is one too.
        target: DhtKey,
    },
    /// Who holds this tessera, as far as you know, and who is nearer to its key?
    FindHolders {
        /// The tessera's key.
        key: DhtKey,
        /// Which page of the records, from 0.
        page: u32,
    },
    /// Keep these records.
    Announce {
        /// At most [`RECORDS_PER_ANNOUNCE`](crate::config::RECORDS_PER_ANNOUNCE); more are refused.
        records: Vec<HolderRecord>,
    },
    /// Here I am; dial me back and tell me what you saw.
    Hello {
        /// Where the asker listens, as far as it knows; at most four are tried.
        addresses: Vec<SocketAddr>,
    },
}

/// The answer to [`Request::Ping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// What the answerer's clock says; peers of version 0.1.0 do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

/// The answer to [`Request::FindNode`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contacts {
    /// At most 20 contacts, nearest first, whose addresses the answerer has dialled.
    pub contacts: Vec<Contact>,
}

/// The answer to [`Request::FindHolders`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// One page of records, in order of the holders' ids.
    pub records: Vec<HolderRecord>,
    /// Whether there is another page.
    pub more: bool,
    /// As in [`Contacts`].
    pub contacts: Vec<Contact>,
}

/// The answer to [`Request::Announce`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// How many records are kept now.
    pub stored: u32,
    /// The positions, from 0, of those that are not.
    pub refused: Vec<u32>,
}

/// The answer to [`Request::Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeted {
    /// Where the asker's packets come from.
    pub observed: SocketAddr,
    /// Which of the asker's addresses were dialled back with success.
    pub reached: Vec<SocketAddr>,
    /// Where the answerer listens, as far as it knows.
    pub addresses: Vec<SocketAddr>,
    /// As in [`Pong`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

/// Any answer but a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To a ping.
    Pong(Pong),
    /// To a search for nodes.
    Contacts(Contacts),
    /// To a search for holders.
    Holders(Holders),
    /// To an announcement.
    Announced(Announced),
    /// To a greeting.
    Greeted(Greeted),
}

/// The kind of a request without its fields, by which its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Request::Ping`]
    Ping,
    /// [`Request::FindNode`]
    FindNode,
    /// [`Request::FindHolders`]
    FindHolders,
    /// [`Request::Announce`]
    Announce,
    /// [`Request::Hello`]
    Hello,
}

impl Request {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ping {} => Kind::Ping,
            Self::FindNode { .. } => Kind::FindNode,
            Self::FindHolders { .. } => Kind::FindHolders,
            Self::Announce { .. } => Kind::Announce,
            Self::Hello { .. } => Kind::Hello,
        }
    }
}

impl Response {
    /// What the answerer's clock says, if it says so.
    pub fn date(&self) -> Option<Timestamp> {
        match self {
            Self::Pong(Pong { date }) | Self::Greeted(Greeted { date, .. }) => *date,
            Self::Contacts(_) | Self::Holders(_) | Self::Announced(_) => None,
        }
    }

    /// The frame of this answer.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Pong(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Contacts(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Holders(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Announced(fields) => codec::encode(&Answer::Ok(fields)),
            Self::Greeted(fields) => codec::encode(&Answer::Ok(fields)),
        }
    }

    /// Reads the answer to a request of this kind.
    pub fn decode(kind: Kind, frame: &[u8]) -> Result<Result<Self, Refusal>, CodecError> {
        fn read<T: DeserializeOwned>(
            frame: &[u8],
            wrap: fn(T) -> Response,
        ) -> Result<Result<Response, Refusal>, CodecError> {
            Ok(match codec::decode::<Answer<T>>(frame)? {
                Answer::Ok(fields) => Ok(wrap(fields)),
                Answer::Error(refusal) => Err(refusal),
            })
        }
        match kind {
            Kind::Ping => read(frame, Self::Pong),
            Kind::FindNode => read(frame, Self::Contacts),
            Kind::FindHolders => read(frame, Self::Holders),
            Kind::Announce => read(frame, Self::Announced),
            Kind::Hello => read(frame, Self::Greeted),
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
            Response::Holders(holders).encode().expect("fits").len()
        };
        assert!(size(2, 0) - size(1, 0) <= RECORD_WIRE_BYTES);
        assert!(size(0, 2) - size(0, 1) <= CONTACT_WIRE_BYTES);
        size(RECORDS_PER_PAGE, MAX_CONTACTS);
    }

    #[test]
    fn a_request_is_a_map_of_its_kind() {
        let requests = [
            Request::Ping {},
            Request::FindNode { target: DhtKey::new([1; 20]) },
            Request::FindHolders { key: DhtKey::new([2; 20]), page: 1 },
            Request::Announce { records: vec![widest_record()] },
            Request::Hello { addresses: vec![widest_address()] },
        ];
        for (request, kind) in requests.into_iter().zip(KINDS) {
            let frame = codec::encode(&request).expect("fits");
            assert_eq!(codec::kind(&frame).as_deref(), Some(kind));
            assert_eq!(codec::decode::<Request>(&frame).expect("reads"), request);
        }
    }
}
