//! Whether a caller is allowed a call, and by which row.

use std::time::Duration;

use clap::Args;
use grantmint::{
    auth::{
        method::Method,
        name::CallerName,
        policy::{Entry, Policy},
        refusal::Denied,
        row::{Allowed, Whose},
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
    /// not. A SPIFFE ID, dns:NAME, loopback or plaintext
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
            Ok(index) => entries.all().get(index),
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
                let row = row + 1;
                let life = max_ttl.map_or_else(String::new, |max_ttl| {
                    format!("; its tokens live at most {}", shown(max_ttl))
                });
                Answer {
                    text: format!("allowed{of_entry}, row {row}{life}\n"),
                    json: json!({
                        "allowed": true,
                        "entry": name,
                        "row": row,
                        "max_ttl_seconds": max_ttl.map(|it| it.as_secs_f64()),
                    }),
                    exit: Exit::Done,
                }
            }
            Err(denied) => {
                let reason = denied.reason();
                let why = why(&denied, self);
                Answer {
                    text: format!("not allowed{of_entry}: {reason}, {why}\n"),
                    json: json!({"allowed": false, "entry": name, "row": null, "reason": reason}),
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
            Failure::misuse("name a profile with --profile: the file has no default")
        })?;
        let loaded = config.profiles.iter().find(|it| it.name.as_str() == profile);
        let resource = resource(&self.resource, loaded);
        let reach = match entry.reach(self.method, profile, &resource) {
            Ok(reach) => reach,
            Err(denied) => return Ok(Err(denied)),
        };
        let params = self.params.iter().map(String::as_str);
        if !matches!(self.method, Method::MintToken | Method::MintTokens) {
            return Ok(reach.first().ok_or(Denied::Resource));
        }
        let identity = self.identity.as_ref().ok_or_else(|| {
            Failure::misuse("name an identity with --identity: tokens are minted for one")
        })?;
        let whose = match identity.strip_suffix('*') {
            Some(prefix) => Whose::Series(prefix),
            None => Whose::One(identity),
        };
        Ok(reach.judge(whose, &params, self.ttl))
    }
}

/// The resource in the form that its kind knows it by, with the profile's default.
fn resource(given: &str, profile: Option<&Profile>) -> String {
    let Some(profile) = profile else { return given.to_owned() };
    if given.is_empty() {
        return profile.default_resource.as_ref().map_or("", Resource::as_str).to_owned();
    }
    let known = (profile.rules.parse_resource)(given);
    known.map_or_else(|_| given.to_owned(), |resource| resource.as_str().to_owned())
}

/// Why, in words.
fn why(denied: &Denied, call: &CallArgs) -> String {
    match denied {
        Denied::Unauthenticated | Denied::Unknown => {
            "the caller is in no entry: no match names it".to_owned()
        }
        Denied::Method => format!("no row names the method {}", call.method.as_str()),
        Denied::Profile => "no row with that method names the profile".to_owned(),
        Denied::Resource => "no row with that method and profile allows the resource".to_owned(),
        Denied::Identity { .. } => "no row that goes so far allows the identity".to_owned(),
        Denied::Param { name } => format!("no row that goes so far allows the parameter {name}"),
        Denied::Ttl { attainable_max } => {
            format!("no row that goes so far allows more than {}", shown(*attainable_max))
        }
    }
}

/// The name of a parameter: its value does not matter to rows.
fn param_name(text: &str) -> Result<String, &'static str> {
    let (name, _) = text.split_once('=').ok_or("is not of the form NAME=VALUE")?;
    Ok(name.to_owned())
}
