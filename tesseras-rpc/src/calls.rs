//! The requests to a running node. Each call is a type that determines the type of its answer, so
//! neither side can mistake one answer for another.
//!
//! On the wire a call is a [`Request`] and its answer a [`Response`], both tagged with a name.

use serde::{Deserialize, Serialize};
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;
use tesseras_core::publication::PublicationStop;

use crate::messages::{
    DraftedPlan, FetchReply, NodeStatus, PeerList, PublicationReply, PublishReply, RepairReply,
    ScrubReply, TesseraStatus,
};

/// A request to a node.
pub trait Call: Into<Request> + Send {
    /// The type of the answer.
    type Answer: Send;

    /// The answer in the form that is sent.
    fn response(answer: Self::Answer) -> Response;

    /// The answer from the form that was received; `None` if it belongs to another call.
    fn answer(response: Response) -> Option<Self::Answer>;
}

/// Report the status of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskStatus {}

/// List the peers that the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskPeers {}

/// Ask the holders of a tessera now, and report its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskTesseraStatus {
    /// The tessera's hash.
    pub hash: TesseraHash,
}

/// Compute the plan of a capsule in the library, so that its creator can sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftPlan {
    /// The tessera's hash.
    pub hash: TesseraHash,
}

/// Place a capsule of the library on other nodes. It is cancelled when the client disconnects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its plan, newly signed; `None` uses the plan that its creator signed earlier.
    pub signed: Option<SignedPlan>,
}

/// Publish in the background, until it is complete or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishInBackground {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// As in [`Publish`].
    pub signed: Option<SignedPlan>,
}

/// Stop a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPublication {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// What else ends with it.
    pub how: PublicationStop,
}

/// Fetch a tessera into the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The tessera's hash.
    pub hash: TesseraHash,
}

/// Run a repair cycle now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The tessera to repair; `None` repairs all that are held here.
    pub hash: Option<TesseraHash>,
}

/// Re-read everything that is stored, and mend what is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrub {}

/// Any call, in the form that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Report the status of the node.
    Status(AskStatus),
    /// [`AskPeers`].
    Peers(AskPeers),
    /// [`AskTesseraStatus`].
    TesseraStatus(AskTesseraStatus),
    /// [`DraftPlan`].
    DraftPlan(DraftPlan),
    /// [`Publish`].
    Publish(Publish),
    /// [`PublishInBackground`].
    PublishInBackground(PublishInBackground),
    /// Stop a publication.
    StopPublication(StopPublication),
    /// [`Fetch`].
    Fetch(Fetch),
    /// [`Repair`].
    Repair(Repair),
    /// [`Scrub`].
    Scrub(Scrub),
}

/// Any answer, in the form that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`AskStatus`].
    Status(NodeStatus),
    /// To [`AskPeers`].
    Peers(PeerList),
    /// To [`AskTesseraStatus`].
    TesseraStatus(TesseraStatus),
    /// To [`DraftPlan`].
    DraftPlan(DraftedPlan),
    /// To [`Publish`].
    Published(PublishReply),
    /// To [`PublishInBackground`] and [`StopPublication`].
    Publication(PublicationReply),
    /// To [`Fetch`].
    Fetched(FetchReply),
    /// To [`Repair`].
    Repaired(RepairReply),
    /// To [`Scrub`].
    Scrubbed(ScrubReply),
}

/// Connects a call and the type of its answer with the variants in which they are sent.
macro_rules! call {
    ($call:ident as $request:ident -> $response:ident($answer:ty)) => {
        impl From<$call> for Request {
            fn from(call: $call) -> Self {
                Self::$request(call)
            }
        }

        impl Call for $call {
            type Answer = $answer;

            fn response(answer: $answer) -> Response {
                Response::$response(answer)
            }

            fn answer(response: Response) -> Option<$answer> {
                match response {
                    Response::$response(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    };
}

call!(AskStatus as Status -> Status(NodeStatus));
call!(AskPeers as Peers -> Peers(PeerList));
call!(AskTesseraStatus as TesseraStatus -> TesseraStatus(TesseraStatus));
call!(DraftPlan as DraftPlan -> DraftPlan(DraftedPlan));
call!(Publish as Publish -> Published(PublishReply));
call!(PublishInBackground as PublishInBackground -> Publication(PublicationReply));
call!(StopPublication as StopPublication -> Publication(PublicationReply));
call!(Fetch as Fetch -> Fetched(FetchReply));
call!(Repair as Repair -> Repaired(RepairReply));
call!(Scrub as Scrub -> Scrubbed(ScrubReply));
