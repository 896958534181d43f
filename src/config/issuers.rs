//! `[issuers.NAME]`: the issuers of callers' bearer tokens, and their keys. Each can be read
//! separately, for a reload.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Uri;

use crate::{
    auth::{
        bearer::{Algorithm, Algorithms, KeySet, Terms},
        name::{IssuerName, is_trust_domain},
    },
    issuers::{API_SERVER, Config, Endpoint, SERVICE_ACCOUNT, Source},
    settings::{Document, Env, Followed, MAX_DURATION, Problems, Section, read_secret},
    source::base_url::{BaseUrl, BaseUrlError},
};

/// The default maximum lifetime of tokens.
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads one issuer and nothing else of `text`. Returns its file even on failure.
pub fn reread(
    file: &str,
    text: &str,
    env: Env<'_>,
    name: &IssuerName,
) -> (Result<Config, Problems>, Followed) {
    let document = match Document::parse(file, text, env) {
        Ok(document) => document.of_regular_files(),
        Err(problems) => return (Err(problems), Followed::default()),
    };
    let mut followed = Followed::default();
    let mut root = document.root();
    let section = root.sections("issuers").into_iter().find(|(it, _)| *it == name.as_str());
    if section.is_none() {
        root.problem("issuers", format!("{name} is missing: removing an issuer needs a restart"));
    }
    let config =
        section.and_then(|(_, mut section)| read_issuer(name.clone(), &mut section, &mut followed));
    (document.conclude(config), followed)
}

/// Reads all issuers; none if one is invalid, after reporting the problems.
pub(super) fn read(root: &mut Section<'_>) -> Option<Vec<Config>> {
    let sections = root.sections("issuers");
    let (count, mut issuers) = (sections.len(), Vec::new());
    let mut owners = HashMap::new();
    for (name, mut section) in sections {
        let name = match IssuerName::parse(name) {
            Ok(name) => name,
            Err(error) => {
                section.problem_here(error.to_string());
                continue;
            }
        };
        let Some(config) = read_issuer(name, &mut section, &mut Followed::default()) else {
            continue;
        };
        if let Some(issuer) = config.source.issuer() {
            let what = (issuer.to_owned(), config.terms.audience.clone());
            if let Some(owner) = owners.insert(what, config.name.clone()) {
                let message = format!("has the same issuer and audience as [issuers.{owner}]");
                section.problem("audience", message);
            }
        }
        issuers.push(config);
    }
    (issuers.len() == count).then_some(issuers)
}

fn read_issuer(
    name: IssuerName,
    section: &mut Section<'_>,
    followed: &mut Followed,
) -> Option<Config> {
    let kind = section.required("kind", |text| match text {
        "jwt" | "kubernetes" => Ok(text.to_owned()),
        _ => Err(r#"must be "jwt" or "kubernetes""#),
    })?;
    let is_text = |text: &str| {
        if text.is_empty() { Err("is empty") } else { Ok(text.to_owned()) }
    };
    let audience = section.required("audience", is_text);
    let algorithms = if section.has("algorithms") {
        let listed = section.list("algorithms", Algorithm::parse);
        if listed.as_ref().is_some_and(Vec::is_empty) {
            section.problem("algorithms", "is empty; no token would be accepted");
        }
        listed.map(Algorithms::from_iter)
    } else {
        Some(Algorithms::DEFAULT)
    };
    let bounds = Duration::from_secs(60)..=MAX_DURATION;
    let max_life = section.duration_within("max_life", MAX_LIFE, bounds);
    let (source, trust_domain) = if kind == "kubernetes" {
        (read_kubernetes(section), None)
    } else {
        let trust_domain = section.parsed("trust_domain", |text| {
            if is_trust_domain(text) { Ok(text.to_owned()) } else { Err("is not a trust domain") }
        });
        let issuer = section.required("issuer", is_text);
        (issuer.and_then(|issuer| read_jwt(section, issuer, followed)), trust_domain)
    };
    section.finish();
    let terms =
        Terms { audience: audience?, algorithms: algorithms?, max_life: max_life?, trust_domain };
    Some(Config { name, terms, source: source? })
}

fn read_jwt(section: &mut Section<'_>, issuer: String, followed: &mut Followed) -> Option<Source> {
    match (section.has("jwks_file"), section.has("jwks_url")) {
        (true, false) => {
            for key in ["ca", "token_file"] {
                section.refuse(key, "applies to jwks_url, but the keys are in a file");
            }
            read_file(section, issuer, followed)
        }
        (false, true) => {
            let url = section.parsed("jwks_url", parse_url);
            let (ca, token_file) = (read_path(section, "ca"), read_path(section, "token_file"));
            let (url, server) = url?;
            let endpoint = Endpoint { server, ca, token_file };
            Some(Source::Url { issuer, url, endpoint })
        }
        (true, true) => {
            section.problem("jwks_url", "excludes jwks_file; set only one of them");
            None
        }
        (false, false) => {
            section.problem(
                "jwks_url",
                "is missing: set the URL of the keys, or their file with jwks_file",
            );
            None
        }
    }
}

fn read_file(section: &mut Section<'_>, issuer: String, followed: &mut Followed) -> Option<Source> {
    let path = read_path(section, "jwks_file")?;
    let keys = match read_secret(&path) {
        Ok(text) => {
            followed.add(&path, text.as_bytes());
            match KeySet::parse(text.as_bytes()) {
                Ok(keys) if keys.is_empty() => {
                    Err("names a file without a key that verifies tokens".to_owned())
                }
                Ok(keys) => Ok(keys),
                Err(error) => Err(format!("names a file that {error}")),
            }
        }
        Err(error) => {
            followed.add_unreadable(&path);
            Err(format!("names a file that cannot be read: {error}"))
        }
    };
    match keys {
        Ok(keys) => {
            let followed = followed.clone();
            Some(Source::File { issuer, path, keys: Arc::new(keys), followed })
        }
        Err(why) => {
            section.problem("jwks_file", why);
            None
        }
    }
}

fn read_kubernetes(section: &mut Section<'_>) -> Option<Source> {
    let server = if section.has("api_server") {
        section.parsed("api_server", str::parse::<BaseUrl>)
    } else {
        API_SERVER.parse().ok()
    };
    let given = |name: &str| Path::new(SERVICE_ACCOUNT).join(name);
    let ca = read_path(section, "ca").unwrap_or_else(|| given("ca.crt"));
    let token_file = read_path(section, "token_file").unwrap_or_else(|| given("token"));
    let server = server?;
    // Plain http is allowed only to this machine, without a certificate.
    let ca = (server.uri().scheme_str() == Some("https")).then_some(ca);
    Some(Source::Kubernetes(Endpoint { server, ca, token_file: Some(token_file) }))
}

fn read_path(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    section.parsed(
        key,
        |text| {
            if text.is_empty() { Err("is empty") } else { Ok(PathBuf::from(text)) }
        },
    )
}

/// The URL of a key set, and its server.
fn parse_url(text: &str) -> Result<(Uri, BaseUrl), BaseUrlError> {
    if text.contains('#') {
        return Err(BaseUrlError::NotAUrl);
    }
    // The query is opaque, so only the rest of the URL is validated.
    let server = text.split_once('?').map_or(text, |(before, _)| before).parse()?;
    let url = text.parse().map_err(|_| BaseUrlError::NotAUrl)?;
    Ok((url, server))
}
