//! A kind's demos: profiles with public keys, and the emulated upstreams that accept them.

use std::{fmt::Write, sync::Arc};

use serde_json::{Map, Value};

use crate::{sandbox::Endpoint, settings::SecretKeys};

/// A profile for the sandbox. Its values are public and have no other use.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The kind's name.
    pub kind: &'static str,
    /// The name of what it emulates: the kind, or one of the kind's presets.
    pub name: &'static str,
    /// The profile's name.
    pub profile: &'static str,
    /// Whether the sandbox serves it by default.
    pub served: Served,
    /// The kind's own keys without the secret, in the order of its sample.
    pub keys: Vec<(&'static str, Value)>,
    /// The secret, if the kind has one.
    pub secret: Option<DemoSecret>,
    /// The resources; empty if the profile needs none.
    pub resources: Vec<&'static str>,
    /// Builds the emulated upstream that accepts these keys; `None` if tokens need only a key.
    pub build_endpoint: Option<BuildEndpoint>,
}

/// Builds a demo's emulated upstream; `None` if its keys are unusable.
pub(crate) type BuildEndpoint = fn(&Demo) -> Option<Arc<dyn Endpoint>>;

/// Whether the sandbox serves a demo by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// A demo's secret, which is public.
#[derive(Clone, Debug)]
pub struct DemoSecret {
    /// The configuration keys for its location.
    pub keys: SecretKeys,
    /// The environment variable that holds it.
    pub variable: &'static str,
    /// The secret, on one line.
    pub value: String,
}

impl Demo {
    /// Whether it has an upstream to emulate.
    #[must_use]
    pub const fn has_upstream(&self) -> bool {
        self.build_endpoint.is_some()
    }

    /// Builds the emulated upstream that accepts its keys; `None` if tokens need only a key. Two
    /// presets sign with RSA to check their key, so this can take milliseconds.
    #[must_use]
    pub fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        self.build_endpoint.and_then(|build| build(self))
    }

    /// A profile's keys in TOML, one per line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        // A demo's values are written alike in JSON and TOML.
        let mut lines = vec![format!("kind = {}", Value::from(self.kind))];
        lines.extend(self.kinds_own_lines());
        if !self.resources.is_empty() {
            lines.push(format!("resources = {}", Value::from(self.resources.clone())));
        }
        lines
    }

    /// The kind's own keys among them.
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

    /// The value of an environment variable, if it holds the secret.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        self.secret.as_ref().filter(|it| it.variable == name).map(|it| it.value.clone())
    }

    /// All its values by key, including the secret, for machines.
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

/// A configuration with a profile for each of these demos. The first one with an upstream is the
/// default profile.
#[must_use]
pub fn configuration(demos: &[Demo]) -> String {
    let mut text = String::new();
    if let Some(first) = demos.iter().find(|demo| demo.has_upstream()) {
        // Writing to a string never fails.
        let _ = writeln!(text, "default_profile = {}", Value::from(first.profile));
    }
    for demo in demos {
        let _ = writeln!(text, "\n[profiles.{}]\n{}", demo.profile, demo.lines().join("\n"));
    }
    text
}
