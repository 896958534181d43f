//! A JWT's header and claims as a table: the path and the value of each claim.
//!
//! JSON does not fix the order of members, so they are ordered by how often they vary: first what
//! all tokens of a grant share, then what changes each second, each call and each token. An object
//! varies as its most variable member does. Everything before the first value that varies by call
//! or token is encoded and hashed once for many tokens.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json, value::RawValue};

use super::{Call, PrepareError, Times, id::Serial, json};

/// The header and the claims of a kind's tokens.
#[derive(Clone, Debug, Default)]
pub struct Table {
    header: Map<String, Json>,
    claims: Vec<(String, Node)>,
}

/// The value of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A constant.
    Constant(Json),
    /// The grant as received: JSON.
    Grant,
    /// A time, in whole Unix seconds.
    Time(Time),
    /// The resource, as a string.
    Resource,
    /// The resource, as a string; omitted if the call has none.
    ResourceIfAny,
    /// The part of the resource after its last slash, as a string; the whole resource if it has no
    /// slash.
    ResourceEnd,
    /// The call's parameter with this index, if it is set.
    Parameter(usize),
    /// The identity, as a string.
    Identity,
    /// The token's id, as a string.
    Id(Id),
}

/// A time in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// This many seconds before the issue.
    Issue {
        /// Seconds.
        back: u32,
    },
    /// The expiry.
    Expire,
}

/// The format of a token's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// The serial alone: 16 characters.
    Serial,
    /// The serial as a UUID.
    Uuid,
    /// A prefix, the second of issue in ten digits and the serial, separated by dashes.
    Dated(String),
}

/// How often a value varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Varies {
    Never,
    Second,
    Call,
    Token,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Value),
    Object(Object),
}

#[derive(Clone, Debug, Default)]
struct Object {
    members: Vec<(String, Node)>,
    /// The empty object it was added as, which is written even if no member is; none for an object
    /// that is omitted when empty.
    empty: Option<Value>,
}

/// Two claims with conflicting paths: the paths are equal, or one leads through the other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two claims have conflicting paths: {0}")]
pub struct Conflict(pub String);

