//! `grantmint check`: what is wrong with a configuration, or what it promises.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use grantmint::{
    config::{Config, Profile},
    name::Resource,
    settings::shown,
};
use serde_json::{Map, Value, json};

use crate::{exit::Exit, failure::Failure};

/// Validate a configuration, show it without its secrets, and say what each profile promises
///
/// Exits with 0 where it is good; with 1 where it is not, all that is wrong with it on stderr.
#[derive(Debug, Args)]
pub(crate) struct CheckCommand {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,

    /// The same as an option, as `serve` takes it; FILE goes before it
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CONFIG")]
    config: Option<PathBuf>,

    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl CheckCommand {
    /// Validates and shows.
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let path = self.file.as_ref().or(self.config.as_ref()).cloned().unwrap_or_default();
        let config = Config::load(&path)?;
        let mut shown = Vec::new();
        let written = if self.json {
            write_json(&mut shown, &config)
        } else {
            write_text(&mut shown, &config)
        };
        written.and_then(|()| io::stdout().write_all(&shown)).map_err(Failure::from_stdout)?;
        Ok(Exit::Done)
    }
}

type Keys = Vec<(&'static str, Value)>;

/// The keys of the top level and of the tables that are no profile's.
fn sections(config: &Config) -> (Keys, [(&'static str, Keys); 3]) {
    let Config { server, admin, limits, default_profile, .. } = config;
    let default = default_profile.iter().map(|name| ("default_profile", json!(name.as_str())));
    let server = vec![
        ("listen", json!(server.listen.to_string())),
        ("drain_delay", json!(shown(server.drain_delay))),
        ("drain_grace", json!(shown(server.drain_grace))),
    ];
    let admin = vec![("listen", json!(admin.listen.to_string()))];
    let limits = vec![
        ("identities", json!(limits.mint.identities)),
        ("indices", json!(limits.mint.indices)),
        ("chunk_tokens", json!(limits.mint.chunk_tokens)),
        ("request_bytes", json!(limits.rpc.request_bytes)),
        ("bulk_request_bytes", json!(limits.rpc.bulk_request_bytes)),
        ("waiting_calls", json!(limits.mint.waiting_calls)),
    ];
    (default.collect(), [("server", server), ("admin", admin), ("limits", limits)])
}

fn profile_keys(profile: &Profile) -> Keys {
    let resources: Vec<_> = profile.resources.iter().map(Resource::as_str).collect();
    let policy = &profile.policy;
    let budget = &profile.budget;
    let mut keys = vec![("kind", json!(profile.kind))];
    keys.extend(profile.provider.shown());
    keys.push(("resources", json!(resources)));
    if let Some(resource) = &profile.default_resource {
        keys.push(("default_resource", json!(resource.as_str())));
    }
    keys.extend([
        ("grant_ttl", json!(shown(policy.grant_ttl))),
        ("refresh_after", json!(shown(policy.refresh_after))),
        ("margin", json!(shown(policy.margin))),
        ("token_ttl", json!(shown(profile.token_ttl))),
        ("expiry_policy", json!(profile.expiry_policy.as_str())),
        ("allow_independent", json!(profile.allow_independent)),
        (
            "budget",
            json!({"rate": budget.rate, "burst": budget.burst, "concurrent": budget.concurrent}),
        ),
    ]);
    keys
}

fn write_text(mut out: impl Write, config: &Config) -> io::Result<()> {
    let (top, sections) = sections(config);
    write_keys(&mut out, &top)?;
    for (name, keys) in &sections {
        writeln!(out, "\n[{name}]")?;
        write_keys(&mut out, keys)?;
    }
    for profile in &config.profiles {
        writeln!(out, "\n[profiles.{}]", profile.name)?;
        write_keys(&mut out, &profile_keys(profile))?;
        write_promise(&mut out, profile)?;
    }
    Ok(())
}

/// What a profile promises while its upstream is well.
fn write_promise(out: &mut impl Write, profile: &Profile) -> io::Result<()> {
    let grant_ttl = shown(profile.policy.grant_ttl);
    let refresh_after = shown(profile.policy.refresh_after);
    let least = shown(profile.worst_hand_out());
    let calls = profile.policy.calls_a_minute();
    let (resources, capacity) = (profile.resources.len(), profile.capacity());
    writeln!(out, "# a grant of {grant_ttl} is refreshed after {refresh_after} at the latest")?;
    writeln!(out, "# a token can be used for {least} at least, while the upstream is well")?;
    writeln!(out, "# upstream calls a minute: {calls:.1} for each of {resources} resource(s)")?;
    writeln!(out, "# the account's budget keeps {capacity} such resources fresh")
}

fn write_keys(out: &mut impl Write, keys: &Keys) -> io::Result<()> {
    keys.iter().try_for_each(|(key, value)| writeln!(out, "{key} = {value}"))
}

fn write_json(mut out: impl Write, config: &Config) -> io::Result<()> {
    let (top, sections) = sections(config);
    let mut whole = object(top);
    for (name, keys) in sections {
        whole.insert(name.to_owned(), Value::Object(object(keys)));
    }
    let profiles = config.profiles.iter().map(|profile| {
        let mut keys = object(profile_keys(profile));
        keys.insert(
            "promise".to_owned(),
            json!({
                "refresh_after_seconds": profile.policy.refresh_after.as_secs_f64(),
                "worst_hand_out_seconds": profile.worst_hand_out().as_secs_f64(),
                "calls_a_minute_per_resource": profile.policy.calls_a_minute(),
                "budget_capacity_resources": profile.capacity(),
            }),
        );
        (profile.name.to_string(), Value::Object(keys))
    });
    let profiles = profiles.collect();
    whole.insert("profiles".to_owned(), Value::Object(profiles));
    writeln!(out, "{:#}", Value::Object(whole))
}

fn object(keys: Keys) -> Map<String, Value> {
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC";

    fn config() -> Config {
        let text = include_str!("../../../grantmint.toml").replace("_secret_file", "_secret_env");
        Config::parse_with("grantmint.toml", &text, &|_| Some(SECRET.to_owned())).unwrap()
    }

    fn shown_by(write: fn(&mut Vec<u8>, &Config) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out, &config()).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn text() -> String {
        shown_by(|out, config| write_text(out, config))
    }

    fn json() -> String {
        shown_by(|out, config| write_json(out, config))
    }

    #[test]
    fn a_profiles_promise_is_told() {
        let text = text();
        for told in [
            "default_profile = \"live\"\n\n[server]\nlisten = \"127.0.0.1:50051\"\n",
            "\n\n[profiles.live]\nkind = \"twilio-live\"\n",
            "# a grant of 60s is refreshed after 50s at the latest\n",
            "# a token can be used for 6s at least, while the upstream is well\n",
            "# upstream calls a minute: 1.3 for each of 1 resource(s)\n",
            "# the account's budget keeps 475 such resources fresh\n",
        ] {
            assert!(text.contains(told), "{told}\n{text}");
        }
    }

    #[test]
    fn json_says_the_same() {
        let json: Value = serde_json::from_str(&json()).unwrap();
        assert_eq!(json["limits"]["chunk_tokens"], 512);
        let live = &json["profiles"]["live"];
        assert_eq!(live["budget"], json!({"rate": 10, "burst": 10, "concurrent": 8}));
        assert_eq!(live["promise"]["worst_hand_out_seconds"], 6.0);
        assert_eq!(live["promise"]["budget_capacity_resources"], 475);
    }

    #[test]
    fn a_secret_is_not_shown_but_where_it_is() {
        for shown in [text(), json()] {
            assert!(!shown.contains(SECRET), "{shown}");
            assert!(shown.contains("(set, from environment variable /run/secrets/twilio)"));
        }
    }
}
