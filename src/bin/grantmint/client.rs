//! What all commands that call a server share: flags, the connection, times.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};
use grantmint::{clock::WallTime, rpc::proto, token::params::MAX_EXACT};
use http::Uri;
use serde_json::Value;
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Endpoint};

use crate::{
    bearer::{Bearer, Connection},
    dial::{TlsArgs, socket_failure, tls_failure, unusable},
};

/// Flow control windows that never stall a bulk stream.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// One chunk of a bulk call fits into a frame of this size, and so into one read.
const FRAME: u32 = 128 * 1024;

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
    server: ServerUrl,
    /// A file with the bearer token to send; read again as calls are made
    #[arg(long, value_name = "FILE", env = "GRANTMINT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// The URL of a server.
#[derive(Clone, Debug)]
pub(crate) struct ServerUrl(String);

/// An invalid server URL. The error never repeats the input, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerUrlError {
    #[error("is not a server URL; expected the form http://127.0.0.1:50051 or 127.0.0.1:50051")]
    Form,
    #[error("has no port; expected host:port, such as localhost:50051")]
    NoPort,
    #[error("has no host; expected host:port, such as localhost:50051")]
    NoHost,
    #[error("needs a port from 1 to 65535, such as localhost:50051")]
    BadPort,
    #[error("is an IPv6 address without brackets; expected the form [::1]:50051")]
    NoBrackets,
    #[error(
        "has an unsupported scheme; expected https://host:port, http:// on loopback, or \
         unix:/path/of/the.sock"
    )]
    Scheme,
    #[error("has no socket path; expected the form unix:/run/grantmint/api.sock")]
    NoSocket,
    #[error("must not have a host before the socket path; expected unix:/run/grantmint/api.sock")]
    SocketHost,
    #[error("must not contain a user name or password")]
    Credential,
    #[error("must not have a path, query or fragment; expected https://host:port")]
    MoreThanAHost,
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        let text = without_resolver(text);
        if let Some(path) = text.strip_prefix(UNIX) {
            let path = match path.strip_prefix("//") {
                Some(rest) if !rest.starts_with('/') => return Err(ServerUrlError::SocketHost),
                Some(rest) => rest,
                None => path,
            };
            if path.is_empty() {
                return Err(ServerUrlError::NoSocket);
            }
            if path.starts_with("//") {
                return Err(ServerUrlError::SocketHost);
            }
            return Ok(Self(format!("{UNIX}{path}")));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let has_scheme = !scheme.is_empty();
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "" | "http" => "http",
            "https" => "https",
            _ => return Err(ServerUrlError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(ServerUrlError::Credential);
        }
        if authority.contains(['/', '?', '#']) {
            return Err(ServerUrlError::MoreThanAHost);
        }
        if authority.matches(':').count() > 1 && !authority.starts_with('[') {
            return Err(ServerUrlError::NoBrackets);
        }
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
                if !is_port || port.parse::<u16>().unwrap_or_default() == 0 {
                    return Err(ServerUrlError::BadPort);
                }
                host
            }
            _ if !authority.is_empty() && authority.bytes().all(|it| it.is_ascii_digit()) => "",
            _ if !has_scheme && !authority.is_empty() => return Err(ServerUrlError::NoPort),
            _ => authority,
        };
        if host.is_empty() && !authority.is_empty() {
            return Err(ServerUrlError::NoHost);
        }
        let url = format!("{scheme}://{authority}");
        let uri: Uri = url.parse().map_err(|_| ServerUrlError::Form)?;
        uri.host().filter(|host| !host.is_empty()).ok_or(ServerUrlError::Form)?;
        Ok(Self(url))
    }
}

/// The prefix of a Unix socket's URL.
const UNIX: &str = "unix:";

impl ServerUrl {
    /// The path, if it is a Unix socket.
    fn socket(&self) -> Option<&Path> {
        self.0.strip_prefix(UNIX).map(Path::new)
    }
}

