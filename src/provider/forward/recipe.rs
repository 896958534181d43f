//! A recipe: the request for a credential and where the response holds it. It holds everything that
//! is specific to a provider's endpoint.

use std::time::Duration;

use http::{HeaderName, Method, header, uri::PathAndQuery};
use serde_json::Value;

use super::{
    answer::CredentialAt,
    errors::{ErrorCodes, Errors},
    json::Json,
    life::{LifeAt, LifeRule},
    pointer::Pointer,
    template::{Placeholder, Template, Values},
};
use crate::{
    grant::FaultClass,
    source::base_url::{BaseUrl, BaseUrlError},
};

/// The request for a credential, and how to read the response.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) method: Method,
    /// Scheme, host and port.
    pub(super) base: BaseUrl,
    /// The path below the base; values are percent-encoded.
    pub(super) path: Template,
    pub(super) query: Vec<(String, Template)>,
    pub(super) headers: Vec<(HeaderName, Template)>,
    /// The user of a Basic credential, whose password is the secret.
    pub(super) basic: Option<Basic>,
    pub(super) body: Body,
    /// The life that the upstream grants by default. A request for this life specifies none.
    pub(super) default_life: Option<Duration>,
    pub(super) credential: CredentialAt,
    pub(super) life: LifeRule,
    pub(super) errors: Errors,
}

/// The user of a Basic credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basic {
    pub(super) user: String,
    pub(super) form_encoded: FormEncoded,
}

/// Whether the parts of a Basic credential are form-encoded: RFC 6749, 2.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormEncoded {
    Yes,
    No,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// No body.
    Empty,
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, Template)>),
    /// JSON.
    Json(Json),
}

/// Headers that belong to HTTP or are set here.
const NOT_TO_SET: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::ACCEPT_ENCODING,
    header::EXPECT,
];

impl Recipe {
    /// All its placeholders.
    pub(super) fn places(&self) -> Vec<Placeholder> {
        let pairs = |pairs: &[(String, Template)]| -> Vec<Placeholder> {
            pairs.iter().flat_map(|(_, template)| template.places()).collect()
        };
        let mut places: Vec<_> = self.path.places().collect();
        places.extend(pairs(&self.query));
        places.extend(self.headers.iter().flat_map(|(_, template)| template.places()));
        places.extend(match &self.body {
            Body::Empty => Vec::new(),
            Body::Form(form) => pairs(form),
            Body::Json(json) => json.places(),
        });
        places.extend(self.basic.as_ref().map(|_| Placeholder::Secret));
        places
    }

    /// The names of what it sends, by key: never a value, which may hold the secret.
    pub(super) fn names(&self) -> Vec<(&'static str, Value)> {
        let query: Vec<_> = self.query.iter().map(|(name, _)| name.as_str()).collect();
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let (form, json) = match &self.body {
            Body::Empty => (Vec::new(), Vec::new()),
            Body::Form(form) => (form.iter().map(|(name, _)| name.as_str()).collect(), Vec::new()),
            Body::Json(json) => (Vec::new(), json.names()),
        };
        let lists = [("query", query), ("headers", headers), ("form", form), ("json", json)];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        lists.map(|(key, names)| (key, names.into())).collect()
    }

    /// Whether it requests a life.
    pub(super) fn requests_life(&self) -> bool {
        self.places().contains(&Placeholder::GrantTtl)
    }

    /// The path and query below the base.
    pub(super) fn target(&self, values: &Values<'_>) -> String {
        let mut target = (*self.path.filled_with(values, |it| percent_encoded(it).into())).clone();
        if !self.query.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, template) in &self.query {
                query.append_pair(name, &template.filled(values));
            }
            target.push('?');
            target.push_str(&query.finish());
        }
        target
    }
}

/// A recipe being built, or its first problem, which never quotes the input.
#[derive(Clone, Debug)]
pub(super) struct RecipeBuilder(Result<Recipe, String>);

impl RecipeBuilder {
    /// A POST to `url`. The response's whole body is a JWT that states its life.
    pub(super) fn post(url: &str) -> Self {
        Self(address(url).map(|(base, path)| Recipe {
            method: Method::POST,
            base,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            basic: None,
            body: Body::Empty,
            default_life: None,
            credential: CredentialAt::Text,
            life: LifeAt::Jwt.into(),
            errors: Errors::default(),
        }))
    }

    /// Applies a change that cannot fail.
    pub(super) fn with(mut self, add: impl FnOnce(&mut Recipe)) -> Self {
        if let Ok(recipe) = &mut self.0 {
            add(recipe);
        }
        self
    }

    /// Applies a change that can fail.
    fn and(self, add: impl FnOnce(&mut Recipe) -> Result<(), String>) -> Self {
        Self(self.0.and_then(|mut recipe| add(&mut recipe).map(|()| recipe)))
    }

    /// Reads the credential from this place in JSON.
    pub(super) fn credential(self, pointer: &str) -> Self {
        self.and(|it| {
            it.credential = CredentialAt::Json(parse_pointer(pointer)?);
            Ok(())
        })
    }

    /// Sets how the life is determined.
    pub(super) fn life(self, at: LifeAt) -> Self {
        self.with(|it| it.life = at.into())
    }

    /// Reads the life as a number of seconds from this place.
    pub(super) fn seconds(self, pointer: &str) -> Self {
        self.and(|it| {
            it.life = LifeAt::Seconds(parse_pointer(pointer)?).into();
            Ok(())
        })
    }

    /// Reads the expiry from this place.
    pub(super) fn until(self, pointer: &str) -> Self {
        self.and(|it| {
            it.life = LifeAt::Until(parse_pointer(pointer)?).into();
            Ok(())
        })
    }

