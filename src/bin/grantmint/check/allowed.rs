//! The decision on a call of a caller, and the row that allows it.

use std::time::Duration;

use clap::Args;
use grantmint::{
    auth::{
        method::Method,
        name::CallerName,
        policy::{Entry, Mode, Policy},
        refusal::Denied,
        row::{Allowed, RequestedIdentities, Row},
        string_pattern::StringPatterns,
    },
    config::{Config, Profile},
    name::{ProfileName, Resource},
    settings::shown,
};
use serde_json::{Value, json};

use crate::{exit::Exit, failure::Failure};

/// A call to decide on.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// Check whether this caller is allowed a call, and print the row that allows it or the reason;
    /// exits with 1 if denied. A SPIFFE ID, dns:NAME, ISSUER:SUBJECT, uid:N, loopback or plaintext
    #[arg(long = "as", value_name = "CALLER", value_parser = CallerName::parse)]
    caller: Option<CallerName>,
    /// Method of the call
    #[arg(long, requires = "caller", default_value = "MintToken", value_parser = Method::parse)]
    method: Method,
    /// Profile of the call; default: the default profile
    #[arg(long, requires = "caller", default_value = "", hide_default_value = true)]
    profile: String,
    /// Resource of the call; default: the profile's default
    #[arg(long, requires = "caller", default_value = "", hide_default_value = true)]
    resource: String,
    /// Identity of the call, required for minting; a trailing * makes it the prefix of a series
    #[arg(long, requires = "caller")]
    identity: Option<String>,
    /// Requested token lifetime, such as 10m
    #[arg(long, requires = "caller", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// A parameter of the call, by name; repeatable
    #[arg(long = "param", requires = "caller", value_name = "NAME=VALUE", value_parser = param_name)]
    params: Vec<String>,
}

/// The decision on a call.
pub(super) struct Decision {
    pub(super) text: String,
    pub(super) json: Value,
    pub(super) exit: Exit,
}

impl CallArgs {
    /// Decides on the call; none if no caller is given.
    pub(super) fn decide(&self, config: &Config) -> Result<Option<Decision>, Failure> {
        let Some(caller) = &self.caller else { return Ok(None) };
        let Policy::Entries(entries) = &config.callers else {
            let text = "allowed: without [callers], any client that can connect may call\n";
            let json = json!({"allowed": true, "entry": null, "row": null});
            return Ok(Some(Decision { text: text.to_owned(), json, exit: Exit::Done }));
        };
        let entry = match entries.find([caller]) {
            Ok(found) => entries.all().get(found.entry),
            Err(_) => None,
        };
        let decision = match entry {
            Some(entry) => self.authorize(entry, config)?,
            None => Err(Denied::Unknown),
        };
        let name = entry.map(|entry| entry.name.as_str());
        let of_entry = name.map_or_else(String::new, |name| format!(" by [callers.{name}]"));
        Ok(Some(match decision {
            Ok(Allowed { row, max_ttl }) => {
                let is_anonymous = entry.and_then(|entry| self.is_anonymous(entry, row, config));
                let warning = is_anonymous.map_or_else(String::new, |profile| {
                    format!(
                        "the identity is only compared with the request: tokens of profile \
                         {profile} contain no identity, and any holder can use them\n"
                    )
                });
                let row = row + 1;
                let life = max_ttl.map_or_else(String::new, |max_ttl| {
                    format!("; maximum token lifetime {}", shown(max_ttl))
                });
                Decision {
                    text: format!("allowed{of_entry}, row {row}{life}\n{warning}"),
                    json: json!({
                        "allowed": true,
                        "entry": name,
                        "row": row,
                        "max_ttl_seconds": max_ttl.map(|it| it.as_secs_f64()),
                        "identity_in_token": is_anonymous.is_none(),
                    }),
                    exit: Exit::Done,
                }
            }
            Err(denied) => {
                let reason = denied.reason();
                let why = why(&denied, self);
                // Reflection is denied in both modes.
                let served = config.authorize == Mode::Observe
                    && self.method != Method::ServerReflectionInfo;
                let observed =
                    if served { "; but served, because authorize = \"observe\"" } else { "" };
                Decision {
                    text: format!("denied{of_entry}: {reason}, {why}{observed}\n"),
                    json: json!({
                        "allowed": false,
                        "served": served,
                        "entry": name,
                        "row": null,
                        "reason": reason,
                    }),
                    exit: Exit::Failed,
                }
            }
        }))
    }

