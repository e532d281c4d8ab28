//! What can be asked of a running node: each call is a type that names the type of its answer, so
//! neither side can take one answer for another.
//!
//! On the wire a call is a [`Request`] and its answer a [`Response`], both tagged with a name.

use serde::{Deserialize, Serialize};
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;

use crate::messages::{
    DraftedPlan, FetchReply, NodeStatus, PeerList, PublicationReply, PublishReply, RepairReply,
    TesseraStatus,
};

/// Something that can be asked of a node.
pub trait Call: Into<Request> + Send {
    /// What the node answers when it was done.
    type Answer: Send;

    /// An answer as it is sent.
    fn response(answer: Self::Answer) -> Response;

    /// The answer in what was received; `None` if that answers another call.
    fn answer(response: Response) -> Option<Self::Answer>;
}

/// How the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskStatus {}

/// The peers that the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskPeers {}

/// How a tessera is, asked of its holders now.
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

/// Place a capsule of the library on other nodes. It ends when the client goes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its plan, signed just now; without one, the plan that its creator signed earlier.
    pub signed: Option<SignedPlan>,
}

/// Go on publishing in the background, until it is done or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishInBackground {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// As in [`Publish`].
    pub signed: Option<SignedPlan>,
}

/// Stop publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPublication {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Whether a finished publication ends, too: the node no longer looks after it.
    pub unpublish: bool,
}

/// Bring a tessera into the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The tessera's hash.
    pub hash: TesseraHash,
}

/// One repair cycle, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Of one tessera; of all that are held here, without.
    pub hash: Option<TesseraHash>,
}

/// Any call, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How the node is.
    Status(AskStatus),
    /// Whom it knows.
    Peers(AskPeers),
    /// How a tessera is.
    TesseraStatus(AskTesseraStatus),
    /// Compute a plan.
    DraftPlan(DraftPlan),
    /// Publish, and wait for it.
    Publish(Publish),
    /// Publish in the background.
    PublishInBackground(PublishInBackground),
    /// Stop publishing.
    StopPublication(StopPublication),
    /// Fetch.
    Fetch(Fetch),
    /// Repair.
    Repair(Repair),
}

/// Any answer, as it is sent.
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
}

/// Says of a call under which names it and its answer are sent.
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
