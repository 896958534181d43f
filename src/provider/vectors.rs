//! The tokens that vendors' own libraries made of public test keys, each beside the profile and
//! the call that make the same here.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The keys that the libraries signed with. They belong to no account.
const KEYS: &str = include_str!("../../tests/vectors/kind_keys.json");

/// What a vendor's library made of its inputs, or that it refused them.
#[derive(Clone, Debug)]
pub struct Vector {
    /// What it shows, and by which library, such as `minimal@mux-node-15.3.0`.
    pub id: String,
    /// What comes of the same inputs here.
    pub case: Case,
}

/// What comes of a vector's inputs here.
#[derive(Clone, Debug)]
pub enum Case {
    /// The same token, in each of these ways.
    Minted {
        /// At least one.
        ways: Vec<Way>,
        /// The library's.
        token: Box<Token>,
    },
    /// A refusal.
    Refused {
        /// What is refused.
        way: Way,
        /// Words of the refusal.
        told: &'static str,
        /// Why it is refused here, where the library makes a token.
        alone: Option<&'static str>,
    },
    /// Nothing: why no profile can mean it.
    LeftOut(&'static str),
}

/// A profile, and what a call of it asks for.
#[derive(Clone, Debug)]
pub struct Way {
    /// A configuration of this one profile, whose secrets are in variables of the environment.
    pub profile: String,
    /// What all of those variables hold. It belongs to no account.
    pub secret: String,
    /// The call.
    pub ask: Ask,
}

/// What a call asks for, and when.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// When, in Unix seconds.
    pub now: i64,
    /// The token's life in seconds; none for the profile's.
    pub ttl: Option<i64>,
    /// Whose token it is; none where no claim says that.
    pub identity: Option<String>,
    /// What the token is for; none for nothing.
    pub resource: Option<String>,
    /// The parameters.
    pub params: Vec<(String, Value)>,
    /// The grant that the upstream gave; none of kinds without one.
    pub grant: Option<String>,
}

/// A token that a vendor's library made.
#[derive(Clone, Debug)]
pub struct Token {
    /// As it is handed out.
    pub text: String,
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// The claims that differ from token to token. The token's id is in one of them, where it
    /// has one.
    pub random: &'static [&'static str],
    /// Brings claims that mean the same into one form, theirs and ours.
    pub normalise: fn(&mut Map<String, Value>),
    /// What was changed in it, because ours differ there on purpose.
    pub but: Option<&'static str>,
    /// How it is read, and its signature checked.
    pub signed: Signed,
}

/// How a token is read, and its signature checked.
#[derive(Clone, Debug)]
pub enum Signed {
    /// A JWT, by the profile's secret.
    Secret,
    /// A JWT, by this public key in PEM.
    Public(String),
    /// In the kind's own form: what it holds, where the secret signed it.
    Own(fn(token: &str, secret: &str) -> Option<Map<String, Value>>),
}

/// What is built in cannot be read: it was damaged.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// A file is not of its form.
    #[error("the vectors that are built in are not of their form: {0}")]
    Form(#[from] serde_json::Error),
    /// Something is not there.
    #[error("the vectors that are built in lack {0}")]
    Missing(&'static str),
}

/// One of the test keys, such as `/mux/private_key_base64`.
pub(super) fn key(pointer: &'static str) -> Result<String, VectorError> {
    let keys: Value = serde_json::from_str(KEYS)?;
    let key = keys.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    key.ok_or(VectorError::Missing(pointer))
}

/// The vectors of a file.
pub(super) fn read<I: DeserializeOwned>(text: &str) -> Result<Vec<Recorded<I>>, VectorError> {
    Ok(serde_json::from_str(text)?)
}

/// A vector as its file has it.
#[derive(Deserialize)]
pub(super) struct Recorded<I = Inputs> {
    pub(super) id: String,
    pub(super) inputs: I,
    #[serde(default)]
    header: Map<String, Value>,
    /// None where the library refused.
    #[serde(alias = "fields")]
    claims: Option<Map<String, Value>>,
    #[serde(alias = "token")]
    jwt: Option<String>,
}

/// What a vendor's library was given.
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
    /// They as a call that sets no parameter.
    pub(super) fn ask(&self) -> Ask {
        Ask {
            now: self.now,
            // The libraries take no life for their default.
            ttl: self.ttl_seconds.filter(|ttl| *ttl > 0),
            identity: self.identity.clone(),
            resource: self.resource.clone(),
            ..Ask::default()
        }
    }
}

impl<I> Recorded<I> {
    /// What it shows: its id without the library.
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
            normalise: |_| {},
            but: None,
            signed,
        })
    }

    pub(super) fn minted(self, ways: Vec<Way>, token: Token) -> Vector {
        Vector { id: self.id, case: Case::Minted { ways, token: Box::new(token) } }
    }

    /// `alone`: why, where the library makes a token.
    pub(super) fn refused(
        self,
        way: Way,
        told: &'static str,
        alone: Option<&'static str>,
    ) -> Vector {
        Vector { id: self.id, case: Case::Refused { way, told, alone } }
    }

    pub(super) fn left_out(self, why: &'static str) -> Vector {
        Vector { id: self.id, case: Case::LeftOut(why) }
    }
}

impl Token {
    /// Adds the `typ` that ours have.
    pub(super) fn with_typ(mut self) -> Self {
        self.header.entry("typ").or_insert_with(|| {
            self.but = Some("no typ in the header, which ours have");
            "JWT".into()
        });
        self
    }
}

/// A text in quotes, as TOML has it too.
pub(super) fn quoted(text: Option<&str>) -> String {
    Value::from(text.unwrap_or_default()).to_string()
}

/// A value as TOML writes it on one line.
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

/// A name such as `canPublish` as parameters have it: `can_publish`.
pub(super) fn in_snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, character| {
        if character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
        text
    })
}
