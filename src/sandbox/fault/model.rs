//! A fault and its parts.

use std::{ops::RangeInclusive, time::Duration};

use http::{HeaderValue, StatusCode};

use crate::name::Resource;

/// A failure that the sandbox produces on request. Its string form is its grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What fails.
    pub effect: Effect,
    /// How long any response is delayed.
    pub latency: Duration,
    /// How long the connection may stay idle after the response before it is closed without
    /// notice; `None` means indefinitely.
    pub keep_alive: Option<Duration>,
    /// The resource it applies to, in any letter case; `None` means all.
    pub resource: Option<Resource>,
    /// When it applies.
    pub when: When,
}

/// When a fault applies: all conditions must hold. Time and requests are counted from when the
/// fault was set; for initial faults, from the sandbox's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// From this time.
    pub from: Duration,
    /// Until before this time.
    pub until: Option<Duration>,
    /// Only for requests with these numbers, counted from 1 among the requests for its resource,
    /// or among all.
    pub requests: Option<RangeInclusive<u64>>,
    /// For this many requests only.
    pub times: Option<u32>,
}

/// How a fault changes the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The normal response.
    None,
    /// The request is read and receives no response.
    Hang,
    /// The connection is reset (TCP RST).
    Reset,
    /// A status, with the endpoint's documented body for it. A success status without `body` is a
    /// normal grant with that status.
    Status {
        /// The status.
        code: StatusCode,
        /// Its Retry-After header.
        retry_after: Option<RetryAfter>,
        /// A body instead of the documented one.
        body: Option<String>,
    },
    /// A grant's response has a body that no client should accept.
    Body(BadBody),
    /// A grant whose life is shorter than requested by this.
    ShorterLife(Duration),
}

/// A Retry-After header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Any string: seconds, a date, garbage.
    Text(HeaderValue),
    /// The HTTP date this long after the response.
    DateIn(Duration),
}

/// The body of a grant that no client should accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// An endpoint-specific body, by its word.
    Own(String),
    /// A good body, truncated in the middle.
    Truncated,
    /// A good body; the connection is closed in the middle.
    Cut,
    /// A good body, one byte per second.
    Slow,
    /// A good body followed by white space, 1 MiB in total.
    Huge,
    /// A good body followed by white space that never ends.
    Endless,
    /// A good body, compressed although the client did not request it.
    Gzip,
    /// Any string.
    Text(String),
}
