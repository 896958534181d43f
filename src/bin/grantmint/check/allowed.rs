//! Whether a caller is allowed a call, and by which row.

use std::time::Duration;

use clap::Args;
use grantmint::{
    auth::{
        method::Method,
        name::CallerName,
        policy::{Entry, Mode, Policy},
        refusal::Denied,
        row::{Allowed, Row, Whose},
        text::Texts,
    },
    config::{Config, Profile},
    name::{ProfileName, Resource},
    settings::shown,
};
use serde_json::{Value, json};

use crate::{exit::Exit, failure::Failure};

/// The call that a caller is to make.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// Say whether this caller is allowed a call, by which row or why not; exits with 1 where it is
    /// not. A SPIFFE ID, dns:NAME, ISSUER:SUBJECT, uid:N, loopback or plaintext
    #[arg(long = "as", value_name = "CALLER", value_parser = CallerName::parse)]
    caller: Option<CallerName>,
    /// The method of that call
    #[arg(long, requires = "caller", default_value = "MintToken", value_parser = Method::parse)]
    method: Method,
    /// Its profile; left out: the default
    #[arg(long, requires = "caller", default_value = "", hide_default_value = true)]
    profile: String,
    /// Its resource; left out: the profile's default
    #[arg(long, requires = "caller", default_value = "", hide_default_value = true)]
    resource: String,
    /// Its identity, which minting needs; one that ends with * is the prefix of a series
    #[arg(long, requires = "caller")]
    identity: Option<String>,
    /// The life that it wants, such as 10m
    #[arg(long, requires = "caller", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// A parameter that it sets, by name; repeatable
    #[arg(long = "param", requires = "caller", value_name = "NAME=VALUE", value_parser = param_name)]
    params: Vec<String>,
}

/// What is said of a call.
pub(super) struct Answer {
    /// For people.
    pub(super) text: String,
    /// For machines.
    pub(super) json: Value,
    pub(super) exit: Exit,
}

impl CallArgs {
    /// Whether the caller is allowed the call; none where no caller was named.
    pub(super) fn answer(&self, config: &Config) -> Result<Option<Answer>, Failure> {
        let Some(caller) = &self.caller else { return Ok(None) };
        let Policy::Entries(entries) = &config.callers else {
            let text = "allowed: there is no [callers], so that whoever can connect may call\n";
            let json = json!({"allowed": true, "entry": null, "row": null});
            return Ok(Some(Answer { text: text.to_owned(), json, exit: Exit::Done }));
        };
        let entry = match entries.find([caller]) {
            Ok(found) => entries.all().get(found.entry),
            Err(_) => None,
        };
        let judged = match entry {
            Some(entry) => self.judge(entry, config)?,
            None => Err(Denied::Unknown),
        };
        let name = entry.map(|entry| entry.name.as_str());
        let of_entry = name.map_or_else(String::new, |name| format!(" by [callers.{name}]"));
        Ok(Some(match judged {
            Ok(Allowed { row, max_ttl }) => {
                let names_nobody = entry.and_then(|entry| self.names_nobody(entry, row, config));
                let remark = names_nobody.map_or_else(String::new, |profile| {
                    format!(
                        "its identity is compared with what the call says: a token of profile \
                         {profile} names nobody, and is good for whoever holds it\n"
                    )
                });
                let row = row + 1;
                let life = max_ttl.map_or_else(String::new, |max_ttl| {
                    format!("; its tokens live at most {}", shown(max_ttl))
                });
                Answer {
                    text: format!("allowed{of_entry}, row {row}{life}\n{remark}"),
                    json: json!({
                        "allowed": true,
                        "entry": name,
                        "row": row,
                        "max_ttl_seconds": max_ttl.map(|it| it.as_secs_f64()),
                        "identity_in_token": names_nobody.is_none(),
                    }),
                    exit: Exit::Done,
                }
            }
            Err(denied) => {
                let reason = denied.reason();
                let why = why(&denied, self);
                // Reflection is refused in either mode.
                let served = config.authorize == Mode::Observe
                    && self.method != Method::ServerReflectionInfo;
                let observed =
                    if served { "; it would be served, since authorize = \"observe\"" } else { "" };
                Answer {
                    text: format!("not allowed{of_entry}: {reason}, {why}{observed}\n"),
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

    fn judge(&self, entry: &Entry, config: &Config) -> Result<Result<Allowed, Denied>, Failure> {
        if self.method == Method::ServerReflectionInfo {
            let row = entry.rows.iter().position(|row| row.methods.has(self.method));
            let allowed = row.map(|row| Allowed { row, max_ttl: None });
            return Ok(allowed.ok_or(Denied::Method));
        }
        let default = || config.default_profile.as_ref().map(ProfileName::as_str);
        let named = Some(self.profile.as_str()).filter(|name| !name.is_empty());
        let profile = named.or_else(default).ok_or_else(|| {
            Failure::usage("name a profile with --profile: the file has no default")
        })?;
        if matches!(self.method, Method::ListGrants | Method::WatchGrants)
            && self.resource.is_empty()
        {
            // They show of the profile what rows allow.
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
        let identity = self.identity.as_ref().ok_or_else(|| {
            Failure::usage("name an identity with --identity: tokens are minted for one")
        })?;
        let whose = match identity.strip_suffix('*') {
            Some(prefix) => Whose::Series(prefix),
            None => Whose::One(identity),
        };
        Ok(reach.judge(whose, &params, self.ttl))
    }

    const fn mints(&self) -> bool {
        matches!(self.method, Method::MintToken | Method::MintTokens)
    }

    /// The resource as the server compares it, with the profile's default: that of a mint in the
    /// form that its kind knows it by, that of a grant's name as it is written.
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

    /// The profile, where the row names identities and the profile's tokens name nobody.
    fn names_nobody<'a>(
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
        (row.identities != Texts::Any && profile.names_nobody()).then_some(&profile.name)
    }
}

/// Why, in words.
fn why(denied: &Denied, call: &CallArgs) -> String {
    match denied {
        Denied::Unauthenticated(_) | Denied::Unverifiable { .. } | Denied::Unknown => {
            "the caller is in no entry: no match names it".to_owned()
        }
        Denied::Method => format!("no row names the method {}", call.method.as_str()),
        Denied::Profile => "no row with that method names the profile".to_owned(),
        Denied::Resource => "no row with that method and profile allows the resource".to_owned(),
        Denied::Identity { .. } => {
            "no row for this method, profile and resource allows the identity".to_owned()
        }
        Denied::Param { name } => {
            format!("no row for this call and identity allows the parameter {name}")
        }
        Denied::Ttl { attainable_max } => {
            format!(
                "no row for this call and identity allows a life of over {}",
                shown(*attainable_max)
            )
        }
    }
}

/// The name of a parameter: its value does not matter to rows.
fn param_name(text: &str) -> Result<String, &'static str> {
    let (name, _) = text.split_once('=').ok_or("is not of the form NAME=VALUE")?;
    Ok(name.to_owned())
}
