//! What all commands that call a server share: flags, the connection, times.

use std::{error::Error, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use grantmint::{clock::WallTime, rpc::proto, token::params::MAX_EXACT};
use grantmint_client::{
    Bearer, Connection, Error as CallError, Server,
    connect::{Connector, endpoint},
};
use serde_json::Value;
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Endpoint};

use crate::{
    dial::{Problem, TlsArgs, socket_failure, tls_failure, unusable},
    output,
};

/// A bulk is written as it is received, so its stream may fill the connection.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The deadline of unary calls.
const DEADLINE: Duration = Duration::from_secs(12);

/// The server to call.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's URL, its host:port, or unix:PATH for its Unix socket
    #[arg(
        long,
        value_name = "URL",
        env = "GRANTMINT_SERVER",
        default_value = "http://127.0.0.1:50051"
    )]
    server: Server,
    /// A file with the bearer token to send; read again as calls are made
    #[arg(long, value_name = "FILE", env = "GRANTMINT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl ServerArgs {
    /// The server's URL.
    pub(crate) fn url(&self) -> &str {
        self.server.as_str()
    }

    /// Connects to the server.
    pub(crate) async fn connect(&self) -> Result<Connection, Status> {
        let (bearer, connector) = (self.bearer()?, self.connector()?);
        let endpoint = self.endpoint()?;
        let connected = match connector {
            Some(connector) => endpoint.connect_with_connector(connector).await,
            None => endpoint.connect().await,
        };
        let channel = connected.map_err(|error| self.unreachable(&error))?;
        Ok(InterceptedService::new(channel, bearer))
    }

    /// A connection that is made with its first call; see [`explained`](Self::explained) for why it
    /// fails.
    pub(crate) fn connect_lazily(&self) -> Result<Connection, Status> {
        let (bearer, connector) = (self.bearer()?, self.connector()?);
        let endpoint = self.endpoint()?;
        let channel = match connector {
            Some(connector) => endpoint.connect_with_connector_lazy(connector),
            None => endpoint.connect_lazy(),
        };
        Ok(InterceptedService::new(channel, bearer))
    }

    /// The status of a failed call, which says why there was no connection if that is the cause.
    pub(crate) fn explained(&self, error: CallError) -> Status {
        let status = Status::from(error);
        let mut next = status.source();
        while let Some(error) = next {
            if error.is::<tonic::ConnectError>() {
                return self.unreachable(error);
            }
            next = error.source();
        }
        status
    }

    /// The status if there is no connection.
    fn unreachable(&self, error: &(dyn Error + 'static)) -> Status {
        let problem = match self.server.socket() {
            Some(path) => socket_failure(path, error),
            None => tls_failure(error),
        };
        let unknown = || Status::unavailable(format!("cannot connect to {}", self.server));
        problem.map_or_else(unknown, unusable)
    }

    fn endpoint(&self) -> Result<Endpoint, Status> {
        let endpoint = endpoint(&self.server);
        let endpoint = endpoint.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).initial_stream_window_size(STREAM_WINDOW))
    }

    /// `None` for a Unix socket: tonic sets the authority of these calls to "tonic", since a path
    /// cannot be one.
    fn connector(&self) -> Result<Option<Connector>, Status> {
        if self.server.socket().is_some() {
            return Ok(None);
        }
        let connector = self.tls.connector(&self.server, self.token_file.is_some());
        connector.map(Some).map_err(unusable)
    }

    fn bearer(&self) -> Result<Bearer, Status> {
        let Some(file) = &self.token_file else { return Ok(Bearer::default()) };
        let report = |problem: &str| {
            output::message(&format!("{problem}; the last token is sent until the file holds one"));
        };
        Bearer::from_file(file, report).map_err(|error| unusable(Problem::TokenFile(error)))
    }
}

/// A unary request, with the default deadline.
pub(crate) fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// The options of a mint.
#[derive(Debug, Args)]
pub(crate) struct OptionArgs {
    /// The profile; default: the server's
    #[arg(long)]
    profile: Option<String>,
    /// The upstream resource that the token is for; default: the profile's
    #[arg(long)]
    resource: Option<String>,
    /// Token lifetime, such as 10m
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Minimum time that the token must remain usable
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    min_remaining: Option<Duration>,
    /// How long to wait for a suitable grant
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_wait: Option<Duration>,
    /// What to do if the token would outlive its grant
    #[arg(long, value_enum)]
    expiry_policy: Option<Policy>,
    /// Require a grant newer than this generation
    #[arg(long, value_name = "GENERATION", default_value_t)]
    after_generation: i64,
    /// A parameter of the profile's kind, as JSON or else as a string; repeatable
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, prost_types::Value)>,
}

