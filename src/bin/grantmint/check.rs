//! `grantmint check`: validates a configuration, shows what it guarantees, and checks what it allows
//! a caller.

mod allowed;
mod callers;
mod issuers;
mod keys;
mod rates;
mod settings;
mod summary;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use grantmint::{
    clock::Clock,
    config::{Config, Profile, Supply},
    egress::Egress,
    provider::Upstream,
};
use serde_json::{Map, Value, json};

use self::{
    allowed::{CallArgs, Decision},
    keys::{Keys, profile_keys, sections},
    rates::Rate,
};
use crate::{exit::Exit, failure::Failure, output::StdoutError};

/// Validate a configuration, and show what each profile guarantees
///
/// Warnings come last. With --verbose, every setting is shown first, without secrets.
///
/// Exits with 0 if the configuration is valid, and the caller named with --as, if any, is allowed
/// its call; otherwise with 1 and every problem on standard error.
#[derive(Debug, Args)]
pub(crate) struct CheckCommand {
    /// Configuration file
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,

    /// The same as an option, as in `serve`; FILE takes precedence
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CONFIG")]
    config: Option<PathBuf>,

    /// Also show every setting, with its default
    #[arg(long, short)]
    verbose: bool,

    /// Print one JSON object, with every setting
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    call: CallArgs,
}

impl CheckCommand {
    /// Validates and shows the configuration.
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let path = self.file.as_ref().or(self.config.as_ref()).cloned().unwrap_or_default();
        let config = Config::load(&path)?;
        if let Some(Decision { text, json, exit }) = self.call.decide(&config)? {
            let decision = if self.json { format!("{json}\n") } else { text };
            io::stdout().write_all(decision.as_bytes()).map_err(StdoutError)?;
            return Ok(exit);
        }
        let checked = Checked::new(path.display().to_string(), config)?;
        let mut shown = Vec::new();
        let written = if self.json {
            write_json(&mut shown, &checked)
        } else {
            write_text(&mut shown, &checked, self.verbose)
        };
        written.and_then(|()| io::stdout().write_all(&shown)).map_err(StdoutError)?;
        Ok(Exit::Done)
    }
}

/// A valid configuration, and the route to each profile's upstream.
struct Checked {
    file: String,
    config: Config,
    /// None for a profile without an upstream.
    egresses: Vec<Option<Egress>>,
}

impl Checked {
    fn new(file: String, config: Config) -> Result<Self, Failure> {
        let (mut egresses, mut problems) = (Vec::new(), Vec::new());
        for profile in &config.profiles {
            // Such a key would also keep the server from starting.
            if let Supply::Key(_) = &profile.supply
                && let Err(error) = profile.token_format().prepare(None, Clock::system().now())
            {
                let problem = format!("profile {}: {error}", profile.name);
                return Err(Failure::permanent(problem).next("fix the profile's key or claims"));
            }
            match profile.provider.upstream().map(Upstream::egress).transpose() {
                Ok(egress) => egresses.push(egress),
                Err(error) => problems.push(format!("profile {}: {error}", profile.name)),
            }
        }
        if problems.is_empty() {
            return Ok(Self { file, config, egresses });
        }
        Err(Failure::permanent(problems.join("\n"))
            .next("the file is valid; fix the environment, and start the server in the same one"))
    }

    fn profiles(&self) -> impl Iterator<Item = (&Profile, Option<&Egress>)> {
        self.config.profiles.iter().zip(self.egresses.iter().map(Option::as_ref))
    }
}

/// A part of the configuration, and what is said of it.
struct Part {
    title: String,
    lines: Vec<String>,
}

fn write_text(out: &mut impl Write, checked: &Checked, verbose: bool) -> io::Result<()> {
    if !verbose {
        return summary::write(out, checked, "; --verbose shows every setting");
    }
    settings::write(out, &checked.config)?;
    writeln!(out)?;
    summary::write(out, checked, "")
}

