//! The values of a file by key path, for reporting what changed.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The values of a file by key path, such as `profiles.live.margin`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(BTreeMap<String, Value>);

impl Values {
    /// Parses a text; none if it is not TOML.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let mut values = Self::default();
        values.add("", text.parse::<Table>().ok()?);
        Some(values)
    }

    fn add(&mut self, path: &str, table: Table) {
        for (key, value) in table {
            let path = super::section::join(path, &key);
            match value {
                Value::Table(table) => self.add(&path, table),
                value => drop(self.0.insert(path, value)),
            }
        }
    }

    /// The paths whose values differ from `other`, or exist in only one of the two.
    pub fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let removed_or_changed =
            self.0.iter().filter(|(path, value)| other.0.get(*path) != Some(value));
        let added = other.0.iter().filter(|(path, _)| !self.0.contains_key(*path));
        removed_or_changed.chain(added).map(|(path, _)| path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_values_are_found_by_path() {
        let before = Values::of("a = 1\n[b]\nc = [1]\nd = 'x'\n[b.e]\nf = true").unwrap();
        let after = Values::of("a = 1\nb.c = [2]\n[b.e]\nf = true\ng = 1\n[h]").unwrap();
        let mut changed: Vec<_> = before.changed(&after).collect();
        changed.sort_unstable();
        assert_eq!(changed, ["b.c", "b.d", "b.e.g"]);
        assert_eq!(before.changed(&before).count(), 0);
        assert_eq!(Values::of("a ="), None);
    }
}
