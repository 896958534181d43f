//! A kind's demos: profiles whose keys are public, and the emulated upstreams that know them.

use std::{fmt::Write, sync::Arc};

use serde_json::{Map, Value};

use crate::{sandbox::Endpoint, settings::SecretKeys};

/// A profile for the sandbox. Its values are public, and good for nothing else.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The kind's name.
    pub kind: &'static str,
    /// What it emulates: the kind's name, or that of something that the kind knows.
    pub name: &'static str,
    /// The profile's name.
    pub profile: &'static str,
    /// Whether a service that nobody configured has it.
    pub served: Served,
    /// The kind's own keys that a profile needs, less its secret, in the order of its sample.
    pub keys: Vec<(&'static str, Value)>,
    /// The secret; none where the kind has none.
    pub secret: Option<DemoSecret>,
    /// The resources; empty where the profile needs none.
    pub resources: Vec<&'static str>,
    /// Builds the emulated upstream that accepts these keys; `None` where tokens need only a key.
    pub build_endpoint: Option<fn(&Self) -> Option<Arc<dyn Endpoint>>>,
}

/// Whether a service that nobody configured has a demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// A demo's secret: public, as all of it.
#[derive(Clone, Debug)]
pub struct DemoSecret {
    /// The keys that say where it is.
    pub keys: SecretKeys,
    /// The environment variable that it is in.
    pub variable: &'static str,
    /// The secret, on one line.
    pub value: String,
}

impl Demo {
    /// Whether it has an upstream that can be emulated.
    #[must_use]
    pub const fn has_upstream(&self) -> bool {
        self.build_endpoint.is_some()
    }

    /// The emulated upstream that accepts its keys, built anew by each call: two of them sign
    /// with RSA to check their key. `None` where tokens need only a key.
    #[must_use]
    pub fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        self.build_endpoint.and_then(|build| build(self))
    }

    /// The keys of a profile, in TOML, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        // What a demo's keys hold is written alike in JSON and in TOML.
        let mut lines = vec![format!("kind = {}", Value::from(self.kind))];
        lines.extend(self.kinds_own_lines());
        if !self.resources.is_empty() {
            lines.push(format!("resources = {}", Value::from(self.resources.clone())));
        }
        lines
    }

    /// Those of them that are the kind's own.
    pub(super) fn kinds_own_lines(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|(key, value)| format!("{key} = {value}"));
        let mut lines: Vec<_> = keys.collect();
        lines.extend(
            self.secret
                .as_ref()
                .map(|it| format!("{} = {}", it.keys.env, Value::from(it.variable))),
        );
        lines
    }

    /// The value of an environment variable, where it is the one that the secret is in.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        self.secret.as_ref().filter(|it| it.variable == name).map(|it| it.value.clone())
    }

    /// All its values by key, the secret's too, for machines.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        let mut values: Map<_, _> =
            self.keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let secret = self.secret.as_ref();
        values.extend(secret.map(|it| (it.keys.value.to_owned(), it.value.clone().into())));
        if !self.resources.is_empty() {
            values.insert("resources".to_owned(), self.resources.clone().into());
        }
        values
    }
}

/// A configuration with a profile for each of these demos; calls that name none are for the
/// first that has an upstream.
#[must_use]
pub fn configuration(demos: &[Demo]) -> String {
    let mut text = String::new();
    if let Some(first) = demos.iter().find(|demo| demo.has_upstream()) {
        // Writing to a text never fails.
        let _ = writeln!(text, "default_profile = {}", Value::from(first.profile));
    }
    for demo in demos {
        let _ = writeln!(text, "\n[profiles.{}]\n{}", demo.profile, demo.lines().join("\n"));
    }
    text
}