    fn authorize(
        &self,
        entry: &Entry,
        config: &Config,
    ) -> Result<Result<Allowed, Denied>, Failure> {
        if self.method == Method::ServerReflectionInfo {
            let row = entry.rows.iter().position(|row| row.methods.has(self.method));
            let allowed = row.map(|row| Allowed { row, max_ttl: None });
            return Ok(allowed.ok_or(Denied::Method));
        }
        let default = || config.default_profile.as_ref().map(ProfileName::as_str);
        let named = Some(self.profile.as_str()).filter(|name| !name.is_empty());
        let profile = named
            .or_else(default)
            .ok_or_else(|| Failure::usage("use --profile: the file has no default profile"))?;
        if matches!(self.method, Method::ListGrants | Method::WatchGrants)
            && self.resource.is_empty()
        {
            // These methods show the part of the profile that rows allow.
            let named = |row: &Row| row.methods.has(self.method) && row.profiles.allow(profile);
            let row = entry.rows.iter().position(named);
            let reached = entry.reach_profile(self.method, profile);
            return Ok(reached.and_then(|()| {
                row.map(|row| Allowed { row, max_ttl: None }).ok_or(Denied::Profile)
            }));
        }
        let loaded = config.profiles.iter().find(|it| it.name.as_str() == profile);
        let resource = self.resource(loaded);
        let reach = match entry.reach(self.method, profile, &resource) {
            Ok(reach) => reach,
            Err(denied) => return Ok(Err(denied)),
        };
        let params = self.params.iter().map(String::as_str);
        if !self.mints() {
            return Ok(reach.first().ok_or(Denied::Resource));
        }
        let identity = self
            .identity
            .as_ref()
            .ok_or_else(|| Failure::usage("use --identity: tokens are minted for an identity"))?;
        let whose = match identity.strip_suffix('*') {
            Some(prefix) => RequestedIdentities::Series(prefix),
            None => RequestedIdentities::One(identity),
        };
        Ok(reach.authorize(whose, &params, self.ttl))
    }

    const fn mints(&self) -> bool {
        matches!(self.method, Method::MintToken | Method::MintTokens)
    }

    /// The resource as the server compares it, or the profile's default: for a mint in the form of
    /// its kind, for a grant's name as written.
    fn resource(&self, profile: Option<&Profile>) -> String {
        let given = &self.resource;
        let Some(profile) = profile else { return given.clone() };
        if given.is_empty() {
            return profile.default_resource.as_ref().map_or("", Resource::as_str).to_owned();
        }
        if !self.mints() {
            return given.clone();
        }
        let known = (profile.rules.parse_resource)(given);
        known.map_or_else(|_| given.clone(), |resource| resource.as_str().to_owned())
    }

    /// The profile, if the row restricts identities but the profile's tokens contain none.
    fn is_anonymous<'a>(
        &self,
        entry: &Entry,
        row: usize,
        config: &'a Config,
    ) -> Option<&'a ProfileName> {
        let row = entry.rows.get(row).filter(|_| self.mints())?;
        let named = config.profiles.iter().find(|it| it.name.as_str() == self.profile);
        let default =
            || config.profiles.iter().find(|it| Some(&it.name) == config.default_profile.as_ref());
        let profile = named.or_else(default)?;
        (row.identities != StringPatterns::Any && profile.is_anonymous()).then_some(&profile.name)
    }
}

/// The reason as text.
fn why(denied: &Denied, call: &CallArgs) -> String {
    match denied {
        Denied::Unauthenticated(_) | Denied::Unverifiable { .. } | Denied::Unknown => {
            "no entry matches the caller".to_owned()
        }
        Denied::Method => format!("no row allows the method {}", call.method.as_str()),
        Denied::Profile => "no row with that method allows the profile".to_owned(),
        Denied::Resource => "no row with that method and profile allows the resource".to_owned(),
        Denied::Identity { .. } => {
            "no row for this method, profile and resource allows the identity".to_owned()
        }
        Denied::Param { name } => {
            format!("no row for this call and identity allows the parameter {name}")
        }
        Denied::Ttl { attainable_max } => {
            format!(
                "no row for this call and identity allows a lifetime over {}",
                shown(*attainable_max)
            )
        }
    }
}

/// The name of a parameter. Rows do not restrict values.
fn param_name(text: &str) -> Result<String, &'static str> {
    let (name, _) = text.split_once('=').ok_or("expected the form NAME=VALUE")?;
    Ok(name.to_owned())
}
