//! Messages as frames: MessagePack with named fields.
//!
//! A request is a map with one entry, `{kind: {fields}}`, so that a reader can tell an unknown
//! request from a malformed one. An answer is `{"ok": {fields}}` or `{"error": {code, message}}`.
//! Unknown fields are ignored. Lengths and nesting are checked before a message is decoded, so that
//! hostile bytes cost neither memory nor stack.

mod shape;

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tesseras_core::words::{code_word, one_line};
use thiserror::Error;

use crate::transport::MAX_FRAME_BYTES;

/// Why encoding or decoding a message failed.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The encoded message is longer than a frame may be.
    #[error("a message of {0} bytes does not fit a frame of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// The bytes do not decode as the expected message.
    // The error text may quote the message.
    #[error("malformed message: {}", one_line(&.0.to_string()))]
    Malformed(#[from] rmp_serde::decode::Error),
    /// The bytes are not exactly one MessagePack value, or it is nested too deeply.
    #[error("malformed message: {0}")]
    Shape(&'static str),
    /// The value cannot be encoded as MessagePack.
    #[error("cannot encode message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Why a peer refused a request. After decoding it is safe to show: its code is a [`code_word`],
/// its message is [`one_line`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// One word for programs to act on; see the constants of [`Refusal`] and of each protocol.
    #[serde(deserialize_with = "code_of_a_peer")]
    pub code: String,
    /// A sentence for people.
    #[serde(deserialize_with = "line_of_a_peer")]
    pub message: String,
}

impl Refusal {
    /// This node does not know the kind of request.
    pub const UNKNOWN_REQUEST: &'static str = "unknown_request";
    /// The request's fields are not valid for its kind.
    pub const MALFORMED: &'static str = "malformed";
    /// Too many requests from this peer or its neighbourhood; retry later.
    pub const BUSY: &'static str = "busy";
    /// An internal failure that is not the requester's fault.
    pub const INTERNAL: &'static str = "internal";

    /// A refusal with one of these codes.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

fn code_of_a_peer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(code_word(&String::deserialize(deserializer)?))
}

fn line_of_a_peer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(one_line(&String::deserialize(deserializer)?))
}

/// The answer to any request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// The request succeeded.
    Ok(T),
    /// The request was refused.
    Error(Refusal),
}

/// Encodes a message. Fails if it is longer than [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let frame = rmp_serde::to_vec_named(message)?;
    if frame.len() > MAX_FRAME_BYTES {
        return Err(CodecError::TooLong(frame.len()));
    }
    Ok(frame)
}

/// Decodes a message from a whole frame. Trailing bytes are malformed, and so is nesting of more
/// than 32 levels. Never panics on any input, as long as `T`'s own deserializer does not.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, CodecError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(CodecError::TooLong(frame.len()));
    }
    shape::check(frame).map_err(CodecError::Shape)?;
    let mut rest = frame;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    let message = T::deserialize(&mut deserializer)?;
    if !rest.is_empty() {
        return Err(CodecError::Shape("it has more items than expected"));
    }
    Ok(message)
}

/// Decodes the answer to a request: its fields, or why it was refused.
pub fn decode_answer<T: DeserializeOwned>(frame: &[u8]) -> Result<Result<T, Refusal>, CodecError> {
    Ok(match decode(frame)? {
        Answer::Ok(fields) => Ok(fields),
        Answer::Error(refusal) => Err(refusal),
    })
}

/// The kind of a request, without decoding its fields; `None` if the frame is not a request.
pub fn kind(frame: &[u8]) -> Option<String> {
    decode::<Kind>(frame).ok().map(|kind| kind.0)
}

/// The one key of a map with one entry.
struct Kind(String);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneEntry;

        impl<'de> Visitor<'de> for OneEntry {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with one entry")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                let entry: Option<(String, IgnoredAny)> = map.next_entry()?;
                let (kind, _) = entry.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(serde::de::Error::invalid_length(2, &self));
                }
                Ok(Kind(kind))
            }
        }

        deserializer.deserialize_map(OneEntry)
    }
}

/// Encodes a refusal as a frame.
pub fn refuse(code: &str, message: impl Into<String>) -> Vec<u8> {
    let mut message = message.into();
    message.truncate(message.floor_char_boundary(512));
    encode(&Answer::<()>::Error(Refusal::new(code, message)))
        .expect("a code and 512 bytes fit a frame")
}

#[cfg(test)]
mod tests;
