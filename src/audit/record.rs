//! A record: a line of JSON that has the members that apply.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{
    Shared, Who,
    identities::{Identities, IdentityWriter, WrittenIdentity},
    sums::{Refusal, Sum},
};
use crate::{clock::WallTime, listen::remote::Remote, name::Identity};

/// The event of what is refused.
const REFUSED: &str = "refused";

/// Estimated size without the identities; corrected when the record is added.
const ROOM: usize = 768;

/// What a hash takes in a list.
const HASH_ROOM: usize = super::DIGITS + 3;

/// Tokens that were minted.
#[derive(Clone, Copy, Debug)]
pub struct Minted<'a> {
    /// Who gets them.
    pub recipients: Recipients<'a>,
    /// Their ids.
    pub ids: Ids<'a>,
    /// The name of their grant, where they have one.
    pub grant: Option<&'a str>,
    /// Profile and resource of tokens without a grant; the resource is empty where they are good
    /// for all.
    pub of_key: Option<(&'a str, &'a str)>,
    /// The generation of their grant; 0 for none.
    pub generation: i64,
    /// The last instant at which handing them out makes sense.
    pub use_by: WallTime,
}

/// Who gets tokens.
#[derive(Clone, Copy, Debug)]
pub enum Recipients<'a> {
    /// One identity, by itself.
    One(&'a Identity),
    /// Identities of a list, of which the first has this index.
    List(&'a [Identity], i64),
    /// The identities of a prefix and each of so many indices, from the first on.
    Series {
        /// What stands before the number.
        prefix: &'a str,
        /// The first number.
        first_index: i64,
        /// How many.
        count: u64,
    },
}

/// The ids of tokens.
#[derive(Clone, Copy)]
pub enum Ids<'a> {
    /// That of the only one, or of one that all recipients get.
    One(&'a str),
    /// The first and the last of those that follow each other.
    Range(&'a str, &'a str),
    /// One by one; so many of them.
    Each(&'a dyn Fn(usize) -> Option<&'a str>),
}

impl fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is done.
    Ok,
    /// It failed.
    Failed,
}

impl Outcome {
    /// By whether it is done.
    #[must_use]
    pub const fn of(is_done: bool) -> Self {
        if is_done { Self::Ok } else { Self::Failed }
    }
}

/// Room for the record of tokens for these recipients.
pub(super) fn room(recipients: &Recipients<'_>, identities: &Identities) -> usize {
    let each = match (recipients, identities) {
        (Recipients::List(list, _), Identities::Hashed(_)) => list.len() * HASH_ROOM,
        (Recipients::List(list, _), Identities::Clear) => {
            list.iter().map(|identity| identity.as_str().len() + 3).sum()
        }
        _ => 0,
    };
    ROOM + each
}

/// The members of a record.
#[derive(Default, Serialize)]
pub(super) struct Line<'a> {
    time: Time,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Shown<'a>>,
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
    identity: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Named<'a>>,
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
    /// A call that was refused.
    pub(super) fn refused(shared: &Shared, who: &Who<'a>, reason: &'a str) -> Self {
        Self { reason: Some(reason), ..Self::of_call(REFUSED, shared, who) }
    }

    /// So many of a second that were refused, or not authenticated.
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

    /// A grant that was refreshed for a caller, or not, for this reason.
    pub(super) fn refreshed(
        shared: &Shared,
        who: &Who<'a>,
        grant: &'a str,
        failed: Option<&'a str>,
    ) -> Self {
        let outcome = Some(Outcome::of(failed.is_none()));
        let line = Self::of_call("refresh", shared, who);
        Self { grant: Some(grant), outcome, reason: failed, ..line }
    }

    /// A part of the configuration that changed.
    pub(super) fn reloaded(shared: &Shared, what: &'a str, outcome: Outcome) -> Self {
        Self { what: Some(what), outcome: Some(outcome), ..Self::new("reload", shared) }
    }

    /// Something that happens now.
    fn new(event: &'static str, shared: &Shared) -> Self {
        Self { time: Time(shared.clock.now().wall), event, ..Self::default() }
    }

    /// What happens in a call.
    fn of_call(event: &'static str, shared: &Shared, who: &Who<'a>) -> Self {
        Self {
            caller: who.caller.map(Shown),
            entry: who.entry,
            peer: Some(Peer::Address(who.peer)),
            method: who.method,
            ..Self::new(event, shared)
        }
    }

    /// Tokens that are minted.
    pub(super) fn of_minted(shared: &Shared, who: &Who<'a>, minted: &Minted<'a>) -> Self {
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
                Recipients::One(identity) => line.identity = Some(Named(writer, identity.as_str())),
                Recipients::List(list, _) => line.identities = Some(List(writer, list)),
                Recipients::Series { prefix, .. } => line.prefix = Some(Named(writer, prefix)),
            }
        }
        line
    }

    /// The line as bytes, with room for so many.
    pub(super) fn text(&self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes);
        // No map with odd keys is in it, and memory can be written.
        let _ = serde_json::to_writer(&mut text, self);
        text.push(b'\n');
        text
    }
}

/// An instant, as RFC 3339 has it.
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

/// Where a call comes from, or the network of that.
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

struct Shown<'a>(&'a dyn fmt::Display);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// An identity, or a prefix.
struct Named<'a>(IdentityWriter, &'a str);

impl Serialize for Named<'_> {
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

/// Ids one by one.
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
