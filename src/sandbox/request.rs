//! Parses the parts of requests that emulated upstreams need.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};

/// The user and password of a Basic `Authorization` header.
#[must_use]
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let pair = BASE64_STANDARD.decode(authorization(headers, "basic")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The value of an `Authorization` header after this scheme, in any letter case.
#[must_use]
pub fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (its, value) = value.split_once(' ')?;
    its.eq_ignore_ascii_case(scheme).then(|| value.trim())
}

/// The names and values of the form in a request's body; empty if its content type is another.
#[must_use]
pub fn form(request: &Request<Bytes>) -> Vec<(String, String)> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = content_type.is_none_or(|content_type| {
        content_type.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
    });
    if is_form { form_urlencoded::parse(request.body()).into_owned().collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, value: &str, body: &'static str) -> Request<Bytes> {
        Request::builder().header(name, value).body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn basic_credential_is_user_and_password() {
        let read = |value: &str| basic(request("authorization", value, "").headers());
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("Basic dXNlcjpwYXNz"), pair("user", "pass"));
        assert_eq!(read("bAsIc  dXNlcjpwYXNz "), pair("user", "pass"));
        assert_eq!(read("Basic dXNlcjo6"), pair("user", ":"));
        for bad in ["Basic", "Basic ???", "Basic dXNlcg==", "Bearer dXNlcjpwYXNz"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let request = request("authorization", "Token abc", "");
        assert_eq!(authorization(request.headers(), "token"), Some("abc"));
    }

    #[test]
    fn body_without_other_content_type_is_a_form() {
        let read = |content_type: &str| form(&request("content-type", content_type, "a=1&b=%3D"));
        let pairs = [("a", "1"), ("b", "=")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(read("Application/x-www-form-urlencoded; charset=utf-8"), pairs);
        assert_eq!(form(&request("accept", "*/*", "a=1&b=%3D")), pairs);
        assert_eq!(read("application/json"), []);
    }
}
