//! The answers of the emulated endpoint: grants, documented errors, and what faults make of
//! them.

use std::{
    borrow::Cow,
    mem,
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    delivery::{Delivery, gzip},
    fault::BadBody,
};
use crate::provider::twilio_live::ids::PlayerStreamerSid;

/// The bytes of a huge body.
const HUGE: usize = 1024 * 1024;

/// How deep a nested body goes.
const NESTED: usize = 10_000;

/// A status, headers and a body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) delivery: Delivery,
    /// The playback URL, where a grant was given.
    pub(super) playback_url: Option<String>,
}

/// A refusal, by status, with a message where it is not the status's usual one.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: Option<&'static str>,
}

impl Refusal {
    pub(super) const BAD_TTL: Self =
        Self { status: StatusCode::BAD_REQUEST, message: Some("Invalid Ttl") };
    pub(super) const UNKNOWN_USER: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        message: Some("Authentication Error - invalid username"),
    };
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self { status, message: None }
    }
}

/// What is to be granted.
pub(super) struct Granted {
    /// The URL that was asked.
    pub(super) url: String,
    pub(super) account: String,
    pub(super) streamer: PlayerStreamerSid,
    pub(super) allow_origin: Option<String>,
    pub(super) life: Duration,
}

#[derive(Serialize)]
struct Body<'a> {
    sid: &'a str,
    url: &'a str,
    account_sid: &'a str,
    date_created: String,
    /// What stands before the grant under the same key.
    #[serde(rename = "grant", skip_serializing_if = "Option::is_none")]
    before: Option<&'a Grant<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a Grant<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Grant<'a> {
    #[serde(rename_all = "camelCase")]
    Object {
        playback_url: &'a str,
        player_streamer_sid: &'a str,
        request_credentials: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        nested: Option<Box<RawValue>>,
    },
    Text(&'a str),
    Null,
}

/// The claims of a playback token, as Amazon IVS names them, and `iat`; `jti` makes each
/// token another.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "aws:channel-arn")]
    channel: String,
    #[serde(rename = "aws:access-control-allow-origin", skip_serializing_if = "Option::is_none")]
    allow_origin: Option<&'a str>,
    iat: i64,
    exp: i64,
    jti: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    more_info: String,
    status: u16,
}

impl Answer {
    /// A body said to be JSON.
    pub(super) fn json(status: StatusCode, body: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self::of(status, headers, body)
    }

    fn of(status: StatusCode, headers: HeaderMap, body: String) -> Self {
        let delivery = Delivery::Whole;
        Self { status, headers, body: body.into(), delivery, playback_url: None }
    }

