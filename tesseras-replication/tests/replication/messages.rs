//! Every message survives encoding, and arbitrary bytes do no harm.

use std::fmt::Debug;
use std::net::{Ipv6Addr, SocketAddr};

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, MAX_ADDRESSES};
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::ports::Charge;
use tesseras_core::time::Timestamp;
use tesseras_replication::dossier::VerifiedDossier;
use tesseras_replication::messages::{
    Announced, Attestation, AttestedPiece, BatchAnswer, Bulk, KINDS, MAX_HOLDERS, Offered, Request,
    Stored,
};
use tesseras_wire::codec::{self, Answer};

fn tessera() -> impl Strategy<Value = TesseraHash> {
    any::<[u8; 32]>().prop_map(TesseraHash::new)
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![Just(Piece::Whole), (0..u8::MAX).prop_map(Piece::Index)]
}

fn contact() -> impl Strategy<Value = Contact> {
    let address = prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ];
    let addresses = proptest::collection::vec(address, 0..=MAX_ADDRESSES);
    (any::<[u8; 20]>(), addresses)
        .prop_map(|(id, addresses)| Contact { id: NodeId::new(id), addresses })
}

fn request() -> impl Strategy<Value = Request> {
    let batch = proptest::collection::vec(single(), 0..4);
    prop_oneof![6 => single(), 1 => batch.prop_map(|requests| Request::Batch { requests })]
}

fn single() -> impl Strategy<Value = Request> {
    let contacts = || proptest::collection::vec(contact(), 0..6);
    prop_oneof![
        (tessera(), any::<u64>(), prop_oneof![Just(Charge::OWN), Just(Charge::REPAIR)])
            .prop_map(|(tessera, bytes, charge)| Request::Offer { tessera, bytes, charge }),
        (tessera(), piece(), any::<u64>(), any::<u64>(), contacts()).prop_map(
            |(tessera, piece, bytes, dossier_bytes, witnesses)| Request::PutPiece {
                tessera,
                piece,
                bytes,
                dossier_bytes,
                witnesses,
            }
        ),
        (tessera(), any::<[u8; 32]>())
            .prop_map(|(tessera, nonce)| Request::Attest { tessera, nonce }),
        tessera().prop_map(|tessera| Request::GetDossier { tessera }),
        (tessera(), piece(), any::<u64>()).prop_map(|(tessera, piece, offset)| Request::GetPiece {
            tessera,
            piece,
            offset
        }),
        (tessera(), contacts()).prop_map(|(tessera, holders)| Request::Roster { tessera, holders }),
    ]
}

fn attestation() -> impl Strategy<Value = Attestation> {
    let attested = (piece(), any::<[u8; 32]>()).prop_map(|(piece, checksum)| AttestedPiece {
        piece,
        checksum: ContentHash::new(checksum),
    });
    let pieces = proptest::collection::vec(attested, 0..80);
    let plan = proptest::option::of(any::<[u8; 32]>().prop_map(ContentHash::new));
    let signature = proptest::collection::vec(any::<u8>(), 0..80);
    (any::<u64>(), plan, pieces, signature).prop_map(|(date, plan, pieces, signature)| {
        Attestation { date: Timestamp(date), plan, pieces, signature }
    })
}

fn offered() -> impl Strategy<Value = Offered> {
    let pieces = proptest::collection::vec(piece(), 0..80);
    let text = || proptest::option::of(".{0,40}");
    let room = proptest::option::of(any::<u64>());
    let published = proptest::option::of(any::<bool>());
    (any::<bool>(), text(), text(), room, any::<bool>(), pieces, published).prop_map(
        |(accepts, reason, code, room, has_dossier, pieces, published)| Offered {
            accepts,
            reason,
            code,
            room,
            has_dossier,
            pieces,
            published,
        },
    )
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let frame = codec::encode(message).unwrap();
    assert_eq!(&codec::decode::<T>(&frame).unwrap(), message);
}

