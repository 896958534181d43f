//! Builds a recipe's request with an attempt's values.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::{
    answer::CredentialAt,
    recipe::{Basic, Body, FormEncoded, Recipe},
    template::{Placeholder, Template, Values},
};
use crate::{
    egress::USER_AGENT,
    grant::{Fault, FaultClass},
};

const INVALID: Fault = Fault::new(FaultClass::Misconfigured, "REQUEST_INVALID");

impl Recipe {
    /// The request to `uri`. It requests a life only if `requests_life`.
    ///
    /// # Errors
    ///
    /// A value is invalid at its place.
    pub(super) fn request(
        &self,
        uri: Uri,
        values: &Values<'_>,
        requests_life: bool,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let (content_type, body) = self.body.filled(values, requests_life);
        let length = HeaderValue::from(body.len());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        if self.method != Method::GET {
            // Also for an empty body: some upstreams refuse a request without it.
            request.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        *request.uri_mut() = uri;
        self.put_headers(request.headers_mut(), content_type, values)?;
        Ok(request)
    }

    fn put_headers(
        &self,
        headers: &mut HeaderMap,
        content_type: Option<&'static str>,
        values: &Values<'_>,
    ) -> Result<(), Fault> {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let accept = match self.credential {
            CredentialAt::Text => "*/*",
            CredentialAt::Json(_) => "application/json",
        };
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(basic) = &self.basic {
            headers.insert(header::AUTHORIZATION, basic.header(values.secret)?);
        }
        for (name, template) in &self.headers {
            let text = template.filled(values);
            let mut value = HeaderValue::from_str(&text).map_err(|_| INVALID)?;
            value.set_sensitive(template.places().any(Placeholder::is_secret));
            headers.insert(name.clone(), value);
        }
        Ok(())
    }
}

impl Basic {
    /// The header, marked as sensitive so that it is not printed.
    fn header(&self, secret: &str) -> Result<HeaderValue, Fault> {
        let encoded = |text: &str| match self.form_encoded {
            FormEncoded::Yes => form_urlencoded::byte_serialize(text.as_bytes()).collect(),
            FormEncoded::No => text.to_owned(),
        };
        let secret = Zeroizing::new(encoded(secret));
        let pair = Zeroizing::new(format!("{}:{}", encoded(&self.user), *secret));
        let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&value).map_err(|_| INVALID)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Body {
    /// The content type and the content, which is zeroed when its last part is dropped.
    fn filled(&self, values: &Values<'_>, requests_life: bool) -> (Option<&'static str>, Bytes) {
        match self {
            Self::Empty => (None, Bytes::new()),
            Self::Form(pairs) => {
                let form = Zeroizing::new(form(pairs, values, requests_life).into_bytes());
                (Some("application/x-www-form-urlencoded"), Bytes::from_owner(form))
            }
            Self::Json(json) => {
                // The capacity covers all values without escapes, so growing leaves no copies.
                let long = values.secret.len() + values.assertion.len() + values.resource.len();
                let mut text = Zeroizing::new(Vec::with_capacity(4_096 + 2 * long));
                json.write(values, requests_life, &mut text);
                (Some("application/json"), Bytes::from_owner(text))
            }
        }
    }
}

fn form(pairs: &[(String, Template)], values: &Values<'_>, requests_life: bool) -> String {
    let filled: Vec<_> = pairs
        .iter()
        .filter(|(_, template)| requests_life || !template.is_only(Placeholder::GrantTtl))
        .map(|(name, template)| (name, template.filled(values)))
        .collect();
    let room = filled.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
    form.extend_pairs(
        filled.iter().map(|(name, value)| (name.as_str(), Cow::from(value.as_str()))),
    );
    form.finish()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;
    use crate::provider::forward::recipe::RecipeBuilder;

    const SECRET: &str = "zq mark&er+qz";

    fn sent(recipe: &Recipe, requests_life: bool) -> (HeaderMap, String, String) {
        let values =
            Values { resource: "r/1", grant_ttl: "60", secret: SECRET, assertion: "a.b.c" };
        let request = recipe.request(Uri::from_static("/"), &values, requests_life).unwrap();
        let (head, body) = request.into_parts();
        let shown = format!("{head:?} {recipe:?} {values:?}");
        let body = futures_util::FutureExt::now_or_never(body.collect()).unwrap().unwrap();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        (head.headers, body, shown)
    }

    fn builder() -> RecipeBuilder {
        RecipeBuilder::post("https://api.example/x").credential("/t")
    }

    #[test]
    fn form_is_encoded_and_secret_header_is_not_printed() {
        let pairs = [("a", "{secret}"), ("ttl", "{grant_ttl}"), ("r", "{resource}s")];
        let recipe = builder().form(&pairs).header("x-key", "K {secret}").build().unwrap();
        let (headers, body, shown) = sent(&recipe, true);
        assert_eq!(body, "a=zq+mark%26er%2Bqz&ttl=60&r=r%2F1s");
        assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(headers["x-key"], format!("K {SECRET}"));
        assert_eq!(headers["accept"], "application/json");
        assert!(headers["user-agent"].to_str().unwrap().starts_with("grantmint/"));
        assert!(headers["x-key"].is_sensitive() && !headers["accept"].is_sensitive());
        assert!(!shown.contains("mark"), "{shown}");
        assert_eq!(sent(&recipe, false).1, "a=zq+mark%26er%2Bqz&r=r%2F1s");
    }

    #[test]
    fn basic_credential_is_encoded_where_rfc_requires_it() {
        for (form_encoded, pair) in [
            (FormEncoded::No, "us er:zq mark&er+qz"),
            (FormEncoded::Yes, "us+er:zq+mark%26er%2Bqz"),
        ] {
            let basic = Basic { user: "us er".to_owned(), form_encoded };
            let recipe = builder().with(|it| it.basic = Some(basic)).build().unwrap();
            let (headers, body, _) = sent(&recipe, true);
            let basic = headers["authorization"].to_str().unwrap().strip_prefix("Basic ").unwrap();
            assert_eq!(BASE64_STANDARD.decode(basic).unwrap(), pair.as_bytes());
            assert!(headers["authorization"].is_sensitive() && body.is_empty());
        }
    }

    #[test]
    fn json_is_sent_as_json() {
        let members = json!({"ttl": "{grant_ttl}", "s": "{secret}"});
        let recipe = builder().json(members).build().unwrap();
        let (headers, body, _) = sent(&recipe, true);
        assert_eq!(body, r#"{"s":"zq mark&er+qz","ttl":60}"#);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(sent(&recipe, false).1, r#"{"s":"zq mark&er+qz"}"#);
    }
}