impl Table {
    /// Creates a table with this header and no claims.
    #[must_use]
    pub fn new(header: Map<String, Json>) -> Self {
        Self { header, claims: Vec::new() }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Map<String, Json> {
        &self.header
    }

    /// Adds a claim at a path such as `["grants", "identity"]`. A constant object is added member
    /// by member, so others can be added to it; an empty one is always written.
    ///
    /// # Errors
    ///
    /// The path conflicts with an existing claim.
    pub fn add(&mut self, path: &[&str], value: Value) -> Result<(), Conflict> {
        match value {
            Value::Constant(Json::Object(members)) if !members.is_empty() => {
                members.into_iter().try_for_each(|(name, value)| {
                    self.add(&[path, &[name.as_str()]].concat(), Value::Constant(value))
                })
            }
            value => self.add_leaf(path, value),
        }
    }

    fn add_leaf(&mut self, path: &[&str], value: Value) -> Result<(), Conflict> {
        let (last, objects) = path.split_last().ok_or_else(|| Conflict(String::new()))?;
        let conflict = || Conflict(path.join("."));
        let mut members = &mut self.claims;
        for name in objects {
            let at = members.iter().position(|(member, _)| member == name).unwrap_or_else(|| {
                members.push(((*name).to_owned(), Node::Object(Object::default())));
                members.len() - 1
            });
            members = match &mut members[at].1 {
                Node::Object(object) => &mut object.members,
                Node::Leaf(_) => return Err(conflict()),
            };
        }
        if members.iter().any(|(member, _)| member == last) {
            return Err(conflict());
        }
        let node = match value {
            Value::Constant(Json::Object(_)) => {
                Node::Object(Object { members: Vec::new(), empty: Some(value) })
            }
            value => Node::Leaf(value),
        };
        members.push(((*last).to_owned(), node));
        Ok(())
    }

    /// All claims with their paths, in the order in which they were added to their objects. A
    /// constant empty object precedes its members.
    #[must_use]
    pub fn claims(&self) -> Vec<(Vec<&str>, &Value)> {
        fn walk<'a>(
            members: &'a [(String, Node)],
            path: &[&'a str],
            found: &mut Vec<(Vec<&'a str>, &'a Value)>,
        ) {
            for (name, node) in members {
                let path = [path, &[name]].concat();
                match node {
                    Node::Leaf(value) => found.push((path, value)),
                    Node::Object(Object { members, empty }) => {
                        found.extend(empty.as_ref().map(|empty| (path.clone(), empty)));
                        walk(members, &path, found);
                    }
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.claims, &[], &mut found);
        found
    }

    /// The parts of the payload with `grant`, in the order in which they are written.
    ///
    /// # Errors
    ///
    /// The claims need a grant, and there is none or it is not JSON.
    pub(super) fn around(&self, grant: Option<&str>) -> Result<Vec<Part>, PrepareError> {
        let mut parts = self.layout();
        for part in &mut parts {
            if *part == Part::Grant {
                let grant = grant.ok_or(PrepareError::NoGrant)?;
                // Invalid JSON could close the surrounding members and open others.
                let grant: &RawValue =
                    serde_json::from_str(grant).map_err(|_| PrepareError::GrantUnfit)?;
                *part = Part::Text(grant.get().to_owned());
            }
        }
        Ok(parts)
    }

    /// The parts of the payload, in the order in which they are written.
    fn layout(&self) -> Vec<Part> {
        let mut parts = Parts(Vec::new());
        parts.object(&self.claims);
        parts.0
    }
}

/// The maximum white space before the first part that varies by call. It aligns what follows to
/// whole groups.
pub(super) const MAX_FILL: &str = "  ";

/// A part of a payload.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// Constant text.
    Text(String),
    /// The grant.
    Grant,
    /// A time.
    Time(Time),
    /// The quoted resource.
    Resource,
    /// The part of the resource after its last slash, quoted.
    ResourceEnd,
    /// A member that is written only if the call sets it.
    Optional(Optional),
    /// The identity without quotes, which belong to the surrounding text.
    Identity,
    /// The quoted id.
    Id(Id),
}

/// A member that is written only if the call sets it or one of its members.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Optional {
    /// The quoted name followed by a colon.
    name: String,
    value: OptionalValue,
    comma: Comma,
}

#[derive(Clone, Debug, PartialEq)]
enum OptionalValue {
    Resource,
    Parameter(usize),
    Object(Vec<Optional>),
}

/// How an optional member is separated from the others of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comma {
    /// A comma before it: a member always precedes it.
    Before,
    /// A comma after it: a member always follows it.
    Behind,
    /// A comma before it if another member was written: all members of the object are optional.
    Between,
}

impl Optional {
    /// Writes the member and its comma, if `call` sets it.
    pub(super) fn write(&self, call: &Call<'_>, text: &mut String) {
        let start = text.len();
        // After a brace, or after nothing but white space, it is the object's first member.
        if self.comma == Comma::Before
            || (self.comma == Comma::Between
                && !matches!(text.as_bytes().last(), None | Some(b'{' | b' ')))
        {
            text.push(',');
        }
        text.push_str(&self.name);
        let is_set = match &self.value {
            OptionalValue::Resource => {
                json::push_quoted(call.resource, text);
                !call.resource.is_empty()
            }
            OptionalValue::Parameter(number) => {
                let value = call.params.get(*number).and_then(Option::as_deref);
                text.push_str(value.unwrap_or_default());
                value.is_some()
            }
            OptionalValue::Object(members) => {
                text.push('{');
                let empty = text.len();
                for member in members {
                    member.write(call, text);
                }
                let is_set = text.len() > empty;
                text.push('}');
                is_set
            }
        };
        if !is_set {
            text.truncate(start);
        } else if self.comma == Comma::Behind {
            text.push(',');
        }
    }
}

impl Part {
    /// Whether it varies by call but not by token.
    pub(super) const fn varies_by_call(&self) -> bool {
        matches!(self, Self::Resource | Self::ResourceEnd | Self::Optional(_))
    }

    /// Writes a part that varies by times or call. Parts that vary by token are skipped.
    pub(super) fn write(&self, times: Times, call: &Call<'_>, text: &mut String) {
        match self {
            Self::Text(constant) => text.push_str(constant),
            Self::Time(time) => text.push_str(itoa::Buffer::new().format(times.at(*time))),
            Self::Resource => json::push_quoted(call.resource, text),
            Self::ResourceEnd => json::push_quoted(end_of(call.resource), text),
            Self::Optional(member) => member.write(call, text),
            Self::Grant | Self::Identity | Self::Id(_) => {}
        }
    }

    /// Whether it varies by token.
    pub(super) const fn varies_by_token(&self) -> bool {
        matches!(self, Self::Identity | Self::Id(_))
    }
}

