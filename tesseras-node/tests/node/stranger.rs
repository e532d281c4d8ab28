//! A peer that speaks the protocol by hand, and the goods that it brings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::manifest::{Manifest, listed};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{
    BlobReader, BlobStore, TesseraRecord, TesseraRepository as _, Workbench as _,
};
use tesseras_core::progress::Meter;
use tesseras_crypto::{CreatorKeys, NodeKeys, blake3};
use tesseras_net::QuinnTransport;
use tesseras_net::settings::BindConfig;
use tesseras_node::capsules::StoredCapsules;
use tesseras_node::clock;
use tesseras_replication::messages::{Announced, Bulk, Request, Stored};
use tesseras_replication::pieces::PieceSource;
use tesseras_replication::{Capsules as _, erasure};
use tesseras_storage::Store;
use tesseras_wire::codec::{self, Answer};
use tesseras_wire::{Body, Target, Transport as _, body_from_bytes, read_to_vec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::network::{WORK_BITS, create_in, open};

/// What came instead of an answer: a refusal's code, or what went wrong.
pub type NoAnswer = String;

pub struct Stranger {
    pub id: NodeId,
    transport: Arc<QuinnTransport>,
}

impl Stranger {
    /// A peer whose packets come from `address`.
    pub fn at(address: &str) -> Self {
        let keys = NodeKeys::generate(WORK_BITS).unwrap();
        let listen = format!("{address}:0").parse().unwrap();
        let bind = BindConfig { work_bits: WORK_BITS, ..BindConfig::new(listen) };
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let transport = QuinnTransport::bind(bind, &keys, &tracker, cancel).unwrap();
        Self { id: keys.id(), transport }
    }

    pub async fn ask<T: DeserializeOwned>(
        &self,
        to: &Contact,
        request: &Request,
        body: Option<Body>,
    ) -> Result<T, NoAnswer> {
        self.send(to, codec::encode(request).unwrap(), body).await.map(|(answer, _)| answer)
    }

    /// Sends any bytes as a request; returns the answer and its body.
    pub async fn send<T: DeserializeOwned>(
        &self,
        to: &Contact,
        frame: Vec<u8>,
        body: Option<Body>,
    ) -> Result<(T, Body), NoAnswer> {
        let request = tesseras_wire::Request {
            body,
            ..tesseras_wire::Request::short(frame, Duration::from_secs(20))
        };
        let reply = self.transport.request(&Target::from(to), request).await;
        let reply = reply.map_err(|error| error.to_string())?;
        match codec::decode(&reply.frame).unwrap() {
            Answer::Ok(answer) => Ok((answer, reply.body)),
            Answer::Error(refusal) => Err(refusal.code),
        }
    }

    /// Takes the bytes of a piece from an offset on.
    pub async fn get(
        &self,
        from: &Contact,
        tessera: TesseraHash,
        piece: Piece,
        offset: u64,
    ) -> Result<Vec<u8>, NoAnswer> {
        let frame = codec::encode(&Request::GetPiece { tessera, piece, offset }).unwrap();
        let (Bulk { bytes }, body) = self.send(from, frame, None).await?;
        let got = read_to_vec(body, 64 << 20).await.map_err(|error| error.to_string())?;
        assert_eq!(got.len() as u64, bytes, "as many as announced");
        Ok(got)
    }

    pub async fn put(&self, to: &Contact, parcel: Parcel) -> Result<Stored, NoAnswer> {
        let Parcel { request, head, body } = parcel;
        let body = stream::iter([Ok(head.into()), Ok(body.into())]);
        self.ask(to, &request, Some(Box::pin(body))).await
    }

    /// Brings a parcel, and breaks off in the middle of it.
    pub async fn put_half(&self, to: &Contact, parcel: Parcel) -> NoAnswer {
        let Parcel { request, head, mut body } = parcel;
        body.truncate(body.len() / 2);
        let broken = std::io::Error::other("broken off");
        let body = stream::iter([Ok(head.into()), Ok(body.into()), Err(broken)]);
        self.ask::<Stored>(to, &request, Some(Box::pin(body))).await.unwrap_err()
    }

    /// Tells a holder to announce itself.
    pub async fn tell_to_announce(&self, holder: &Contact, tessera: TesseraHash) {
        let request = Request::Roster { tessera, holders: Vec::new() };
        self.ask::<Announced>(holder, &request, Some(body_from_bytes(""))).await.unwrap();
    }
}

/// A piece on its way: what is said, and what is sent.
#[derive(Clone)]
pub struct Parcel {
    pub request: Request,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Parcel {
    /// The same, called another piece.
    pub fn called(mut self, other: Piece) -> Self {
        if let Request::PutPiece { piece, .. } = &mut self.request {
            *piece = other;
        }
        self
    }

    /// The same, said to be of another tessera.
    pub fn of(mut self, other: TesseraHash) -> Self {
        if let Request::PutPiece { tessera, .. } = &mut self.request {
            *tessera = other;
        }
        self
    }

    /// The same, with these lengths said.
    pub fn said_to_be(mut self, piece: u64, dossier: u64) -> Self {
        if let Request::PutPiece { bytes, dossier_bytes, .. } = &mut self.request {
            (*bytes, *dossier_bytes) = (piece, dossier);
        }
        self
    }

    /// The same, with these bytes as its piece.
    pub fn with_body(self, body: Vec<u8>) -> Self {
        let (piece, dossier) = (body.len() as u64, self.head.len() as u64);
        Self { body, ..self }.said_to_be(piece, dossier)
    }

    /// The same, with these bytes as its dossier; none: left out.
    pub fn with_head(self, head: Vec<u8>) -> Self {
        let (piece, dossier) = (self.body.len() as u64, head.len() as u64);
        Self { head, ..self }.said_to_be(piece, dossier)
    }

    /// The same, as a repair.
    pub fn witnessed_by(mut self, contacts: Vec<Contact>) -> Self {
        if let Request::PutPiece { witnesses, .. } = &mut self.request {
            *witnesses = contacts;
        }
        self
    }
}

/// A capsule with all that can be brought to others, made without any node.
pub struct Goods {
    pub tessera: TesseraHash,
    pub creator: CreatorKeys,
    pub dossier: Dossier,
    pub plan: Plan,
    source: PieceSource,
    _root: TempDir,
}

impl Goods {
    pub fn make(bytes: usize, seed: u8) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = open(&root.path().join("data"));
        let (tessera, creator) = create_in(&store, &root.path().join("album"), bytes, seed);
        let (plan, source) = draft(&store, tessera);
        let signatures = creator.sign(plan.render().as_bytes());
        let dossier = dossier(&store, tessera, &plan, signatures);
        Self { tessera, creator, dossier, plan, source, _root: root }
    }

    pub fn bytes(&self, piece: Piece) -> Vec<u8> {
        read(&*self.source.open(piece).unwrap())
    }

    /// What an honest owner would send.
    pub fn parcel(&self, piece: Piece) -> Parcel {
        let (head, body) = (encode(&self.dossier), self.bytes(piece));
        let request = Request::PutPiece {
            tessera: self.tessera,
            piece,
            bytes: body.len() as u64,
            dossier_bytes: head.len() as u64,
            witnesses: Vec::new(),
        };
        Parcel { request, head, body }
    }
}

/// The plan of a capsule in a store, and its pieces.
pub fn draft(store: &Store, tessera: TesseraHash) -> (Plan, PieceSource) {
    let record = store.library().get(&tessera).unwrap().unwrap();
    let (blobs, library) = (store.blobs(), store.library());
    let capsules = StoredCapsules { blobs, library, clock: clock::system() };
    let pack: Arc<dyn BlobReader> = capsules.open(&record).unwrap().pack();
    let staging: Arc<dyn BlobStore> = store.blobs();
    let encoded = erasure::encode(&pack, &staging, &Meter::silent()).unwrap();
    for staged in encoded.parity {
        store.workbench().pin(&tessera, staged.take(), clock::system().now()).unwrap();
    }
    let plan = Plan::new(tessera, pack.bytes(), encoded.pack_hash, encoded.checksums).unwrap();
    let source =
        PieceSource::new(plan.clone(), store.blobs(), store.workbench(), Some(pack)).unwrap();
    (plan, source)
}

/// A dossier from a store's capsule and a plan that may be false.
pub fn dossier(
    store: &Store,
    tessera: TesseraHash,
    plan: &Plan,
    plan_signatures: tesseras_core::signature::SignaturePair,
) -> Dossier {
    let record: TesseraRecord = store.library().get(&tessera).unwrap().unwrap();
    let blob = |hash: &ContentHash| read(&*store.blobs().open(hash).unwrap());
    let manifest = blob(&tessera.into());
    let parsed = Manifest::parse(&manifest).unwrap();
    let pem = |path| blob(&parsed.file(path).unwrap().blake3);
    Dossier {
        ed25519_pem: pem(listed::ED25519_PEM),
        ml_dsa_65_pem: pem(listed::ML_DSA_65_PEM),
        manifest_signatures: record.signatures,
        plan: plan.render().into_bytes(),
        plan_signatures,
        manifest,
    }
}

/// The same plan with another checksum for one fragment.
pub fn falsify(plan: &Plan, index: u8, bytes: &[u8]) -> Plan {
    let mut checksums = plan.checksums().to_vec();
    checksums[usize::from(index)] = blake3(bytes);
    Plan::new(plan.tessera(), plan.pack_bytes(), plan.pack_hash(), checksums).unwrap()
}

pub fn read(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A dossier as it stands on the wire, checked or not.
pub fn encode(dossier: &Dossier) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a> {
        #[serde(with = "serde_bytes")]
        manifest: &'a [u8],
        #[serde(with = "serde_bytes")]
        manifest_ed25519: &'a [u8],
        #[serde(with = "serde_bytes")]
        manifest_ml_dsa_65: &'a [u8],
        #[serde(with = "serde_bytes")]
        ed25519_pem: &'a [u8],
        #[serde(with = "serde_bytes")]
        ml_dsa_65_pem: &'a [u8],
        #[serde(with = "serde_bytes")]
        plan: &'a [u8],
        #[serde(with = "serde_bytes")]
        plan_ed25519: &'a [u8],
        #[serde(with = "serde_bytes")]
        plan_ml_dsa_65: &'a [u8],
    }
    let wire = Wire {
        manifest: &dossier.manifest,
        manifest_ed25519: &dossier.manifest_signatures.ed25519,
        manifest_ml_dsa_65: &dossier.manifest_signatures.ml_dsa_65,
        ed25519_pem: &dossier.ed25519_pem,
        ml_dsa_65_pem: &dossier.ml_dsa_65_pem,
        plan: &dossier.plan,
        plan_ed25519: &dossier.plan_signatures.ed25519,
        plan_ml_dsa_65: &dossier.plan_signatures.ml_dsa_65,
    };
    rmp_serde::to_vec_named(&wire).unwrap()
}

/// The file in which a store keeps some bytes.
pub fn blob_path(dir: &Path, hash: &ContentHash) -> std::path::PathBuf {
    let hash = hash.to_string();
    dir.join("cas").join(&hash[..2]).join(format!("{hash}.blob"))
}
