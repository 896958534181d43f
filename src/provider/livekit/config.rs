//! The kind's own part of a profile's configuration.

use serde_json::{Map, Value, json};

use crate::{
    provider::read_nbf_backdate,
    settings::{SecretError, SecretKeys, SecretOrigin, Section, SigningSecret, unknown_key},
    token::params::{Parameter, Shape},
};

const SECRET: SecretKeys =
    SecretKeys { file: "api_secret_file", env: "api_secret_env", value: "api_secret" };

/// LiveKit's server refuses larger metadata and attributes unless it is configured otherwise.
const MAX_TEXT_BYTES: usize = 64_000;

/// Where a participant's media come from.
const SOURCES: [&str; 4] = ["camera", "microphone", "screen_share", "screen_share_audio"];

/// A right or a description of a participant.
const fn parameter(name: &'static str, path: &'static [&'static str], shape: Shape) -> Parameter {
    Parameter { name, path, shape }
}

/// What a token may say of a participant, beside the room and the identity.
pub(super) static PARAMETERS: [Parameter; 11] = [
    parameter("name", &["name"], Shape::Text(256)),
    parameter("metadata", &["metadata"], Shape::Text(MAX_TEXT_BYTES)),
    parameter("attributes", &["attributes"], Shape::Texts(MAX_TEXT_BYTES)),
    parameter("can_publish", &["video", "canPublish"], Shape::Flag),
    parameter("can_subscribe", &["video", "canSubscribe"], Shape::Flag),
    parameter("can_publish_data", &["video", "canPublishData"], Shape::Flag),
    // An empty list would restrict nothing: `can_publish = false` denies.
    parameter("can_publish_sources", &["video", "canPublishSources"], Shape::Some(&SOURCES)),
    parameter("can_update_own_metadata", &["video", "canUpdateOwnMetadata"], Shape::Flag),
    parameter("can_subscribe_metrics", &["video", "canSubscribeMetrics"], Shape::Flag),
    parameter("hidden", &["video", "hidden"], Shape::Flag),
    parameter("room_admin", &["video", "roomAdmin"], Shape::Flag),
];

/// What a `livekit` profile says beside the keys that all kinds have.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) api_key: String,
    pub(super) api_secret: SigningSecret,
    api_secret_origin: SecretOrigin,
    /// How many seconds before its issue a token's `nbf` lies.
    pub(super) nbf_backdate: u32,
    /// Whether a token may be for no room, and so for all.
    pub(super) allow_unscoped: bool,
    allow_weak_secret: bool,
    /// The values that all tokens have.
    pub(super) params: Map<String, Value>,
    /// What calls may set.
    pub(super) caller_params: Vec<&'static str>,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let api_key = section.required("api_key", parse_api_key);
        let allow_weak_secret = section.flag("allow_weak_secret").unwrap_or(false);
        let parse = |text: &str| match SigningSecret::parse(text) {
            Err(_) if allow_weak_secret => {
                SigningSecret::parse_weak(text).map_err(|error| error.to_string())
            }
            Err(error @ (SecretError::TooShort | SecretError::Repeated)) => {
                Err(format!("{error}; a development server's needs allow_weak_secret = true"))
            }
            parsed => parsed.map_err(|error| error.to_string()),
        };
        let secret = section.secret(SECRET, parse);
        let nbf_backdate = read_nbf_backdate(section);
        let allow_unscoped = section.flag("allow_unscoped").unwrap_or(false);
        let params = if section.has("params") { read_params(section) } else { Some(Map::new()) };
        let caller_params = section.list_or_empty("caller_params", parse_name);
        let (api_secret, api_secret_origin) = secret?;
        Some(Self {
            api_key: api_key?,
            api_secret,
            api_secret_origin,
            nbf_backdate: nbf_backdate.unwrap_or(0),
            allow_unscoped,
            allow_weak_secret,
            params: params?,
            caller_params: caller_params?,
        })
    }

    /// The keys as they may be shown: never a secret, only where it is.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let secret = format!("(set, {})", self.api_secret_origin);
        let mut keys = vec![("api_key", json!(self.api_key)), (SECRET.value, json!(secret))];
        let flags = [
            ("allow_weak_secret", self.allow_weak_secret),
            ("allow_unscoped", self.allow_unscoped),
        ];
        keys.extend(flags.into_iter().filter(|(_, set)| *set).map(|(key, set)| (key, json!(set))));
        if self.nbf_backdate > 0 {
            keys.push(("nbf_backdate", json!(format!("{}s", self.nbf_backdate))));
        }
        if !self.params.is_empty() {
            keys.push(("params", json!(self.params)));
        }
        if !self.caller_params.is_empty() {
            keys.push(("caller_params", json!(self.caller_params)));
        }
        keys
    }
}

fn parse_api_key(text: &str) -> Result<String, &'static str> {
    if (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("is not an API key: up to 256 ASCII characters without white space")
    }
}

/// The name of a parameter.
fn parse_name(text: &str) -> Result<&'static str, String> {
    let names = PARAMETERS.map(|parameter| parameter.name);
    names.into_iter().find(|name| *name == text).ok_or_else(|| unknown_key(text, &names))
}

/// The constants of a profile, each of its parameter's shape; none where one is not.
fn read_params(section: &mut Section<'_>) -> Option<Map<String, Value>> {
    let params: Map<String, Value> = section.deserialized("params")?;
    let mut all_fit = true;
    for (name, value) in &params {
        let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name);
        let problem = match parameter {
            Some(parameter) => parameter.shape.check(value).err(),
            None => Some(unknown_key(name, &PARAMETERS.map(|parameter| parameter.name))),
        };
        if let Some(problem) = problem {
            section.problem("params", format!("{}: {problem}", name.escape_debug()));
            all_fit = false;
        }
    }
    all_fit.then_some(params)
}
