//! The tokens that vendors' own libraries made with public test keys, each with the profile and the
//! call that must produce the same token.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The test keys of the libraries. They belong to no account.
const KEYS: &str = include_str!("../../tests/vectors/kind_keys.json");

/// The output of a vendor's library for its inputs, or its refusal.
#[derive(Clone, Debug)]
pub struct Vector {
    /// The name of the case and the library, such as `minimal@mux-node-15.3.0`.
    pub id: String,
    /// The expected result of the same inputs here.
    pub case: Case,
}

/// The expected result of a vector's inputs here.
#[derive(Clone, Debug)]
pub enum Case {
    /// The same token, by each of these requests.
    Minted {
        /// One or more.
        setups: Vec<Setup>,
        /// The library's token.
        token: Box<Token>,
    },
    /// A refusal.
    Refused {
        /// The refused request.
        setup: Setup,
        /// A part of the message.
        message: &'static str,
        /// Why it is refused here although the library makes a token.
        ours_only: Option<&'static str>,
    },
    /// No result: why no profile can express it.
    Skipped(&'static str),
}

/// A profile and a request for one of its tokens.
#[derive(Clone, Debug)]
pub struct Setup {
    /// A configuration with this one profile; its secrets are in environment variables.
    pub profile: String,
    /// The value of all these variables. It belongs to no account.
    pub secret: String,
    /// The request.
    pub request: MintRequest,
}

/// A request for a token, and its time.
#[derive(Clone, Debug, Default)]
pub struct MintRequest {
    /// The time in Unix seconds.
    pub now: i64,
    /// The token's life in seconds; `None` means the profile's default.
    pub ttl: Option<i64>,
    /// The identity; `None` if no claim contains it.
    pub identity: Option<String>,
    /// The resource, if any.
    pub resource: Option<String>,
    /// The parameters.
    pub params: Vec<(String, Value)>,
    /// The upstream's grant; `None` for kinds without one.
    pub grant: Option<String>,
}

/// A token made by a vendor's library.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token as issued.
    pub text: String,
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// The claims that differ from token to token, including the token ID, if any.
    pub random: &'static [&'static str],
    /// Brings claims with the same meaning, theirs and ours, into one form.
    pub normalize: fn(&mut Map<String, Value>),
    /// What was adjusted because our tokens differ on purpose.
    pub adjusted: Option<&'static str>,
    /// How it is parsed and its signature verified.
    pub signed: Signed,
}

/// How a token is parsed and its signature verified.
#[derive(Clone, Debug)]
pub enum Signed {
    /// A JWT, with the profile's secret.
    Secret,
    /// A JWT, with this public key in PEM.
    Public(String),
    /// In the kind's own form: returns its content if the secret signed it.
    Own(fn(token: &str, secret: &str) -> Option<Map<String, Value>>),
}

/// The built-in data is damaged.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// A file has the wrong form.
    #[error("the built-in vectors have the wrong form: {0}")]
    Form(#[from] serde_json::Error),
    /// An entry is missing.
    #[error("the built-in vectors lack {0}")]
    Missing(&'static str),
}

/// A test key, such as `/mux/private_key_base64`.
pub(super) fn key(pointer: &'static str) -> Result<String, VectorError> {
    let keys: Value = serde_json::from_str(KEYS)?;
    let key = keys.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    key.ok_or(VectorError::Missing(pointer))
}

/// The vectors in a file.
pub(super) fn read<I: DeserializeOwned>(text: &str) -> Result<Vec<Recorded<I>>, VectorError> {
    Ok(serde_json::from_str(text)?)
}

/// A vector as recorded in its file.
#[derive(Deserialize)]
pub(super) struct Recorded<I = Inputs> {
    pub(super) id: String,
    pub(super) inputs: I,
    #[serde(default)]
    header: Map<String, Value>,
    /// `None` if the library refused.
    #[serde(alias = "fields")]
    claims: Option<Map<String, Value>>,
    #[serde(alias = "token")]
    jwt: Option<String>,
}

/// The inputs of a vendor's library.
#[derive(Clone, Deserialize)]
pub(super) struct Inputs {
    pub(super) now: i64,
    pub(super) ttl_seconds: Option<i64>,
    pub(super) identity: Option<String>,
    pub(super) resource: Option<String>,
    #[serde(default)]
    pub(super) params: Map<String, Value>,
}

impl Inputs {
    /// The request with these inputs and no parameters.
    pub(super) fn request(&self) -> MintRequest {
        MintRequest {
            now: self.now,
            // A missing or zero life means the libraries' default.
            ttl: self.ttl_seconds.filter(|ttl| *ttl > 0),
            identity: self.identity.clone(),
            resource: self.resource.clone(),
            ..MintRequest::default()
        }
    }
}

impl<I> Recorded<I> {
    /// The name of the case: its ID without the library.
    pub(super) fn name(&self) -> &str {
        self.id.split_once('@').map_or(&*self.id, |(name, _)| name)
    }

    /// Whether the library refused.
    pub(super) const fn is_refused(&self) -> bool {
        self.claims.is_none()
    }

    /// The library's token.
    pub(super) fn token(&self, signed: Signed) -> Result<Token, VectorError> {
        Ok(Token {
            text: self.jwt.clone().ok_or(VectorError::Missing("a token"))?,
            header: self.header.clone(),
            claims: self.claims.clone().ok_or(VectorError::Missing("claims"))?,
            random: &[],
            normalize: |_| {},
            adjusted: None,
            signed,
        })
    }

    pub(super) fn minted(self, setups: Vec<Setup>, token: Token) -> Vector {
        Vector { id: self.id, case: Case::Minted { setups, token: Box::new(token) } }
    }

    /// `ours_only`: why, if the library makes a token.
    pub(super) fn refused(
        self,
        setup: Setup,
        message: &'static str,
        ours_only: Option<&'static str>,
    ) -> Vector {
        Vector { id: self.id, case: Case::Refused { setup, message, ours_only } }
    }

    pub(super) fn skipped(self, why: &'static str) -> Vector {
        Vector { id: self.id, case: Case::Skipped(why) }
    }
}

impl Token {
    /// Adds the `typ` of our tokens.
    pub(super) fn with_typ(mut self) -> Self {
        self.header.entry("typ").or_insert_with(|| {
            self.adjusted = Some("no typ in the header, which ours have");
            "JWT".into()
        });
        self
    }
}

/// A string in quotes, as in TOML.
pub(super) fn quoted(text: Option<&str>) -> String {
    Value::from(text.unwrap_or_default()).to_string()
}

/// A value in TOML, on one line.
pub(super) fn in_toml(value: &Value) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value {
        Value::Object(members) => format!("{{{}}}", joined(pairs(members).collect())),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(in_toml).collect())),
        value => value.to_string(),
    }
}

fn pairs(members: &Map<String, Value>) -> impl Iterator<Item = String> {
    members.iter().map(|(name, value)| format!("{} = {}", quoted(Some(name)), in_toml(value)))
}

/// The line of a profile that sets its parameters.
pub(super) fn params_line(params: Map<String, Value>) -> String {
    format!("params = {}", in_toml(&params.into()))
}

/// A name such as `canPublish` in a parameter's form: `can_publish`.
pub(super) fn in_snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, character| {
        if character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
        text
    })
}