    /// Adds a header.
    pub(super) fn header(self, name: &str, value: &str) -> Self {
        self.and(|it| {
            it.headers.push((header_name(name)?, header_value(value)?));
            Ok(())
        })
    }

    /// Sets a form.
    pub(super) fn form(self, pairs: &[(&str, &str)]) -> Self {
        let pair = |(name, text): &(&str, &str)| Ok(((*name).to_owned(), parse(text)?));
        self.and(|it| {
            it.body = Body::Form(pairs.iter().map(pair).collect::<Result<_, String>>()?);
            Ok(())
        })
    }

    /// Sets a JSON body.
    pub(super) fn json(self, value: Value) -> Self {
        self.and(|it| {
            it.body = Body::Json(Json::parse(value).map_err(|error| error.to_string())?);
            Ok(())
        })
    }

    /// Reads the codes of refusals from this place; these codes have known classes.
    pub(super) fn codes(self, pointer: &str, classes: &[(&str, FaultClass)]) -> Self {
        self.and(|it| {
            let classes =
                classes.iter().map(|(code, class)| ((*code).to_owned(), *class)).collect();
            it.errors.codes = Some(ErrorCodes { pointer: parse_pointer(pointer)?, classes });
            Ok(())
        })
    }

    /// The recipe.
    ///
    /// # Errors
    ///
    /// The first problem.
    pub(super) fn build(self) -> Result<Recipe, String> {
        self.0
    }
}

fn parse_pointer(text: &str) -> Result<Pointer, String> {
    text.parse().map_err(str::to_owned)
}

/// Parses the name of a header that may be set.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let name: HeaderName = name.parse().map_err(|_| "is not a header name".to_owned())?;
    if NOT_TO_SET.contains(&name) { Err("is set by HTTP itself".to_owned()) } else { Ok(name) }
}

/// Parses a header's value: one line of visible ASCII.
pub(super) fn header_value(text: &str) -> Result<Template, String> {
    let visible = |it: char| it.is_ascii_graphic() || it == ' ';
    if text.trim() != text || !text.chars().all(visible) {
        return Err("must be one line of visible ASCII without surrounding spaces".to_owned());
    }
    parse(text)
}

/// Parses a template.
pub(super) fn parse(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

/// Splits a URL into its base and the template of its path.
pub(super) fn address(url: &str) -> Result<(BaseUrl, Template), String> {
    if url.contains(['?', '#']) {
        return Err("must not have a query or a fragment: use the key query".to_owned());
    }
    let of_base = |error: BaseUrlError| match error {
        BaseUrlError::NotAUrl => "does not have the form https://host[:port]/path".to_owned(),
        error => error.to_string(),
    };
    let behind = url.find("://").map_or(0, |at| at + 3);
    let slash = url.get(behind..).and_then(|rest| rest.find('/')).map(|at| behind + at);
    let (base, path) = url.split_at(slash.unwrap_or(url.len()));
    if base.contains(['{', '}']) {
        return Err("has a placeholder before its path: the upstream must be fixed".to_owned());
    }
    let base: BaseUrl = base.parse().map_err(of_base)?;
    let path = parse(if path.is_empty() { "/" } else { path })?;
    if path.places().any(Placeholder::is_secret) {
        return Err(in_url());
    }
    let example = Values { resource: "r", grant_ttl: "1", secret: "", assertion: "" };
    let example = path.filled(&example);
    let is_path = example.parse::<PathAndQuery>().is_ok_and(|it| it.as_str() == *example);
    let climbs = example.split('/').any(|segment| matches!(segment, "." | ".."));
    if is_path && !climbs {
        Ok((base, path))
    } else {
        Err("has an invalid path: percent-encode characters that have a meaning in URLs".to_owned())
    }
}

/// Why a secret must not be in a URL.
pub(super) fn in_url() -> String {
    "must not contain {secret} or {assertion}: servers and proxies log URLs. Put it into a header \
     or the body"
        .to_owned()
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3), so that a value stays within
/// one segment.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, resource: &str) -> String {
        let recipe = RecipeBuilder::post(url).build().unwrap();
        recipe.target(&Values { resource, grant_ttl: "60", secret: "", assertion: "" })
    }

    #[test]
    fn resource_never_changes_the_path_structure() {
        let url = "https://api.example/a/{resource}/b";
        for (resource, path) in [
            ("123", "/a/123/b"),
            ("a/../b?c#d%2e", "/a/a%2F..%2Fb%3Fc%23d%252e/b"),
            ("é \\;", "/a/%C3%A9%20%5C%3B/b"),
        ] {
            assert_eq!(target(url, resource), path);
        }
        assert_eq!(target("https://api.example", "x"), "/");
    }

    #[test]
    fn invalid_address_is_refused_without_echo() {
        let password = "q1W2e3R4";
        for url in [
            "api.example/token".to_owned(),
            "https://{resource}.example/token".to_owned(),
            "https://api.example/{secret}".to_owned(),
            "https://api.example/a/{assertion}".to_owned(),
            "https://api.example/{x}".to_owned(),
            "https://api.example/a b".to_owned(),
            "https://api.example/a/../b".to_owned(),
            format!("https://api.example/?key={password}"),
            format!("https://api.example/#{password}"),
            format!("https://user:{password}@api.example/"),
            format!("http://{password}.example/"),
        ] {
            let error = RecipeBuilder::post(&url).build().map(|_| ()).unwrap_err();
            assert!(!error.contains(password), "{error}");
        }
        for name in ["host", "Content-Length", "a b", ""] {
            assert!(header_name(name).is_err(), "{name}");
        }
        for value in [" a", "a\nb", "é", "{x}"] {
            assert!(header_value(value).is_err(), "{value}");
        }
    }
}
