//! Extracts the credential from a response, unchanged.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, value::RawValue};

use super::{
    errors::MALFORMED,
    life::{Life, LifeBasis, LifeRule},
    pointer::Pointer,
};
use crate::{
    clock::WallTime,
    grant::{Content, Fault},
    source::{Granted, Mark, json},
};

/// The longest accepted credential: callers usually send it in a header.
const MAX_CREDENTIAL_BYTES: usize = 16 * 1024;

/// Where a response holds the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CredentialAt {
    /// The whole body.
    Text,
    /// At this place in JSON. For a string the credential is its characters; for an array or object
    /// its JSON, byte for byte.
    Json(Pointer),
}

/// A credential extracted from a response.
#[derive(Debug)]
pub(super) struct Extracted {
    pub(super) content: Content,
    pub(super) granted: Granted,
    pub(super) mark: Mark,
}

/// Extracts the credential from a successful response.
///
/// # Errors
///
/// `MALFORMED_ANSWER`: a page, an empty body, an unexpected form, or no life.
pub(super) fn extract(
    credential: &CredentialAt,
    life: &LifeRule,
    headers: &HeaderMap,
    body: &[u8],
    at: LifeBasis,
) -> Result<Extracted, Fault> {
    if is_page(headers, body) {
        return Err(MALFORMED);
    }
    let (content, whole) = match credential {
        CredentialAt::Text => (text(body)?, None),
        CredentialAt::Json(pointer) => {
            let whole: &RawValue = json::parse(body)?;
            let found = pointer.follow(whole).map_err(|_| MALFORMED)?.ok_or(MALFORMED)?;
            (value(found)?, Some(whole))
        }
    };
    if content.as_str().len() > MAX_CREDENTIAL_BYTES {
        return Err(MALFORMED);
    }
    let Life { granted, expires } = life.read(whole, content.as_str(), at)?;
    let mark = Mark::of(content.as_str(), expires);
    Ok(Extracted { content, granted, mark })
}

/// The response's Date, by the upstream's clock.
pub(super) fn date(headers: &HeaderMap) -> Option<WallTime> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(WallTime::from_unix_seconds(0) + date.duration_since(UNIX_EPOCH).ok()?)
}

/// How long caches have held the response, in whole seconds (RFC 9111, 5.1).
pub(super) fn age(headers: &HeaderMap) -> Duration {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(age.unwrap_or(0))
}

/// Whether it is an HTML page, such as a login form or a proxy's error.
fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_html = content_type.is_some_and(|it| {
        let it = it.trim_ascii_start().to_ascii_lowercase();
        it.starts_with(b"text/html") || it.starts_with(b"application/xhtml")
    });
    is_html || body.trim_ascii_start().starts_with(b"<")
}

/// A body that consists of a credential, with an optional line break.
fn text(body: &[u8]) -> Result<Content, Fault> {
    let text = str::from_utf8(body).map_err(|_| MALFORMED)?;
    let text = text.trim_end_matches(['\r', '\n']);
    let is_credential = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || !is_credential || text.starts_with(['<', '{', '[', '"']) {
        return Err(MALFORMED);
    }
    Ok(text.into())
}

/// A credential in JSON.
fn value(raw: &RawValue) -> Result<Content, Fault> {
    match raw.get().as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(raw.get()).map_err(|_| MALFORMED)?;
            let is_blank = text.trim().is_empty() || text.contains(char::is_control);
            if is_blank { Err(MALFORMED) } else { Ok(text.into()) }
        }
        Some(b'[' | b'{') => {
            // No client could use JSON nested deeper than a recursive parser supports.
            match serde_json::from_str(raw.get()) {
                Ok(Value::Array(items)) if !items.is_empty() => Ok(raw.get().into()),
                Ok(Value::Object(members)) if !members.is_empty() => Ok(raw.get().into()),
                _ => Err(MALFORMED),
            }
        }
        _ => Err(MALFORMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::forward::life::LifeAt;

    fn take_of(credential: &CredentialAt, content_type: &str, body: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let life = LifeAt::Fixed(Duration::from_secs(60)).into();
        let age = Duration::ZERO;
        let at =
            LifeBasis { anchor: WallTime::from_unix_seconds(0), date: None, requested: None, age };
        let taken = extract(credential, &life, &headers, body, at);
        taken.map(|taken| taken.content.as_str().to_owned()).ok()
    }

    #[test]
    fn string_is_its_characters_and_other_json_is_raw() {
        let at = CredentialAt::Json("/t".parse().unwrap());
        let taken = |body: &str| take_of(&at, "application/json", body.as_bytes());
        for (body, credential) in [
            (r#"{"t":"a\u0062\/c"}"#, "ab/c"),
            ("\u{feff}{\"t\": \"x\"}\n", "x"),
            (r#"{"x":1,"t":[ {"urls" : ["a"]} , 1.0 ]}"#, r#"[ {"urls" : ["a"]} , 1.0 ]"#),
            (r#"{"t":{"b":1,"a":"\u0041"}}"#, r#"{"b":1,"a":"\u0041"}"#),
        ] {
            assert_eq!(taken(body).as_deref(), Some(credential), "{body}");
        }
        let deep = format!(r#"{{"t":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let long = format!(r#"{{"t":"{}"}}"#, "x".repeat(MAX_CREDENTIAL_BYTES + 1));
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"t":null}"#,
            r#"{"t":1}"#,
            r#"{"t":true}"#,
            r#"{"t":""}"#,
            r#"{"t":" "}"#,
            r#"{"t":"a\nb"}"#,
            r#"{"t":[]}"#,
            r#"{"t":{}}"#,
            r#"{"t":"a","t":"b"}"#,
            r#"{"t":"a""#,
            "<html>",
            &deep,
            &long,
        ] {
            assert_eq!(taken(body), None, "{body}");
        }
        assert_eq!(take_of(&at, " Text/HTML; charset=utf-8", br#"{"t":"x"}"#), None);
    }

    #[test]
    fn whole_body_must_be_only_a_credential() {
        let taken = |body: &str| take_of(&CredentialAt::Text, "text/plain", body.as_bytes());
        assert_eq!(taken("abc.def_-=+/~\r\n\n").as_deref(), Some("abc.def_-=+/~"));
        for body in ["", "\n", " a", "a b", "a\tb", "<html>", "{}", "[1]", "\"a\"", "é", "a\0"] {
            assert_eq!(taken(body), None, "{body}");
        }
        assert_eq!(take_of(&CredentialAt::Text, "text/plain", b"\xff"), None);
        assert_eq!(take_of(&CredentialAt::Text, "text/html", b"abc"), None);
    }

    #[test]
    fn date_is_the_upstreams_clock() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        let value = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        headers.insert(header::DATE, value);
        assert_eq!(date(&headers), Some(WallTime::from_unix_seconds(784_111_777)));
    }
}