/// Decodes bytes as every type that a peer may send.
fn read_as_everything(bytes: &[u8]) {
    let _ = codec::kind(bytes);
    let _ = codec::decode::<Request>(bytes);
    let _ = codec::decode::<Answer<Offered>>(bytes);
    let _ = codec::decode::<Answer<Stored>>(bytes);
    let _ = codec::decode::<Answer<Attestation>>(bytes);
    let _ = codec::decode::<Answer<BatchAnswer>>(bytes);
    let _ = codec::decode::<Answer<Bulk>>(bytes);
    let _ = codec::decode::<Answer<Announced>>(bytes);
    let _ = VerifiedDossier::decode(bytes, &TesseraHash::new([0; 32]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn requests_survive_the_wire_and_say_their_kind(request in request()) {
        comes_back(&request);
        let kind = codec::kind(&codec::encode(&request).unwrap()).unwrap();
        assert!(KINDS.contains(&kind.as_str()), "{kind}");
    }

    #[test]
    fn answers_survive_the_wire(
        attestation in attestation(), offered in offered(), bytes in any::<u64>(),
    ) {
        let answers = vec![codec::encode(&Answer::Ok(&attestation)).unwrap().into()];
        comes_back(&Answer::Ok(BatchAnswer { answers }));
        comes_back(&Answer::Ok(attestation));
        comes_back(&Answer::Ok(offered));
        comes_back(&Answer::Ok(Bulk { bytes }));
        comes_back(&Answer::Ok(Stored {}));
        comes_back(&Answer::Ok(Announced { confirmed: Some(true) }));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn no_damaged_message_makes_a_reader_panic(
        request in request(), at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>(),
    ) {
        let mut frame = codec::encode(&request).unwrap();
        let at = at % frame.len();
        frame[at] = byte;
        read_as_everything(&frame);
        frame.truncate(cut % (frame.len() + 1));
        read_as_everything(&frame);
    }
}

#[test]
fn the_answer_to_a_roster_is_understood_by_older_nodes_and_theirs_here() {
    /// As it was before it had fields.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Older {}
    for confirmed in [None, Some(false), Some(true)] {
        let frame = codec::encode(&Answer::Ok(Announced { confirmed })).unwrap();
        assert_eq!(codec::decode::<Answer<Older>>(&frame).unwrap(), Answer::Ok(Older {}));
    }
    let frame = codec::encode(&Answer::Ok(Older {})).unwrap();
    let announced: Answer<Announced> = codec::decode(&frame).unwrap();
    assert_eq!(announced, Answer::Ok(Announced { confirmed: None }), "it is not said");
}

#[test]
fn the_longest_roster_fits_a_frame() {
    let address = SocketAddr::from((Ipv6Addr::from([0xff; 16]), u16::MAX));
    let holder = Contact { id: NodeId::new([0xff; 20]), addresses: vec![address; MAX_ADDRESSES] };
    let tessera = TesseraHash::new([0xff; 32]);
    comes_back(&Request::Roster { tessera, holders: vec![holder; MAX_HOLDERS] });
}

#[test]
fn an_attestation_of_everything_fits_a_frame() {
    let piece = |piece| AttestedPiece { piece, checksum: ContentHash::new([0xff; 32]) };
    let indexes = (0..u8::MAX).map(Piece::Index);
    comes_back(&Answer::Ok(Attestation {
        date: Timestamp(u64::MAX),
        plan: Some(ContentHash::new([0xff; 32])),
        pieces: indexes.chain([Piece::Whole]).map(piece).collect(),
        signature: vec![0xff; 64],
    }));
}

#[test]
fn an_offer_of_an_older_node_is_read_without_what_it_does_not_say() {
    #[derive(Serialize)]
    struct Older {
        accepts: bool,
        reason: Option<String>,
        has_dossier: bool,
        pieces: Vec<Piece>,
    }
    let older = Older { accepts: true, reason: None, has_dossier: true, pieces: vec![] };
    let read: Offered = codec::decode(&codec::encode(&older).unwrap()).unwrap();
    assert!(read.accepts && read.room.is_none() && read.code.is_none());
}
