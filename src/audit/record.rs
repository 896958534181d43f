//! An audit record: a line of JSON with the members that apply.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{
    CallInfo, Shared,
    identities::{Identities, IdentityWriter, WrittenIdentity},
    sums::{Refusal, Sum},
};
use crate::{clock::WallTime, listen::remote::Remote, name::Identity};

/// The event of refused calls and clients.
const REFUSED: &str = "refused";

/// The estimated size of a record without its identities. The queue corrects it when the record is
/// added.
const BASE_SIZE: usize = 768;

/// The size of a hashed identity in a list.
const HASH_SIZE: usize = super::DIGITS + 3;

/// Minted tokens.
#[derive(Clone, Copy, Debug)]
pub struct Minted<'a> {
    /// The recipients of the tokens.
    pub recipients: Recipients<'a>,
    /// The token ids.
    pub ids: Ids<'a>,
    /// The name of their grant, if they have one.
    pub grant: Option<&'a str>,
    /// The profile and resource of tokens without a grant. The resource is empty if the tokens are
    /// valid for all resources.
    pub of_key: Option<(&'a str, &'a str)>,
    /// The generation of their grant; 0 without a grant.
    pub generation: i64,
    /// The last time at which it makes sense to return the tokens to a client.
    pub use_by: WallTime,
}

/// The recipients of tokens.
#[derive(Clone, Copy, Debug)]
pub enum Recipients<'a> {
    /// A single identity.
    One(&'a Identity),
    /// Listed identities and the index of the first.
    List(&'a [Identity], i64),
    /// `count` identities made of a prefix and consecutive indices.
    Series {
        /// The part before the index.
        prefix: &'a str,
        /// The first index.
        first_index: i64,
        /// The number of identities.
        count: u64,
    },
}

/// Token ids.
#[derive(Clone, Copy)]
pub enum Ids<'a> {
    /// The id of a single token or of one shared by all recipients.
    One(&'a str),
    /// The first and last of consecutive ids.
    Range(&'a str, &'a str),
    /// A function that returns the id at each position.
    Each(&'a dyn Fn(usize) -> Option<&'a str>),
}

impl fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

/// The result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It succeeded.
    Ok,
    /// It failed.
    Failed,
}

impl Outcome {
    /// `Ok` if `is_ok`, else `Failed`.
    #[must_use]
    pub const fn of(is_ok: bool) -> Self {
        if is_ok { Self::Ok } else { Self::Failed }
    }
}

/// The estimated size of the record for these recipients.
pub(super) fn estimated_size(recipients: &Recipients<'_>, identities: &Identities) -> usize {
    let each = match (recipients, identities) {
        (Recipients::List(list, _), Identities::Hashed(_)) => list.len() * HASH_SIZE,
        (Recipients::List(list, _), Identities::Clear) => {
            list.iter().map(|identity| identity.as_str().len() + 3).sum()
        }
        _ => 0,
    };
    BASE_SIZE + each
}

