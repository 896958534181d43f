//! A kind's demo: a profile whose keys are public, and the emulated upstream that knows them.

use std::{fmt::Write, sync::Arc};

use serde_json::{Map, Value};

use crate::{sandbox::Endpoint, settings::SecretKeys};

/// A profile for the sandbox. Its values are public, and good for nothing else.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The kind's name.
    pub kind: &'static str,
    /// The kind's own keys that a profile needs, less its secret, in the order of its sample.
    pub keys: Vec<(&'static str, Value)>,
    /// The secret; none where the kind has none.
    pub secret: Option<DemoSecret>,
    /// The resources.
    pub resources: Vec<&'static str>,
    /// The emulated upstream that knows these keys.
    pub endpoint: Arc<dyn Endpoint>,
}

/// A demo's secret: public, as all of it.
#[derive(Clone, Copy, Debug)]
pub struct DemoSecret {
    /// The keys that say where it is.
    pub keys: SecretKeys,
    /// The environment variable that it is in.
    pub variable: &'static str,
    /// The secret.
    pub value: &'static str,
}

impl Demo {
    /// The keys of a profile, in TOML, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        // What a demo's keys hold is written alike in JSON and in TOML.
        let mut lines = vec![format!("kind = {}", Value::from(self.kind))];
        lines.extend(self.keys.iter().map(|(key, value)| format!("{key} = {value}")));
        lines.extend(
            self.secret.map(|it| format!("{} = {}", it.keys.env, Value::from(it.variable))),
        );
        lines.push(format!("resources = {}", Value::from(self.resources.clone())));
        lines
    }

    /// A configuration with this as its one profile, `demo`.
    #[must_use]
    pub fn configuration(&self) -> String {
        let mut text = "[profiles.demo]\n".to_owned();
        for line in self.lines() {
            // Writing to a text never fails.
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The value of an environment variable, where it is the one that the secret is in.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        self.secret.filter(|it| it.variable == name).map(|it| it.value.to_owned())
    }

    /// All its values by key, the secret's too, for machines.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        let mut values: Map<_, _> =
            self.keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        values.extend(self.secret.map(|it| (it.keys.value.to_owned(), it.value.into())));
        values.insert("resources".to_owned(), self.resources.clone().into());
        values
    }
}
