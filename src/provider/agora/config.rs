//! The kind's own configuration keys.

use serde_json::{Value, json};

use super::services::Product;
use crate::settings::{SecretKeys, SecretOrigin, Section, SigningSecret};

const CERTIFICATE: SecretKeys = SecretKeys {
    file: "app_certificate_file",
    env: "app_certificate_env",
    value: "app_certificate",
};

/// The length of an app ID and of a certificate.
const ID_CHARS: usize = 32;

/// How users are identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// By number.
    Uid,
    /// By name.
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

/// The own keys of an `agora` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) app_id: String,
    pub(super) certificate: SigningSecret,
    origin: SecretOrigin,
    /// In token order, without duplicates.
    pub(super) services: Vec<Product>,
    pub(super) user: User,
}

impl Config {
    /// Reads the kind's keys. The services and the form of user names are returned even if other
    /// keys are invalid.
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

    /// The keys for display, with the certificate's location in its place.
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

/// The services in token order.
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

/// How users are identified: in a channel by number unless the profile sets otherwise. Signaling
/// and Chat support only names.
fn read_user(section: &mut Section<'_>, services: &[Product]) -> Option<User> {
    let has_channel = services.contains(&Product::Rtc);
    if !section.has("identity_type") {
        return Some(if has_channel { User::Uid } else { User::Account });
    }
    let user = section.parsed("identity_type", parse_user)?;
    if user == User::Uid && !has_channel {
        section.problem(
            "identity_type",
            "must be \"account\": only \"rtc\" identifies users by number",
        );
        return None;
    }
    Some(user)
}

fn parse_user(text: &str) -> Result<User, &'static str> {
    let known = [User::Uid, User::Account].into_iter().find(|user| user.as_str() == text);
    known.ok_or("must be \"uid\" (users are identified by number) or \"account\" (by name)")
}

fn parse_app_id(text: &str) -> Result<String, &'static str> {
    let id = is_id(text).then(|| text.to_owned());
    id.ok_or("is not an app ID: 32 hexadecimal digits, as shown in Agora's console")
}

/// A certificate signs as a string, although it looks like hexadecimal bytes.
fn parse_certificate(text: &str) -> Result<SigningSecret, String> {
    let secret = SigningSecret::parse(text).map_err(|error| error.to_string())?;
    if is_id(secret.expose()) {
        Ok(secret)
    } else {
        Err("is not an app certificate: 32 hexadecimal digits, as shown in Agora's console".into())
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|it| it.is_ascii_hexdigit())
}
