//! The grants of the emulated endpoint, and their specific fault bodies.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    provider::twilio::ids::{AccountSid, PlayerStreamerSid},
    sandbox::{Answer, AnswerContext, Flaw, Random},
};

/// The depth of a nested body.
const NESTED: usize = 10_000;

/// The fault bodies specific to these grants.
pub(super) const BODIES: [&str; 8] = [
    GRANT_NULL,
    GRANT_STRING,
    GRANT_MISSING,
    WRONG_SID,
    WRONG_STREAMER,
    WRONG_ACCOUNT,
    DUPLICATE,
    NESTED_GRANT,
];

/// `grant` is null.
const GRANT_NULL: &str = "grant-null";

/// `grant` is a string, as the upstream's guide prints it.
const GRANT_STRING: &str = "grant-string";

/// `grant` is missing.
const GRANT_MISSING: &str = "grant-missing";

/// `sid` belongs to another resource.
const WRONG_SID: &str = "wrong-sid";

/// `grant.playerStreamerSid` belongs to another resource.
const WRONG_STREAMER: &str = "wrong-streamer";

/// `account_sid` belongs to another account.
const WRONG_ACCOUNT: &str = "wrong-account";

/// `grant` is present twice; the first belongs to another resource.
const DUPLICATE: &str = "duplicate";

/// A member of `grant` is nested [`NESTED`] levels deep.
const NESTED_GRANT: &str = "nested";

/// The grant to issue.
pub(super) struct Granted {
    /// The requested URL.
    pub(super) url: String,
    pub(super) account: AccountSid,
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
    /// A grant written before the real one under the same key.
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

/// The claims of a playback token as named by Amazon IVS, and `iat`; `jti` makes each token unique.
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

impl Granted {
    /// The response with the grant and the context's flaw.
    pub(super) fn answer(&self, context: &mut AnswerContext<'_>) -> Answer {
        let bad = match context.flaw {
            Flaw::Body(body) => body,
            _ => "",
        };
        let now = context.now.unix_seconds();
        let playback_url = self.playback_url(now, context.random);
        let streamer = self.streamer.as_str();
        let (other_streamer, other_account) =
            (other("VJ", streamer), other("AC", self.account.as_str()));
        let object = |player_streamer_sid, nested| Grant::Object {
            playback_url: &playback_url,
            player_streamer_sid,
            request_credentials: None,
            nested,
        };
        let grant = match bad {
            GRANT_NULL => Grant::Null,
            GRANT_STRING => Grant::Text("<the playback grant>"),
            WRONG_STREAMER => object(&other_streamer, None),
            NESTED_GRANT => object(streamer, nested()),
            _ => object(streamer, None),
        };
        let others = object(&other_streamer, None);
        let created = UNIX_EPOCH + Duration::from_secs(now.try_into().unwrap_or(0));
        let body = Body {
            sid: if bad == WRONG_SID { &other_streamer } else { streamer },
            url: &self.url,
            account_sid: match bad {
                WRONG_ACCOUNT => &other_account,
                _ => self.account.as_str(),
            },
            date_created: humantime::format_rfc3339_seconds(created).to_string(),
            before: (bad == DUPLICATE).then_some(&others),
            grant: (bad != GRANT_MISSING).then_some(&grant),
        };
        Answer::json(StatusCode::CREATED, &body).granting(playback_url)
    }

    /// A playback URL with a token in the form of Amazon IVS; its signature is random.
    fn playback_url(&self, now: i64, random: &mut Random) -> String {
        // Twelve digits name the customer, and twelve the channel.
        let digits = |sid: &str| sid.get(2..14).unwrap_or("0123456789ab").to_owned();
        let (host, channel) = (digits(self.account.as_str()), digits(self.streamer.as_str()));
        let life = i64::try_from(self.life.as_secs()).unwrap_or(0);
        let claims = Claims {
            channel: format!("arn:aws:ivs:us-east-1:123456789012:channel/{channel}"),
            allow_origin: self.allow_origin.as_deref(),
            iat: now,
            exp: now.saturating_add(life),
            jti: random.hex(),
        };
        let mut signature = [0; 96];
        random.fill(&mut signature);
        format!(
            "https://{host}.us-east-1.playback.live-video.net/api/video/v1/\
             us-east-1.123456789012.channel.{channel}.m3u8?token={}.{}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES384","typ":"JWT"}"#),
            // Strings and numbers always serialize.
            BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default()),
            BASE64_URL_SAFE_NO_PAD.encode(signature),
        )
    }
}

/// Nested arrays, deeper than a recursive parser supports.
fn nested() -> Option<Box<RawValue>> {
    RawValue::from_string("[".repeat(NESTED) + &"]".repeat(NESTED)).ok()
}

/// A SID that is not `sid`.
fn other(prefix: &str, sid: &str) -> String {
    let other = format!("{prefix}{}", "f".repeat(32));
    if other == sid { format!("{prefix}{}", "0".repeat(32)) } else { other }
}