impl Node {
    fn varies(&self) -> Varies {
        match self {
            Self::Leaf(Value::Constant(_) | Value::Grant) => Varies::Never,
            Self::Leaf(Value::Time(_)) => Varies::Second,
            Self::Leaf(
                Value::Resource | Value::ResourceIfAny | Value::ResourceEnd | Value::Parameter(_),
            ) => Varies::Call,
            Self::Leaf(Value::Identity | Value::Id(_)) => Varies::Token,
            Self::Object(Object { members, .. }) => {
                members.iter().map(|(_, node)| node.varies()).max().unwrap_or(Varies::Never)
            }
        }
    }

    fn is_optional(&self) -> bool {
        match self {
            Self::Leaf(value) => matches!(value, Value::ResourceIfAny | Value::Parameter(_)),
            Self::Object(Object { members, empty }) => {
                empty.is_none() && members.iter().all(|(_, node)| node.is_optional())
            }
        }
    }
}

impl Times {
    /// The time as a number.
    pub(super) fn at(self, time: Time) -> i64 {
        match time {
            Time::Issue { back } => self.issue - i64::from(back),
            Time::Expire => self.expire,
        }
    }
}

impl Id {
    /// The id of the token with this second of issue and this serial.
    pub(super) fn text(&self, issue: i64, serial: Serial) -> String {
        match self {
            Self::Serial => joined("", &serial.as_text()),
            Self::Uuid => joined("", &serial.as_uuid()),
            Self::Dated(prefix) => joined(&format!("{prefix}-{}-", date(issue)), &serial.as_text()),
        }
    }
}

/// The part of the resource after its last slash.
fn end_of(resource: &str) -> &str {
    resource.rsplit_once('/').map_or(resource, |(_, end)| end)
}

/// The second of issue as ids contain it: ten digits.
pub(super) fn date(issue: i64) -> String {
    format!("{issue:010}")
}

/// Appends ASCII to a string. Character by character this would take some 150 instructions more.
pub(super) fn joined(start: &str, end: &[u8]) -> String {
    let mut text = String::with_capacity(start.len() + end.len());
    text.push_str(start);
    text.push_str(str::from_utf8(end).unwrap_or_default());
    text
}

struct Parts(Vec<Part>);

impl Parts {
    fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Part::Text(before)) => before.push_str(text),
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }

    fn object(&mut self, members: &[(String, Node)]) {
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by_key(|(_, node)| (node.varies(), node.is_optional()));
        let required = members.iter().filter(|(_, node)| !node.is_optional()).count();
        let mut written = 0;
        self.text("{");
        for (name, node) in members {
            let comma = match (written, required) {
                (_, 0) => Comma::Between,
                (0, _) => Comma::Behind,
                _ => Comma::Before,
            };
            if node.is_optional() {
                self.0.push(Part::Optional(optional(name, node, comma)));
                continue;
            }
            if written > 0 {
                self.text(",");
            }
            written += 1;
            self.text(&json::quoted(name));
            self.text(":");
            match node {
                Node::Leaf(value) => self.value(value),
                Node::Object(Object { members, .. }) => self.object(members),
            }
        }
        self.text("}");
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Constant(value) => self.text(&json::written(value)),
            Value::Grant => self.0.push(Part::Grant),
            Value::Time(time) => self.0.push(Part::Time(*time)),
            Value::Resource => self.0.push(Part::Resource),
            Value::ResourceEnd => self.0.push(Part::ResourceEnd),
            // These are optional, so they are written with their names.
            Value::ResourceIfAny | Value::Parameter(_) => {}
            Value::Identity => {
                self.text("\"");
                self.0.push(Part::Identity);
                self.text("\"");
            }
            Value::Id(id) => self.0.push(Part::Id(id.clone())),
        }
    }
}

fn optional(name: &str, node: &Node, comma: Comma) -> Optional {
    let value = match node {
        Node::Leaf(Value::ResourceIfAny) => OptionalValue::Resource,
        Node::Leaf(Value::Parameter(number)) => OptionalValue::Parameter(*number),
        // No other leaf is optional.
        Node::Leaf(_) => OptionalValue::Object(Vec::new()),
        Node::Object(Object { members, .. }) => OptionalValue::Object(
            members.iter().map(|(name, node)| optional(name, node, Comma::Between)).collect(),
        ),
    };
    Optional { name: json::quoted(name) + ":", value, comma }
}