/// A target without the resolver prefix of gRPC clients: names and addresses are resolved here
/// in any case.
fn without_resolver(text: &str) -> &str {
    let resolvers = ["dns:///", "passthrough:///", "dns:", "ipv4:", "ipv6:"];
    let rests = resolvers.iter().filter_map(|resolver| text.strip_prefix(resolver));
    // The name of a host may be that of a resolver.
    rests.into_iter().find(|rest| rest.contains(':')).unwrap_or(text)
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServerArgs {
    /// The server's URL.
    pub(crate) fn url(&self) -> &str {
        &self.server.0
    }

    /// Connects to the server.
    pub(crate) async fn connect(&self) -> Result<Connection, Status> {
        let bearer = Bearer::of(self.token_file.as_deref())?;
        let endpoint = Endpoint::from_shared(self.server.0.clone())
            .map_err(|_| Status::invalid_argument(ServerUrlError::Form.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10));
        if let Some(path) = self.server.socket() {
            // tonic sets the authority of these calls to "tonic", since a path cannot be one.
            let connected =
                endpoint.connect().await.map_err(|error| match socket_failure(path, &error) {
                    Some(failure) => unusable(failure),
                    None => Status::unavailable(format!("cannot connect to {}", self.server)),
                });
            return Ok(InterceptedService::new(connected?, bearer));
        }
        let connected =
            match self.tls.dialer(endpoint.uri(), self.token_file.is_some()).map_err(unusable)? {
                None => endpoint.connect().await,
                Some(dialer) => endpoint.connect_with_connector(dialer).await,
            };
        let channel = connected.map_err(|error| match tls_failure(&error) {
            Some(failure) => unusable(failure),
            None => Status::unavailable(format!("cannot connect to {}", self.server)),
        })?;
        Ok(InterceptedService::new(channel, bearer))
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

/// A timestamp as RFC 3339 in UTC; a dash if unknown.
pub(crate) fn utc(at: Option<&prost_types::Timestamp>) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let since = Duration::new(at.seconds.unsigned_abs(), at.nanos.unsigned_abs());
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

/// A time in Unix seconds, clamped to the years 1970 to 9999.
pub(crate) fn stamp(at: i64) -> prost_types::Timestamp {
    const END_OF_9999: i64 = 253_402_300_799;
    prost_types::Timestamp { seconds: at.clamp(0, END_OF_9999), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_of_other_grpc_clients_are_accepted() {
        for (text, url) in [
            ("localhost:50051", "http://localhost:50051"),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("[::1]:50051", "http://[::1]:50051"),
            ("HTTP://mint:50051/", "http://mint:50051"),
            ("dns:///mint:50051", "http://mint:50051"),
            (" http://mint ", "http://mint"),
            ("HTTPS://mint:50051/", "https://mint:50051"),
            ("https://mint", "https://mint"),
            ("dns:mint:50051", "http://mint:50051"),
            ("ipv6:[::1]:50051", "http://[::1]:50051"),
            ("dns:50051", "http://dns:50051"),
            ("unix:/run/api.sock", "unix:/run/api.sock"),
            ("unix:///run/api.sock", "unix:/run/api.sock"),
            ("unix:api.sock", "unix:api.sock"),
        ] {
            let parsed = text.parse::<ServerUrl>().map(|url| url.to_string());
            assert_eq!(parsed.as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn invalid_server_url_is_refused_without_repeating_it() {
        let password = "q1W2e3R4";
        for (text, error) in [
            ("http://host:1/foo", ServerUrlError::MoreThanAHost),
            ("http://host:1?x=1", ServerUrlError::MoreThanAHost),
            ("host:1#x", ServerUrlError::MoreThanAHost),
            ("http://user:q1W2e3R4@host:1", ServerUrlError::Credential),
            ("grpc://host:1", ServerUrlError::Scheme),
            ("localhost", ServerUrlError::NoPort),
            ("[::1]", ServerUrlError::NoPort),
            (":50051", ServerUrlError::NoHost),
            ("50051", ServerUrlError::NoHost),
            ("::1", ServerUrlError::NoBrackets),
            ("::1:50051", ServerUrlError::NoBrackets),
            ("unix:", ServerUrlError::NoSocket),
            ("unix://", ServerUrlError::SocketHost),
            ("unix://host/run/api.sock", ServerUrlError::SocketHost),
            ("unix:////host/run/api.sock", ServerUrlError::SocketHost),
            ("host:port", ServerUrlError::BadPort),
            ("host:65536", ServerUrlError::BadPort),
            ("host:+80", ServerUrlError::BadPort),
            ("host:0", ServerUrlError::BadPort),
            ("http://", ServerUrlError::Form),
            ("a b:1", ServerUrlError::Form),
            ("", ServerUrlError::Form),
        ] {
            assert_eq!(text.parse::<ServerUrl>().err(), Some(error), "{text}");
            assert!(!error.to_string().contains(password));
        }
    }

    #[test]
    fn time_of_day_is_in_utc() {
        let at = WallTime::from_unix_seconds(1_700_000_000) + Duration::from_millis(7);
        assert_eq!(clock_time(at, 0), "22:13:20");
        assert_eq!(clock_time(at, 3), "22:13:20.007");
        assert_eq!(clock_time(WallTime::from_unix_seconds(-1), 3), "23:59:59.000");
    }
}
