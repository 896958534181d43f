//! The issuers of bearer tokens, without their secrets.

use grantmint::{
    auth::bearer::Algorithm,
    config::Config,
    issuers::{self, Endpoint, Source},
    settings::shown,
};
use serde_json::{Map, Value, json};

use super::{Part, keys::Keys};

/// How the keys of each issuer are obtained.
pub(super) fn parts(config: &Config) -> impl Iterator<Item = Part> {
    config.issuers.iter().map(|issuer| {
        let line = match &issuer.source {
            Source::File { keys, .. } => format!("keys in the file: {}", keys.len()),
            Source::Url { .. } => "keys are fetched every 5 minutes".to_owned(),
            Source::Kubernetes(_) => {
                "the issuer and its keys are fetched from the API server every 5 minutes".to_owned()
            }
        };
        Part { title: format!("issuer {}", issuer.name), lines: vec![line] }
    })
}

/// The issuers as JSON; none without any.
pub(super) fn json(config: &Config) -> Option<Value> {
    let issuers = config.issuers.iter().map(|issuer| {
        let keys = keys(issuer).into_iter().map(|(key, value)| (key.to_owned(), value));
        (issuer.name.to_string(), Value::Object(keys.collect()))
    });
    let issuers: Map<_, _> = issuers.collect();
    (!issuers.is_empty()).then_some(Value::Object(issuers))
}

/// The keys of an issuer.
pub(super) fn keys(issuer: &issuers::Config) -> Keys {
    let mut keys = vec![("kind", json!(issuer.source.kind()))];
    keys.extend(issuer.source.issuer().map(|own| ("issuer", json!(own))));
    let algorithms: Vec<_> = issuer.terms.algorithms.iter().map(Algorithm::as_str).collect();
    keys.extend([("audience", json!(issuer.terms.audience)), ("algorithms", json!(algorithms))]);
    match &issuer.source {
        Source::File { path, .. } => keys.push(("jwks_file", json!(path.display().to_string()))),
        Source::Url { url, endpoint, .. } => {
            // A query may hold a secret.
            let shown = url.to_string();
            let shown = match shown.split_once('?') {
                Some((before, _)) => format!("{before}?(hidden)"),
                None => shown,
            };
            keys.push(("jwks_url", json!(shown)));
            keys.extend(endpoint_keys(endpoint));
        }
        Source::Kubernetes(endpoint) => {
            keys.push(("api_server", json!(endpoint.server.to_string())));
            keys.extend(endpoint_keys(endpoint));
        }
    }
    keys.push(("max_life", json!(shown(issuer.terms.max_life))));
    keys.extend(issuer.terms.trust_domain.iter().map(|it| ("trust_domain", json!(it))));
    keys
}

fn endpoint_keys(endpoint: &Endpoint) -> impl Iterator<Item = (&'static str, Value)> {
    let files = [("ca", &endpoint.ca), ("token_file", &endpoint.token_file)];
    files
        .into_iter()
        .filter_map(|(key, file)| Some((key, json!(file.as_ref()?.display().to_string()))))
}