/// Parses a parameter: the value is JSON if it parses as JSON, else a string.
fn param(text: &str) -> Result<(String, prost_types::Value), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected the form NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), wire_value(value).ok_or("contains an integer beyond 2^53")?))
}

/// The protobuf form of a value; none for an integer that a double cannot hold exactly.
fn wire_value(value: Value) -> Option<prost_types::Value> {
    use prost_types::value::Kind;

    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::String(text) => Kind::StringValue(text),
        Value::Number(number) => {
            let double = number.as_f64()?;
            #[expect(clippy::cast_precision_loss, reason = "a power of two")]
            let max = MAX_EXACT as f64;
            if !number.is_f64() && double.abs() > max {
                return None;
            }
            Kind::NumberValue(double)
        }
        Value::Array(values) => {
            let values = values.into_iter().map(wire_value).collect::<Option<_>>()?;
            Kind::ListValue(prost_types::ListValue { values })
        }
        Value::Object(members) => {
            let fields = members.into_iter().map(|(name, it)| Some((name, wire_value(it)?)));
            Kind::StructValue(prost_types::Struct { fields: fields.collect::<Option<_>>()? })
        }
    };
    Some(prost_types::Value { kind: Some(kind) })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// The token expires with its grant
    ClampToGrant,
    /// The call waits for a grant that outlives the token
    RequireFullTtl,
    /// The token outlives its grant
    Independent,
}

impl OptionArgs {
    /// The options in protobuf form.
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
            params: (!self.params.is_empty())
                .then(|| prost_types::Struct { fields: self.params.iter().cloned().collect() }),
        }
    }
}

/// A timestamp as RFC 3339 in UTC; a dash if unknown, or not in the years 1970 to 9999.
pub(crate) fn utc(at: Option<&prost_types::Timestamp>) -> String {
    let known = at.filter(|at| (0..=END_OF_9999).contains(&at.seconds));
    let nanos = known.and_then(|at| u32::try_from(at.nanos).ok()).filter(|it| *it < 1_000_000_000);
    let Some((at, nanos)) = known.zip(nanos) else { return "-".to_owned() };
    let since = Duration::new(at.seconds.unsigned_abs(), nanos);
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

/// The time of day in UTC, with this many fractional digits of a second.
pub(crate) fn clock_time(at: WallTime, digits: usize) -> String {
    let day = at.unix_seconds().rem_euclid(24 * 60 * 60);
    let (hours, minutes, seconds) = (day / 3_600, day / 60 % 60, day % 60);
    let fraction = format!(".{:09}", at.subsec_nanos());
    let fraction = if digits == 0 { "" } else { fraction.get(..=digits).unwrap_or(&fraction) };
    format!("{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// A time in protobuf form.
pub(crate) fn timestamp(at: WallTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.unix_seconds(), nanos: at.subsec_nanos() }
}

/// A protobuf timestamp as a wall time.
pub(crate) fn wall(at: &prost_types::Timestamp) -> WallTime {
    WallTime::from_unix_seconds(at.seconds) + Duration::from_nanos(at.nanos.unsigned_abs().into())
}

/// The last second of the year 9999: RFC 3339 has no later one.
const END_OF_9999: i64 = 253_402_300_799;

/// A time in Unix seconds, clamped to the years 1970 to 9999.
pub(crate) fn stamp(at: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.clamp(0, END_OF_9999), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_day_is_in_utc() {
        let at = WallTime::from_unix_seconds(1_700_000_000) + Duration::from_millis(7);
        assert_eq!(clock_time(at, 0), "22:13:20");
        assert_eq!(clock_time(at, 3), "22:13:20.007");
        assert_eq!(clock_time(WallTime::from_unix_seconds(-1), 3), "23:59:59.000");
    }

    #[test]
    fn time_that_rfc_3339_cannot_hold_is_a_dash() {
        let at = |seconds, nanos| utc(Some(&prost_types::Timestamp { seconds, nanos }));
        assert_eq!(at(0, 7_000_000), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(END_OF_9999, 999_999_999), "9999-12-31T23:59:59.999Z");
        for (seconds, nanos) in [
            (-1, 0),
            (END_OF_9999 + 1, 0),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            assert_eq!(at(seconds, nanos), "-", "{seconds} {nanos}");
        }
    }
}
