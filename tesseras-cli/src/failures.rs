//! The words for why a request to the node failed, and what to do about it. The node gives the reason
//! as data; only here it is known which command helps.

use tesseras_core::units::MIB;
use tesseras_rpc::ClientError;
use tesseras_rpc::failure::{Cause, Failure, Shortage};

use crate::code::Code;
use crate::command_error::{CommandError, INDEX_GONE, MEND};
use crate::human::{count, size};
use crate::problems::clock;

const ONE_VERSION: &str = "use the tes and the tesd of one version";
const KNOWS_PEERS: &str = "check the hash, and that this node knows peers (`tes peers`)";

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let failed = CommandError::new(error.to_string());
        match error {
            ClientError::NotRunning { data_dir } => failed
                .with_code(Code::NOT_RUNNING)
                .with_hint(format!("start one with `tesd --data-dir {}`", data_dir.display())),
            ClientError::PathTooLong { .. } => {
                failed.with_hint("choose a data directory with a shorter path")
            }
            ClientError::Connect { .. } => failed
                .with_code(Code::NOT_ALLOWED)
                .with_hint("only the user that runs tesd may talk to it"),
            ClientError::Ended | ClientError::Silent => failed
                .with_code(Code::NO_ANSWER)
                .with_hint("see what tesd last logged, start it again, repeat the command"),
            ClientError::Frame(_) | ClientError::Unexpected => {
                failed.with_code(Code::OTHER_VERSION).with_hint(ONE_VERSION)
            }
            ClientError::Failed(failure) => failure.into(),
        }
    }
}

impl From<Failure> for CommandError {
    fn from(Failure { message, cause }: Failure) -> Self {
        let failed = CommandError::new(words(&cause).unwrap_or(message)).with_code((&cause).into());
        match hint(&cause) {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }
}

/// The words for a cause, where there are better ones than the node's.
fn words(cause: &Cause) -> Option<String> {
    match cause {
        Cause::ClockOff { seconds, witnesses } => Some(clock(*seconds, *witnesses)),
        Cause::NoSpace { needed, free } => Some(format!(
            "there is not enough room on the disk: {} are needed, {} are free in addition to the reserve",
            size(*needed),
            size(*free)
        )),
        Cause::NoneHoldsIt { answered, silent } => {
            let nodes = count(*answered, "announced holder has", "announced holders have");
            let silent = match silent {
                0 => String::new(),
                more => format!(" ({more} more did not answer)"),
            };
            Some(format!("{nodes} nothing of it{silent}"))
        }
        Cause::HoldersSilent { silent } => Some(match silent {
            1 => "1 node is known to hold it, but it does not answer now".to_owned(),
            n => format!("{n} nodes are known to hold it, but none of them answers now"),
        }),
        _ => None,
    }
}

/// What a person can do next.
fn hint(cause: &Cause) -> Option<String> {
    let hint = match cause {
        Cause::ClockOff { .. } => "set it right (NTP) and try again",
        Cause::NoSpace { .. } => {
            "free some disk space, or lower min_free_space, then repeat the command"
        }
        Cause::DiskFull => "free some disk space, then repeat the command",
        Cause::Damaged => MEND,
        Cause::NoneHoldsIt { .. } => {
            "compare the hash with the card; if every digit is right, they have dropped or lost \
             it, and only an export or a node that still has it can bring it back"
        }
        Cause::HoldersSilent { .. } => "they may be back later; then repeat the command",
        Cause::NotFound => {
            return Some(format!("{KNOWS_PEERS}; a new holder may need a minute to be found"));
        }
        Cause::TooFewPieces => {
            "holders may be back later; fetching again goes on with the pieces that came"
        }
        Cause::NotInLibrary => "`tes list` shows what is in the library",
        Cause::NotHeld => "a node repairs what it holds or has published",
        Cause::NotPublished => "a node repairs what is published; `tes publish` does that",
        Cause::NoSignedPlan => {
            "only its creator can publish it first; once it is published, anyone who has fetched \
             it can keep it alive"
        }
        Cause::InProgress => "`tes status` with its hash says how far it is",
        Cause::HoldersNotTold => {
            "leave your node running: until holders know it, nobody finds the tessera without your \
             node, and nobody else repairs it"
        }
        Cause::Busy => "try again when one of them is done",
        Cause::Locked => "try again in a moment",
        Cause::IndexGone => INDEX_GONE,
        Cause::Stopping => "start tesd again and repeat the command",
        Cause::UnknownRequest => ONE_VERSION,
        Cause::NobodyEligible { shortage } | Cause::NoRoom { shortage } => {
            return Some(more_room(shortage.as_deref()));
        }
        Cause::TooFewPlaced { shortage } => {
            return Some(format!(
                "{}; nothing more goes on by itself unless you left it to the background; \
                 publishing again begins with what was placed",
                more_room(shortage.as_deref())
            ));
        }
        Cause::Failed
        | Cause::TooSlow
        | Cause::AnswerTooLong
        | Cause::StoreFailed
        | Cause::NotValid
        | Cause::PlanRefused
        | Cause::Stopped => return None,
    };
    Some(hint.to_owned())
}

/// Whom to ask for what when other nodes have too little room, and how much space to offer in return.
fn more_room(shortage: Option<&Shortage>) -> String {
    let Some(Shortage { node_id, address, room, bytes_per_node, lacking }) = shortage else {
        return "look at `tes peers`; give tesd more nodes to begin with (--bootstrap), or try later"
            .to_owned();
    };
    let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
    format!(
        "offer space: with storage_limit, tesd on this machine should keep at least {} MiB for \
         others, since a node takes more from one that keeps something for it; or ask the owner of \
         node {node_id}{at}, which has room for {} MiB of the {} MiB that it would have to take, to \
         raise deficit_allowance, per_peer_limit or storage_limit",
        lacking.div_ceil(MIB),
        room / MIB,
        bytes_per_node.div_ceil(MIB),
    )
}

#[cfg(test)]
mod tests {
    use tesseras_core::ids::NodeId;

    use super::*;

    #[test]
    fn a_hint_names_a_node_and_how_much_space_to_offer() {
        let shortage = Shortage {
            node_id: NodeId::new([1; 20]),
            address: Some("192.0.2.1:7310".parse().expect("an address")),
            room: 40 << 20,
            bytes_per_node: 300 << 20,
            lacking: 560 << 20,
        };
        let hint = more_room(Some(&shortage));
        assert!(hint.contains("at least 560 MiB"), "{hint}");
        let asked =
            format!("node {} at 192.0.2.1:7310, which has room for 40 MiB", "01".repeat(20));
        assert!(hint.contains(&asked) && hint.contains("of the 300 MiB"), "{hint}");
        assert!(more_room(None).contains("--bootstrap"));
    }
}
