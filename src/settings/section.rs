//! One table of the file.

use std::{borrow::Cow, fmt, ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Document, KeyFiles, ProblemKind};

/// Longer than any configured duration, and short enough to add up without overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const A_STRING: &str = "a string in quotes";

const A_DURATION: &str = r#"a duration in quotes with its unit, like "50s""#;

/// A table, read key by key. An absent or invalid key reads as none; the document collects the
/// problem and reading continues. Read all keys, then call `finish`.
pub struct Section<'a> {
    pub(super) document: &'a Document<'a>,
    path: String,
    offset: usize,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
    pub(super) key_files: KeyFiles,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        document: &'a Document<'a>,
        path: String,
        offset: usize,
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        let (known, refused, key_files) = <_>::default();
        Self { document, path, offset, table, known, refused, key_files }
    }

    /// Whether the key is present, valid or not.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether the key is present; does not mark it as known.
    #[must_use]
    pub fn mentions(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether a key of a nested table is true; does not mark either as known.
    #[must_use]
    pub fn affirms(&self, table: &str, key: &str) -> bool {
        let below = self.entry(table).and_then(|(_, value)| value.get_ref().as_table());
        let value = below.and_then(|below| below.iter().find(|(name, _)| name.get_ref() == key));
        value.is_some_and(|(_, value)| value.get_ref().as_bool() == Some(true))
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.string(key, A_STRING)
    }

    /// A string, or a whole number as a string.
    pub fn text_or_integer(&mut self, key: &'static str) -> Option<Cow<'a, str>> {
        let value = self.value(key)?.get_ref();
        if let Some(text) = value.as_str() {
            return Some(text.into());
        }
        let integer = value.as_integer();
        let number =
            integer.and_then(|digits| i64::from_str_radix(digits.as_str(), digits.radix()).ok());
        match number {
            Some(number) => Some(number.to_string().into()),
            None => self.mistyped(key, "a string in quotes or a whole number", value),
        }
    }

    /// A string parsed by `parse`.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        self.taken(key, parse(text))
    }

    /// A mandatory string parsed by `parse`.
    pub fn required<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.has(key) {
            self.problem(key, "is missing");
        }
        self.parsed(key, parse)
    }

    /// An array of strings parsed by `parse`; none if one of them is invalid.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let value = self.value(key)?.get_ref();
        let Some(items) = value.as_array() else {
            return self.mistyped(key, "an array of strings", value);
        };
        let mut list = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let result = match item.get_ref().as_str() {
                Some(text) => parse(text).map_err(|error| error.to_string()),
                None => Err(mistyped(A_STRING, item.get_ref())),
            };
            match result {
                Ok(item) => list.push(item),
                Err(message) => {
                    let path = format!("{}[{index}]", self.path_of(key));
                    self.document.problem(item.span().start, &path, &message);
                }
            }
        }
        Some(list).filter(|list| list.len() == items.len())
    }

    /// The same, but empty if the key is absent.
    pub fn list_or_empty<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        if self.has(key) { self.list(key, parse) } else { Some(Vec::new()) }
    }

    /// A duration.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.string(key, A_DURATION)?;
        let result = match humantime::parse_duration(text) {
            Ok(duration) if duration <= MAX_DURATION => Ok(duration),
            Ok(_) => Err("is longer than 366 days"),
            Err(_) => Err(r#"is not a duration like "50s", "1m 30s" or "250ms""#),
        };
        self.taken(key, result)
    }

    /// A duration within bounds; `default` if the key is absent.
    pub fn duration_within(
        &mut self,
        key: &'static str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        if !self.has(key) {
            return Some(default);
        }
        let duration = self.duration(key)?;
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let (min, max) = (shown(*bounds.start()), shown(*bounds.end()));
        self.problem(key, format!("must be from {min} to {max}"));
        None
    }

    /// A whole number within bounds.
    pub fn integer<T>(&mut self, key: &'static str, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let value = self.value(key)?.get_ref();
        let Some(integer) = value.as_integer() else {
            return self.mistyped(key, "a whole number without quotes", value);
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| T::try_from(number).ok());
        let within = number.filter(|number| bounds.contains(number));
        if within.is_none() {
            self.problem(key, format!("must be from {} to {}", bounds.start(), bounds.end()));
        }
        within
    }

    /// A finite number, whole or not.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        let value = self.value(key)?.get_ref();
        let digits = match (value.as_float(), value.as_integer()) {
            (Some(float), _) => float.as_str(),
            (_, Some(integer)) if integer.radix() == 10 => integer.as_str(),
            _ => return self.mistyped(key, "a number without quotes", value),
        };
        match digits.parse() {
            Ok(number) if f64::is_finite(number) => Some(number),
            _ => self.taken(key, Err("is not finite")),
        }
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?.get_ref();
        match value.as_bool() {
            Some(flag) => Some(flag),
            None => self.mistyped(key, "true or false, without quotes", value),
        }
    }

    /// The nested table of this name; empty if it is absent.
    #[must_use]
    pub fn section(&mut self, key: &'static str) -> Self {
        let table = self.value(key).and_then(|value| match value.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.mistyped(key, "a table", value.get_ref()),
        });
        Self::new(self.document, self.path_of(key), self.offset_of(key), table)
    }

    /// The tables inside a table, each under a user-chosen name.
    pub fn sections(&mut self, key: &'static str) -> Vec<(&'a str, Self)> {
        let Self { document, path, table, .. } = self.section(key);
        let mut sections = Vec::new();
        for (name, value) in table.into_iter().flatten() {
            let offset = name.span().start;
            let name: &str = name.get_ref();
            let path = join(&path, name);
            match value.get_ref().as_table() {
                Some(table) => {
                    sections.push((name, Self::new(document, path, offset, Some(table))));
                }
                None => document.problem(offset, &path, &mistyped("a table", value.get_ref())),
            }
        }
        sections
    }

    /// The tables of an array of tables, `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let mut tables = Vec::new();
        let items = value.get_ref().as_array();
        if items.is_none() {
            let expected = format!("an array of tables, each under [[{key}]]");
            self.problem(key, mistyped(&expected, value.get_ref()));
        }
        for (index, item) in items.into_iter().flatten().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            match item.get_ref().as_table() {
                Some(table) => {
                    let offset = item.span().start;
                    tables.push(Self::new(self.document, path, offset, Some(table)));
                }
                None => self.document.problem(
                    item.span().start,
                    &path,
                    &mistyped("a table", item.get_ref()),
                ),
            }
        }
        tables
    }

    /// Looks up an environment variable.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<String> {
        (self.document.env)(name)
    }

    /// Reports a problem with a key or with its absence.
    pub fn problem(&self, key: &str, message: impl AsRef<str>) {
        self.document.problem(self.offset_of(key), &self.path_of(key), message.as_ref());
    }

    /// Reports that the secret that this key locates does not exist.
    pub(super) fn missing_secret(&self, key: &str, message: &str) {
        let (offset, path) = (self.offset_of(key), self.path_of(key));
        self.document.add_problem(offset, &path, message, ProblemKind::MissingSecret);
    }

    /// Warns that a key is valid but may be a mistake.
    pub fn warn(&self, key: &str, message: impl AsRef<str>) {
        self.document.warn(self.offset_of(key), &self.path_of(key), message.as_ref());
    }

    /// Reports a problem with the section as a whole.
    pub fn problem_here(&self, message: impl AsRef<str>) {
        self.document.problem(self.offset, &self.path, message.as_ref());
    }

    /// Refuses a key that users are likely to try; returns whether it is present. It is never
    /// suggested.
    pub fn refuse(&mut self, key: &'static str, message: &str) -> bool {
        let present = self.entry(key).is_some();
        if present {
            self.problem(key, message);
            self.refused.push(key);
        }
        present
    }

    /// Refuses all unknown keys.
    pub fn finish(&self) {
        for (name, offset) in self.unknown() {
            let path = join(&self.path, name);
            self.document.problem(offset, &path, &unknown_key(name, &self.known));
        }
    }

    /// Whether there is an unknown key, which may be a misspelling of a missing one.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.unknown().next().is_some()
    }

    fn unknown(&self) -> impl Iterator<Item = (&'a str, usize)> {
        let keys = self.table.into_iter().flatten().map(|(key, _)| (&**key.get_ref(), key.span()));
        keys.filter(|(name, _)| !self.known.contains(name) && !self.refused.contains(name))
            .map(|(name, span)| (name, span.start))
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entry(key).map(|(_, value)| value)
    }

    fn entry(&self, key: &str) -> Option<(usize, &'a Spanned<DeValue<'a>>)> {
        let mut entries = self.table?.iter();
        let (name, value) = entries.find(|(name, _)| name.get_ref() == key)?;
        Some((name.span().start, value))
    }

    fn string(&mut self, key: &'static str, expected: &str) -> Option<&'a str> {
        let value = self.value(key)?.get_ref();
        match value.as_str() {
            Some(text) => Some(text),
            None => self.mistyped(key, expected, value),
        }
    }

    fn taken<T, E: fmt::Display>(&self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(key, error.to_string())).ok()
    }

    fn mistyped<T>(&self, key: &str, expected: &str, found: &DeValue<'_>) -> Option<T> {
        self.problem(key, mistyped(expected, found));
        None
    }

    /// The position of the key, or of the section if the key is absent.
    pub(super) fn offset_of(&self, key: &str) -> usize {
        self.entry(key).map_or(self.offset, |(offset, _)| offset)
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// The message for an unknown key: suggests the nearest known key, or lists all of them.
#[must_use]
pub fn unknown_key(name: &str, known: &[&str]) -> String {
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    match distances.min() {
        Some((distance, nearest)) if distance <= 1 + nearest.len() / 4 => {
            format!("unknown key; did you mean {nearest}?")
        }
        _ => format!("unknown key; expected one of {}", known.join(", ")),
    }
}

/// A duration in the syntax of the file.
#[must_use]
pub fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        // humantime would print 1m.
        seconds @ 60..120 if duration.subsec_nanos() == 0 => format!("{seconds}s"),
        _ => humantime::format_duration(duration).to_string(),
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn mistyped(expected: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("must be {expected}, not {found}")
}
