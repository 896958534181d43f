//! A token as it came, read but not verified (RFC 7515, RFC 7519).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, json::object};
use crate::{
    auth::{name::Subject, peer::Fingerprint},
    clock::WallTime,
};

/// Bytes of a token.
pub(super) const LONGEST: usize = 8 * 1024;

/// Times past this, the year 9999, are no times.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The thumbprint of a certificate as a confirmation (RFC 8705, section 3.1).
const CERTIFICATE: &str = "x5t#S256";

/// A token that is well-formed. Nothing in it can be believed before its signature is verified.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// The id of the key that it says it is signed with.
    pub(super) kid: Option<String>,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) subject: Subject,
    pub(super) expires: WallTime,
    pub(super) not_before: Option<WallTime>,
    pub(super) issued_at: Option<WallTime>,
    pub(super) bound: Bound,
    /// What is signed.
    pub(super) signed: &'a str,
    /// The signature, in base64url.
    pub(super) signature: &'a str,
}

/// Whose proof a token needs beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Nobody's.
    No,
    /// That of whoever has this certificate's key.
    ToCertificate(Fingerprint),
    /// One that is not supported here.
    ToOther,
}

impl<'a> Token<'a> {
    /// Reads a token; none where it is malformed.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
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
            bound: optional(&claims, "cnf", bound).ok()?.unwrap_or(Bound::No),
            signed,
            signature,
        })
    }
}

/// A member is not what it must be.
struct Malformed;

/// A member that may be absent.
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

/// Seconds since 1970, which may have a fraction; it is dropped.
fn time(value: &Value) -> Option<WallTime> {
    let seconds = value.as_f64().filter(|it| (0.0..=LAST_SECOND).contains(it))?;
    #[expect(clippy::cast_possible_truncation, reason = "it is within bounds")]
    Some(WallTime::from_unix_seconds(seconds as i64))
}

/// A confirmation (RFC 7800) is understood where it is a certificate's thumbprint alone.
fn bound(value: &Value) -> Option<Bound> {
    let members = value.as_object()?;
    let thumbprint = members.get(CERTIFICATE).and_then(Value::as_str).and_then(decode);
    let digest = thumbprint.and_then(|it| <[u8; 32]>::try_from(it).ok());
    Some(match digest {
        Some(digest) if members.len() == 1 => Bound::ToCertificate(Fingerprint::of_digest(digest)),
        _ => Bound::ToOther,
    })
}

/// Strict base64url: no padding, no white space, no bits left over.
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
    fn what_a_token_says_is_read() {
        let text = token(HEADER, &claims(&json!({"aud": ["a", "b"], "nbf": 1.9, "iat": 3})));
        let token = Token::parse(&text).unwrap();
        assert_eq!((token.kid.as_deref(), &*token.issuer), (Some("1"), "i"));
        assert_eq!(token.audiences, ["a", "b"]);
        let at = WallTime::from_unix_seconds;
        assert_eq!(
            (token.expires, token.not_before, token.issued_at),
            (at(1_000), Some(at(1)), Some(at(3)))
        );
        assert_eq!(token.bound, Bound::No);
        assert!(text.starts_with(token.signed) && text.ends_with(token.signature));
    }

    #[test]
    fn a_confirmation_is_a_certificates_thumbprint_or_not_understood() {
        let bound = |cnf: Value| {
            let text = token(HEADER, &claims(&json!({"cnf": cnf})));
            Token::parse(&text).map(|token| token.bound)
        };
        let digest = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
        let certificate = Bound::ToCertificate(Fingerprint::of_digest([7; 32]));
        assert_eq!(bound(json!({CERTIFICATE: digest})), Some(certificate));
        for other in [
            json!({}),
            json!({"jkt": digest}),
            json!({CERTIFICATE: digest, "jkt": digest}),
            json!({CERTIFICATE: "AAAA"}),
            json!({CERTIFICATE: 1}),
        ] {
            assert_eq!(bound(other.clone()), Some(Bound::ToOther), "{other}");
        }
        assert_eq!(bound(json!("x")), None);
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