/// The members of a record.
#[derive(Default, Serialize)]
pub(super) struct Line<'a> {
    time: Time,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Displayed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Each<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<RecordedIdentity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<RecordedIdentity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identities: Option<List<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_by_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// A refused call.
    pub(super) fn refused(shared: &Shared, who: &CallInfo<'a>, reason: &'a str) -> Self {
        Self { reason: Some(reason), ..Self::of_call(REFUSED, shared, who) }
    }

    /// A sum of one second's refused calls or unauthenticated clients.
    pub(super) fn sum(shared: &Shared, sum: &'a Sum, count: u64) -> Self {
        let line = Self { count: Some(count), ..Self::new(REFUSED, shared) };
        match sum {
            Sum::Refusals(Refusal { entry, method, reason }) => {
                Self { entry: entry.as_deref(), method: *method, reason: Some(reason), ..line }
            }
            Sum::Failures(network, cause) => {
                Self { peer: Some(Peer::Network(*network)), reason: Some(cause), ..line }
            }
            Sum::OtherRefusals => Self { reason: Some("other_refusals"), ..line },
            Sum::OtherFailures => Self { reason: Some("other_networks"), ..line },
        }
    }

    /// A refresh requested by a caller, with the reason if it failed.
    pub(super) fn refreshed(
        shared: &Shared,
        who: &CallInfo<'a>,
        grant: &'a str,
        failed: Option<&'a str>,
    ) -> Self {
        let outcome = Some(Outcome::of(failed.is_none()));
        let line = Self::of_call("refresh", shared, who);
        Self { grant: Some(grant), outcome, reason: failed, ..line }
    }

    /// A changed part of the configuration.
    pub(super) fn reloaded(shared: &Shared, what: &'a str, outcome: Outcome) -> Self {
        Self { what: Some(what), outcome: Some(outcome), ..Self::new("reload", shared) }
    }

    /// An event at the current time.
    fn new(event: &'static str, shared: &Shared) -> Self {
        Self { time: Time(shared.clock.now().wall), event, ..Self::default() }
    }

    /// An event of a call.
    fn of_call(event: &'static str, shared: &Shared, who: &CallInfo<'a>) -> Self {
        Self {
            caller: who.caller.map(Displayed),
            entry: who.entry,
            peer: Some(Peer::Address(who.peer)),
            method: who.method,
            ..Self::new(event, shared)
        }
    }

    /// Minted tokens.
    pub(super) fn of_minted(shared: &Shared, who: &CallInfo<'a>, minted: &Minted<'a>) -> Self {
        let Minted { recipients, ids, grant, of_key, generation, use_by } = *minted;
        let event = if let Recipients::One(_) = recipients { "mint" } else { "chunk" };
        let mut line = Self {
            grant,
            profile: of_key.map(|(profile, _)| profile),
            resource: of_key.map(|(_, resource)| resource).filter(|it| !it.is_empty()),
            generation: Some(generation).filter(|generation| *generation != 0),
            use_by_time: Some(Time(use_by)),
            ..Self::of_call(event, shared, who)
        };
        let count = match recipients {
            Recipients::One(_) => 1,
            Recipients::List(list, first) => {
                line.first_index = Some(first);
                list.len()
            }
            Recipients::Series { first_index, count, .. } => {
                line.first_index = Some(first_index);
                usize::try_from(count).unwrap_or(usize::MAX)
            }
        };
        if event == "chunk" {
            line.count = Some(count as u64);
        }
        match ids {
            Ids::One(id) => line.token_id = Some(id),
            Ids::Range(first, last) => {
                (line.first_token_id, line.last_token_id) = (Some(first), Some(last));
            }
            Ids::Each(of) => line.token_ids = Some(Each { of, count }),
        }
        if let Some(writer) = shared.identities.writer() {
            match recipients {
                Recipients::One(identity) => {
                    line.identity = Some(RecordedIdentity(writer, identity.as_str()));
                }
                Recipients::List(list, _) => line.identities = Some(List(writer, list)),
                Recipients::Series { prefix, .. } => {
                    line.prefix = Some(RecordedIdentity(writer, prefix));
                }
            }
        }
        line
    }

    /// The serialized line, in a buffer with this capacity.
    pub(super) fn text(&self, capacity: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(capacity);
        // Serializing cannot fail: no map has a key that is not a string, and the buffer is in
        // memory.
        let _ = serde_json::to_writer(&mut text, self);
        text.push(b'\n');
        text
    }
}

/// A time in RFC 3339 format.
struct Time(WallTime);

impl Default for Time {
    fn default() -> Self {
        Self(WallTime::from_unix_seconds(0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let since = Duration::from_micros(u64::try_from(self.0.unix_micros()).unwrap_or_default());
        serializer.collect_str(&humantime::format_rfc3339_micros(UNIX_EPOCH + since))
    }
}

/// The address of a caller or of its network.
enum Peer {
    Address(Remote),
    Network(Remote),
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Network(Remote::Ip(IpAddr::V6(address))) => {
                serializer.collect_str(&format_args!("{address}/64"))
            }
            Self::Address(remote) | Self::Network(remote) => serializer.collect_str(remote),
        }
    }
}

struct Displayed<'a>(&'a dyn fmt::Display);

impl Serialize for Displayed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// An identity or a prefix.
struct RecordedIdentity<'a>(IdentityWriter, &'a str);

impl Serialize for RecordedIdentity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.written(self.1).serialize(serializer)
    }
}

struct List<'a>(IdentityWriter, &'a [Identity]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = self
            .1
            .iter()
            .map(|identity| -> WrittenIdentity<'_> { self.0.written(identity.as_str()) });
        serializer.collect_seq(written)
    }
}

/// Ids listed one by one.
struct Each<'a> {
    of: &'a dyn Fn(usize) -> Option<&'a str>,
    count: usize,
}

impl Serialize for Each<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ids = serializer.serialize_seq(Some(self.count))?;
        (0..self.count).filter_map(self.of).try_for_each(|id| ids.serialize_element(id))?;
        ids.end()
    }
}