    /// The documented answer of a refusal.
    pub(super) fn refusal(Refusal { status, message: own }: Refusal, path: &str) -> Self {
        let (code, message): (u32, Cow<'_, str>) = match status.as_u16() {
            400 => (20001, "Bad request".into()),
            401 => (20003, "Authenticate".into()),
            403 => (20403, "Forbidden".into()),
            404 => {
                let path = path.strip_prefix("/v1").unwrap_or(path);
                (20404, format!("The requested resource {path} was not found").into())
            }
            405 => (20004, "Method not allowed".into()),
            429 => (20429, "Too Many Requests".into()),
            500 => (20500, "An internal server error has occurred".into()),
            503 => (20503, "Service Unavailable".into()),
            _ => return Self::at_the_edge(status),
        };
        let mut answer = Self::error(status, code, own.unwrap_or(&message));
        match status.as_u16() {
            401 => {
                let basic = HeaderValue::from_static("Basic realm=\"Twilio API\"");
                answer.headers.insert(header::WWW_AUTHENTICATE, basic);
            }
            405 => {
                answer.headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        answer
    }

    /// A refusal by something before the API: HTML, or a redirect to elsewhere.
    fn at_the_edge(status: StatusCode) -> Self {
        let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        if status.is_redirection() {
            let elsewhere = HeaderValue::from_static("https://elsewhere.example/");
            headers.insert(header::LOCATION, elsewhere);
        }
        let body = format!("<html><head><title>{title}</title></head><body></body></html>");
        Self::of(status, headers, body)
    }

    fn error(status: StatusCode, code: u32, message: &str) -> Self {
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        let body = ErrorBody { code, message, more_info, status: status.as_u16() };
        Self::json(status, json(&body))
    }

    /// What a fault of status answers.
    pub(super) fn status(
        status: StatusCode,
        path: &str,
        retry_after: Option<HeaderValue>,
        body: Option<&str>,
    ) -> Self {
        let mut answer = Self::refusal(status.into(), path);
        if let Some(body) = body {
            answer.body = Bytes::copy_from_slice(body.as_bytes());
        }
        if let Some(retry_after) = retry_after {
            answer.headers.insert(header::RETRY_AFTER, retry_after);
        }
        answer
    }

    /// A grant, or what `bad` makes of it; `now` is in Unix seconds.
    pub(super) fn granted(
        status: StatusCode,
        granted: &Granted,
        bad: Option<&BadBody>,
        now: i64,
        random: &mut fastrand::Rng,
    ) -> Self {
        let streamer = granted.streamer.as_str();
        let (other_streamer, other_account) =
            (other("VJ", streamer), other("AC", &granted.account));
        let playback_url = playback_url(granted, now, random);
        let object = |player_streamer_sid, nested| Grant::Object {
            playback_url: &playback_url,
            player_streamer_sid,
            request_credentials: None,
            nested,
        };
        let grant = match bad {
            Some(BadBody::GrantNull) => Grant::Null,
            Some(BadBody::GrantString) => Grant::Text("<the playback grant>"),
            Some(BadBody::WrongStreamer) => object(&other_streamer, None),
            Some(BadBody::Nested) => object(streamer, nested()),
            _ => object(streamer, None),
        };
        let others = object(&other_streamer, None);
        let created = UNIX_EPOCH + Duration::from_secs(now.try_into().unwrap_or(0));
        let body = json(&Body {
            sid: if bad == Some(&BadBody::WrongSid) { &other_streamer } else { streamer },
            url: &granted.url,
            account_sid: match bad {
                Some(BadBody::WrongAccount) => &other_account,
                _ => &granted.account,
            },
            date_created: humantime::format_rfc3339_seconds(created).to_string(),
            before: (bad == Some(&BadBody::Duplicate)).then_some(&others),
            grant: (bad != Some(&BadBody::GrantMissing)).then_some(&grant),
        });
        let answer = Self::json(status, body);
        match bad {
            None => Self { playback_url: Some(playback_url), ..answer },
            Some(bad) => answer.spoilt(bad),
        }
    }

    /// What a fault makes of a body that says what it should.
    fn spoilt(mut self, bad: &BadBody) -> Self {
        match bad {
            BadBody::Truncated => {
                let token = self.body.windows(7).position(|text| text == b"?token=");
                self.body.truncate(token.unwrap_or_default());
            }
            BadBody::Huge => {
                let mut body = Vec::from(mem::take(&mut self.body));
                body.resize(HUGE, b' ');
                self.body = body.into();
            }
            BadBody::Gzip => {
                self.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                self.body = gzip(&self.body).into();
            }
            BadBody::Endless => self.delivery = Delivery::Endless,
            BadBody::Slow | BadBody::Cut => {
                self.headers.insert(header::CONTENT_LENGTH, self.body.len().into());
                let slow = *bad == BadBody::Slow;
                self.delivery = if slow { Delivery::Slow } else { Delivery::Cut };
            }
            _ => {}
        }
        self
    }
}

/// Arrays in arrays, deeper than a parser by recursion may go.
fn nested() -> Option<Box<RawValue>> {
    RawValue::from_string("[".repeat(NESTED) + &"]".repeat(NESTED)).ok()
}

/// A playback URL with a token of the shape that Amazon IVS has; its signature is random.
fn playback_url(granted: &Granted, now: i64, random: &mut fastrand::Rng) -> String {
    // Twelve digits name the customer, and twelve the channel.
    let digits = |sid: &str| sid.get(2..14).unwrap_or("0123456789ab").to_ascii_lowercase();
    let (host, channel) = (digits(&granted.account), digits(granted.streamer.as_str()));
    let life = i64::try_from(granted.life.as_secs()).unwrap_or(0);
    let claims = Claims {
        channel: format!("arn:aws:ivs:us-east-1:123456789012:channel/{channel}"),
        allow_origin: granted.allow_origin.as_deref(),
        iat: now,
        exp: now.saturating_add(life),
        jti: format!("{:032x}", random.u128(..)),
    };
    let mut signature = [0; 96];
    random.fill(&mut signature);
    format!(
        "https://{host}.us-east-1.playback.live-video.net/api/video/v1/\
         us-east-1.123456789012.channel.{channel}.m3u8?token={}.{}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES384","typ":"JWT"}"#),
        BASE64_URL_SAFE_NO_PAD.encode(json(&claims)),
        BASE64_URL_SAFE_NO_PAD.encode(signature),
    )
}

/// A SID that is not `sid`.
fn other(prefix: &str, sid: &str) -> String {
    let other = format!("{prefix}{}", "f".repeat(32));
    if other.eq_ignore_ascii_case(sid) { format!("{prefix}{}", "0".repeat(32)) } else { other }
}

/// What is serialised here has text keys and no failing parts: it always is JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
