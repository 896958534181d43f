//! A parsed but unverified token (RFC 7515, RFC 7519).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, json::object};
use crate::{
    auth::{name::Subject, peer::Fingerprint},
    clock::WallTime,
};

/// The maximum size of a token in bytes.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// The last second of the year 9999. Later times are malformed.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The confirmation method for a certificate thumbprint (RFC 8705, section 3.1).
const CERTIFICATE: &str = "x5t#S256";

/// A well-formed token. Its content must not be trusted before its signature is verified.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// The key ID in the header.
    pub(super) kid: Option<String>,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) subject: Subject,
    pub(super) expires: WallTime,
    pub(super) not_before: Option<WallTime>,
    pub(super) issued_at: Option<WallTime>,
    pub(super) binding: Binding,
    /// The signed part.
    pub(super) signed: &'a str,
    /// The signature in base64url.
    pub(super) signature: &'a str,
}

/// The proof of possession that a token requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// None.
    None,
    /// The sender must hold the key of this certificate.
    Certificate(Fingerprint),
    /// A proof that is not supported.
    Unsupported,
}

impl<'a> Token<'a> {
    /// Parses a token; `None` if it is malformed.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(&decode(header)?)?;
        let claims = object(&decode(claims)?)?;
        if decode(signature)?.is_empty() || header.contains_key("crit") {
            return None;
        }
        let algorithm = Algorithm::parse(header.get("alg")?.as_str()?).ok()?;
        let kid = optional(&header, "kid", text_of).ok()?;
        let audiences = match claims.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all.iter().map(text_of).collect::<Option<_>>()?,
            Some(_) => return None,
        };
        Some(Self {
            algorithm,
            kid,
            issuer: text_of(claims.get("iss")?)?,
            audiences,
            subject: Subject::parse(claims.get("sub")?.as_str()?).ok()?,
            expires: time(claims.get("exp")?)?,
            not_before: optional(&claims, "nbf", time).ok()?,
            issued_at: optional(&claims, "iat", time).ok()?,
            binding: optional(&claims, "cnf", binding).ok()?.unwrap_or(Binding::None),
            signed,
            signature,
        })
    }
}

/// A member has the wrong type or value.
struct Malformed;

/// Reads an optional member.
fn optional<T>(
    members: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    match members.get(name) {
        None => Ok(None),
        Some(value) => read(value).map(Some).ok_or(Malformed),
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Seconds since 1970; a fraction is dropped.
fn time(value: &Value) -> Option<WallTime> {
    let seconds = value.as_f64().filter(|it| (0.0..=LAST_SECOND).contains(it))?;
    #[expect(clippy::cast_possible_truncation, reason = "it is within bounds")]
    Some(WallTime::from_unix_seconds(seconds as i64))
}

/// Parses a confirmation (RFC 7800). Only a single certificate thumbprint is supported.
fn binding(value: &Value) -> Option<Binding> {
    let members = value.as_object()?;
    let thumbprint = members.get(CERTIFICATE).and_then(Value::as_str).and_then(decode);
    let digest = thumbprint.and_then(|it| <[u8; 32]>::try_from(it).ok());
    Some(match digest {
        Some(digest) if members.len() == 1 => Binding::Certificate(Fingerprint::of_digest(digest)),
        _ => Binding::Unsupported,
    })
}

/// Decodes strict base64url: no padding, no white space, no trailing bits.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
    }

    const HEADER: &str = r#"{"alg":"ES256","kid":"1"}"#;

    fn claims(more: &Value) -> String {
        let mut claims = json!({"iss": "i", "aud": "a", "sub": "s", "exp": 1_000});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.to_string()
    }

    #[test]
    fn token_fields_are_parsed() {
        let text = token(HEADER, &claims(&json!({"aud": ["a", "b"], "nbf": 1.9, "iat": 3})));
        let token = Token::parse(&text).unwrap();
        assert_eq!((token.kid.as_deref(), &*token.issuer), (Some("1"), "i"));
        assert_eq!(token.audiences, ["a", "b"]);
        let at = WallTime::from_unix_seconds;
        assert_eq!(
            (token.expires, token.not_before, token.issued_at),
            (at(1_000), Some(at(1)), Some(at(3)))
        );
        assert_eq!(token.binding, Binding::None);
        assert!(text.starts_with(token.signed) && text.ends_with(token.signature));
    }

    #[test]
    fn only_certificate_thumbprint_confirmations_are_supported() {
        let binding = |cnf: Value| {
            let text = token(HEADER, &claims(&json!({"cnf": cnf})));
            Token::parse(&text).map(|token| token.binding)
        };
        let digest = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
        let certificate = Binding::Certificate(Fingerprint::of_digest([7; 32]));
        assert_eq!(binding(json!({CERTIFICATE: digest})), Some(certificate));
        for other in [
            json!({}),
            json!({"jkt": digest}),
            json!({CERTIFICATE: digest, "jkt": digest}),
            json!({CERTIFICATE: "AAAA"}),
            json!({CERTIFICATE: 1}),
        ] {
            assert_eq!(binding(other.clone()), Some(Binding::Unsupported), "{other}");
        }
        assert_eq!(binding(json!("x")), None);
    }

    #[test]
    fn times_are_numbers_within_bounds() {
        for bad in [json!("1000"), json!(null), json!(-1), json!(1e18), json!([1]), json!(true)] {
            for name in ["exp", "nbf", "iat"] {
                let text = token(HEADER, &claims(&json!({name: bad})));
                assert!(Token::parse(&text).is_none(), "{name} {bad}");
            }
        }
    }
}
