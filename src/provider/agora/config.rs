//! The kind's own part of a profile's configuration.

use serde_json::{Value, json};

use super::services::Product;
use crate::settings::{SecretKeys, SecretOrigin, Section, SigningSecret};

const CERTIFICATE: SecretKeys = SecretKeys {
    file: "app_certificate_file",
    env: "app_certificate_env",
    value: "app_certificate",
};

/// Characters of an app's id and of its certificate.
const ID_CHARS: usize = 32;

/// What users are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A number.
    Uid,
    /// A name.
    Account,
}

impl User {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Account => "account",
        }
    }
}

/// What an `agora` profile says beside the keys that all kinds have.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) app_id: String,
    pub(super) certificate: SigningSecret,
    origin: SecretOrigin,
    /// In the order in which tokens have them, none twice.
    pub(super) services: Vec<Product>,
    pub(super) user: User,
}

impl Config {
    /// Reads the kind's keys; the services and what users are known by also where others of them
    /// are wrong.
    pub(super) fn read(section: &mut Section<'_>) -> (Vec<Product>, User, Option<Self>) {
        let app_id = section.required("app_id", parse_app_id);
        let certificate = section.secret(CERTIFICATE, parse_certificate);
        let services = read_services(section);
        let known = services.clone().unwrap_or_else(|| vec![Product::Rtc]);
        let user = read_user(section, &known);
        let known_user = user.unwrap_or(User::Account);
        let config = || {
            let (certificate, origin) = certificate?;
            Some(Self { app_id: app_id?, certificate, origin, services: services?, user: user? })
        };
        (known, known_user, config())
    }

    /// The keys as they may be shown: never the certificate, only where it is.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let services: Vec<_> = self.services.iter().map(|service| service.as_str()).collect();
        vec![
            ("app_id", json!(self.app_id)),
            (CERTIFICATE.value, json!(format!("(set, {})", self.origin))),
            ("services", json!(services)),
            ("identity_type", json!(self.user.as_str())),
        ]
    }
}

/// The services, in the order in which tokens have them.
fn read_services(section: &mut Section<'_>) -> Option<Vec<Product>> {
    if !section.has("services") {
        return Some(vec![Product::Rtc]);
    }
    let mut services = section.list("services", Product::parse)?;
    services.sort_unstable();
    let count = services.len();
    services.dedup();
    if services.len() < count {
        section.problem("services", "names a service twice");
        return None;
    }
    Some(services)
}

/// What users are known by: in a channel a number unless the profile says otherwise. Signaling
/// and Chat know names alone.
fn read_user(section: &mut Section<'_>, services: &[Product]) -> Option<User> {
    let has_channel = services.contains(&Product::Rtc);
    if !section.has("identity_type") {
        return Some(if has_channel { User::Uid } else { User::Account });
    }
    let user = section.parsed("identity_type", parse_user)?;
    if user == User::Uid && !has_channel {
        section.problem("identity_type", "must be \"account\": only \"rtc\" knows users by number");
        return None;
    }
    Some(user)
}

fn parse_user(text: &str) -> Result<User, &'static str> {
    let known = [User::Uid, User::Account].into_iter().find(|user| user.as_str() == text);
    known.ok_or("is \"uid\", for users that are known by a number, or \"account\", by a name")
}

fn parse_app_id(text: &str) -> Result<String, &'static str> {
    let id = is_id(text).then(|| text.to_owned());
    id.ok_or("is no app's id: 32 hexadecimal digits, as Agora's console shows them")
}

/// A certificate signs as the text that it is, though it looks like bytes.
fn parse_certificate(text: &str) -> Result<SigningSecret, String> {
    let secret = SigningSecret::parse(text).map_err(|error| error.to_string())?;
    if is_id(secret.expose()) {
        Ok(secret)
    } else {
        Err("is no app certificate: 32 hexadecimal digits, as Agora's console shows them".into())
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|it| it.is_ascii_hexdigit())
}
