//! What the commands that talk to a server share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use grantmint::{clock::WallTime, rpc::proto};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// Windows wide enough that a bulk stream is never held up by them.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A chunk of a bulk fits into one frame of this size, and so into one read.
const FRAME: u32 = 128 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The deadline of a command's unary calls.
const DEADLINE: Duration = Duration::from_secs(12);

/// Which server to talk to.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's URL
    #[arg(
        long,
        value_name = "URL",
        env = "GRANTMINT_SERVER",
        default_value = "http://127.0.0.1:50051"
    )]
    server: String,
}

impl ServerArgs {
    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.server
    }

    /// A connection to the server.
    pub(crate) async fn connect(&self) -> Result<Channel, Status> {
        // Without a scheme it would be dialled in vain.
        let endpoint = Some(self.server.clone())
            .filter(|server| server.starts_with("http://"))
            .and_then(|server| Endpoint::from_shared(server).ok());
        let Some(endpoint) = endpoint else {
            let form = "is no server's URL; it looks like http://127.0.0.1:50051";
            return Err(Status::invalid_argument(format!("{:?} {form}", self.server)));
        };
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(|_| Status::unavailable(format!("cannot connect to {}", self.server)))
    }
}

/// A request with the deadline of unary calls.
pub(crate) fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// What the tokens should be like.
#[derive(Debug, Args)]
pub(crate) struct OptionArgs {
    /// The profile; left out: the server's default
    #[arg(long)]
    profile: Option<String>,
    /// The upstream thing that the token is for; left out: the profile's default
    #[arg(long)]
    resource: Option<String>,
    /// Wanted token life, such as 10m
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Least time for which the token must be usable
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    min_remaining: Option<Duration>,
    /// How long to wait for a grant that will do
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_wait: Option<Duration>,
    /// What happens where a token would outlive its grant
    #[arg(long, value_enum)]
    expiry_policy: Option<Policy>,
    /// Only a grant newer than this generation
    #[arg(long, value_name = "GENERATION", default_value_t)]
    after_generation: i64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// It ends with its grant.
    ClampToGrant,
    /// It waits for a grant that lasts as long.
    RequireFullTtl,
    /// It outlives its grant.
    Independent,
}

impl OptionArgs {
    /// As the server takes them.
    pub(crate) fn to_proto(&self) -> proto::MintOptions {
        let policy = match self.expiry_policy {
            None => proto::ExpiryPolicy::Unspecified,
            Some(Policy::ClampToGrant) => proto::ExpiryPolicy::ClampToGrant,
            Some(Policy::RequireFullTtl) => proto::ExpiryPolicy::RequireFullTtl,
            Some(Policy::Independent) => proto::ExpiryPolicy::Independent,
        };
        let duration = |duration: Option<Duration>| duration.and_then(|it| it.try_into().ok());
        proto::MintOptions {
            profile: self.profile.clone().unwrap_or_default(),
            resource: self.resource.clone().unwrap_or_default(),
            ttl: duration(self.ttl),
            min_remaining_validity: duration(self.min_remaining),
            max_wait: duration(self.max_wait),
            expiry_policy: policy.into(),
            after_generation: self.after_generation,
        }
    }
}

/// A timestamp as RFC 3339 in UTC; a dash where it is not known.
pub(crate) fn utc(at: Option<&prost_types::Timestamp>) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let since = Duration::new(at.seconds.unsigned_abs(), at.nanos.unsigned_abs());
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

/// The time of day in UTC, to this many digits of a second.
pub(crate) fn clock_time(at: WallTime, digits: usize) -> String {
    let day = at.unix_seconds().rem_euclid(24 * 60 * 60);
    let (hours, minutes, seconds) = (day / 3_600, day / 60 % 60, day % 60);
    let fraction = format!(".{:09}", at.subsec_nanos());
    let fraction = if digits == 0 { "" } else { fraction.get(..=digits).unwrap_or(&fraction) };
    format!("{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// A time as it is sent.
pub(crate) fn timestamp(at: WallTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.unix_seconds(), nanos: at.subsec_nanos() }
}

/// A timestamp by our own clock's type.
pub(crate) fn wall(at: &prost_types::Timestamp) -> WallTime {
    WallTime::from_unix_seconds(at.seconds) + Duration::from_nanos(at.nanos.unsigned_abs().into())
}

/// A time in Unix seconds; those before 1970 or past the year 9999 are the nearest that can be
/// told.
pub(crate) fn stamp(at: i64) -> prost_types::Timestamp {
    const END_OF_9999: i64 = 253_402_300_799;
    prost_types::Timestamp { seconds: at.clamp(0, END_OF_9999), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_told_in_utc() {
        let at = WallTime::from_unix_seconds(1_700_000_000) + Duration::from_millis(7);
        assert_eq!(clock_time(at, 0), "22:13:20");
        assert_eq!(clock_time(at, 3), "22:13:20.007");
        assert_eq!(clock_time(WallTime::from_unix_seconds(-1), 3), "23:59:59.000");
    }
}