fn write_json(mut out: impl Write, checked: &Checked) -> io::Result<()> {
    let (top, sections) = sections(&checked.config);
    let mut whole = object(top);
    for (name, keys) in sections {
        let mut keys = object(keys);
        // A nested section comes after its parent.
        if let Some((outer, inner)) = name.split_once('.') {
            let warnings = checked.config.tls.iter().flat_map(|loaded| &loaded.warnings);
            keys.insert("warnings".to_owned(), warnings.map(String::as_str).collect());
            if let Some(Value::Object(outer)) = whole.get_mut(outer) {
                outer.insert(inner.to_owned(), Value::Object(keys));
            }
            continue;
        }
        whole.insert(name.to_owned(), Value::Object(keys));
    }
    let profiles = checked.profiles().map(|(profile, egress)| {
        let mut keys = object(profile_keys(profile));
        let egress = egress.map(|egress| {
            json!({
                "proxy": egress.route.proxy().map(ToString::to_string),
                "route": egress.route.to_string(),
                "roots": egress.roots.as_ref().map(ToString::to_string),
                "warnings": egress.warnings,
            })
        });
        // Null if it depends on the lifetime that the upstream grants.
        let seconds = |duration: Option<Duration>| duration.map(|it| it.as_secs_f64());
        let mut promise =
            json!({"shortest_validity_seconds": seconds(profile.shortest_validity())});
        if let Some(grants) = profile.grants() {
            promise["refresh_after_seconds"] = json!(seconds(grants.policy.usual_point()));
            promise["requests_per_minute_per_resource"] =
                json!(grants.policy.requests_per_minute());
            promise["budget_capacity_resources"] = json!(grants.capacity());
        }
        if let Some(rate) = Rate::of(profile, &checked.config) {
            promise["signing"] = rate.json();
        }
        let notes = Some(profile.provider.notes()).filter(|notes| !notes.is_empty());
        let notes = notes.map(|notes| json!(notes));
        let extra = [("egress", egress), ("promise", Some(promise)), ("notes", notes)];
        keys.extend(extra.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        (profile.name.to_string(), Value::Object(keys))
    });
    let profiles = profiles.collect();
    whole.insert("profiles".to_owned(), Value::Object(profiles));
    if let Some(issuers) = issuers::json(&checked.config) {
        whole.insert("issuers".to_owned(), issuers);
    }
    if let Some(callers) = callers::json(&checked.config) {
        whole.insert("callers".to_owned(), callers);
    }
    let warnings = checked.config.warnings.iter();
    let warnings: Vec<_> =
        warnings.map(|it| json!({"line": it.line, "message": it.message})).collect();
    if !warnings.is_empty() {
        whole.insert("warnings".to_owned(), json!(warnings));
    }
    writeln!(out, "{:#}", Value::Object(whole))
}

fn object(keys: Keys) -> Map<String, Value> {
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use grantmint::{
        config::Grants,
        egress::{DirectReason, Route},
        refresh::schedule::{GrantLife, Point, Policy},
    };

    use super::*;

    const SECRET: &str = "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC";

    fn checked() -> Checked {
        let text = include_str!("../../../grantmint.toml").replace("_secret_file", "_secret_env");
        let config = Config::parse_with("grantmint.toml", &text, &|_| Some(SECRET.to_owned()));
        let route = Route::Direct(DirectReason::NoProxy);
        let warnings = vec!["X is unused".to_owned()];
        let egress = Egress { upstream: http::Uri::default(), route, roots: None, warnings };
        let egresses = vec![Some(egress)];
        Checked { file: "grantmint.toml".to_owned(), config: config.unwrap(), egresses }
    }

    fn shown_by(write: fn(&mut Vec<u8>, &Checked) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out, &checked()).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn text() -> String {
        shown_by(|out, checked| write_text(out, checked, true))
    }

    fn json() -> String {
        shown_by(|out, checked| write_json(out, checked))
    }

    #[test]
    fn summary_ends_with_the_warnings_and_the_result() {
        let summary = shown_by(|out, checked| write_text(out, checked, false));
        let in_environment = "profiles.live.api_key_secret_env: other processes of the same user \
                              can read the environment, and it changes only with a restart; \
                              prefer a file";
        let line = include_str!("../../../grantmint.toml")
            .lines()
            .position(|line| line.starts_with("api_key_secret_file"));
        let expected = format!(
            "profile live (twilio-live)\n  \
             from this host the upstream is reached directly: no proxy is configured\n  \
             a grant of 60s is refreshed after at most 50s\n  \
             shortest validity issued while the upstream is healthy: 6s\n  \
             upstream requests a minute: 1.3 for each of 1 resource(s)\n  \
             the account's budget can refresh 475 resources\n\n\
             callers\n  \
             no [callers]: any client that can connect may call every method\n\n\
             warning: grantmint.toml:{}: {in_environment}\n\
             warning: profile live: X is unused\n\
             grantmint.toml is valid: one profile, 2 warnings; --verbose shows every setting\n",
            line.unwrap() + 1
        );
        assert_eq!(summary, expected);
    }

    #[test]
    fn settings_precede_the_summary_if_requested() {
        let text = text();
        let settings = "default_profile = \"live\"\n\n[server]\nlisten = \"127.0.0.1:50051\"\n";
        assert!(text.starts_with(settings), "{text}");
        let profile = text.find("\n\n[profiles.live]\nkind = \"twilio-live\"\n").unwrap();
        assert!(profile < text.find("\n\nprofile live (twilio-live)\n").unwrap(), "{text}");
    }

    #[test]
    fn json_has_the_same_values() {
        let json: Value = serde_json::from_str(&json()).unwrap();
        assert_eq!(json["limits"]["chunk_tokens"], 512);
        let live = &json["profiles"]["live"];
        assert_eq!(live["egress"]["route"], "directly: no proxy is configured");
        assert_eq!(live["egress"]["warnings"], json!(["X is unused"]));
        assert_eq!(live["budget"], json!({"rate": 10, "burst": 10, "concurrent": 8}));
        assert_eq!(live["promise"]["shortest_validity_seconds"], 6.0);
        assert_eq!(live["promise"]["budget_capacity_resources"], 475);
    }

    /// The profile with forwarded grants of these lives and this point.
    fn forwarded(life: GrantLife, point: Point) -> (String, Value) {
        let mut checked = checked();
        let profile = &mut checked.config.profiles[0];
        let Supply::Grants(grants, _) = profile.supply.clone() else { panic!("{profile:?}") };
        let policy = Policy { life, point, ..grants.policy };
        profile.supply = Supply::Forwarded(Grants { policy, ..grants });
        (profile.token_ttl, profile.max_token_ttl) = (Duration::MAX, Duration::MAX);
        let (mut text, mut json) = (Vec::new(), Vec::new());
        write_text(&mut text, &checked, true).unwrap();
        write_json(&mut json, &checked).unwrap();
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        (String::from_utf8(text).unwrap(), json["profiles"]["live"].take())
    }

    #[test]
    fn shared_credential_is_noted_and_unknown_values_are_omitted() {
        let shared = "one credential is shared unchanged by all callers of a resource";
        let (text, json) =
            forwarded(GrantLife::Requested(Duration::from_secs(60)), Point::Share(0.5));
        for line in [
            shared,
            "\nshareable = true\ngrant_ttl = \"60s\"\nrefresh_after = \"30s\"\nmargin = \"2s\"\nbudget",
            "shortest validity issued while the upstream is healthy: 26s\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(json["promise"]["shortest_validity_seconds"], 26.0);

        let depends =
            "the shortest validity and the upstream requests a minute depend on the lifetime";
        for (point, schedule) in [
            (Point::Share(0.5), "a grant is refreshed after at most 50 % of its lifetime\n"),
            (Point::After(Duration::from_secs(600)), "\nrefresh_after = \"10m\"\nmargin"),
            (Point::Promise(Duration::from_secs(600)), "\npromise = \"10m\"\nmargin"),
        ] {
            let (text, json) = forwarded(GrantLife::Reported, point);
            for line in [shared, depends, schedule] {
                assert!(text.contains(line), "{line}\n{text}");
            }
            for unknown in ["grant_ttl", "token_ttl", "expiry_policy", "can refresh"] {
                assert!(!text.contains(unknown), "{unknown}\n{text}");
            }
            assert!(json["promise"].as_object().unwrap().values().all(Value::is_null), "{json}");
            assert_eq!(json["shareable"], true);
        }
    }

    #[test]
    fn origin_of_a_secret_is_shown_and_the_secret_is_not() {
        for shown in [text(), json()] {
            assert!(!shown.contains(SECRET), "{shown}");
            assert!(shown.contains("(set, from environment variable /run/secrets/twilio)"));
        }
    }
}
