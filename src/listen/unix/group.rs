//! The group of a socket file.

use std::{fmt, fs, path::Path};

/// The system's group database (group(5)).
const GROUPS: &str = "/etc/group";

/// A group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    id: u32,
    /// `None` if it was given by its ID and has no known name.
    name: Option<String>,
}

/// Why a string is not a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The name is not in the group database.
    #[error("is not a group on this system: use a name from {GROUPS} or a group ID")]
    Unknown,
    /// The number is too large.
    #[error("is not a group ID")]
    Id,
}

impl Group {
    /// Parses a group ID or a name in `/etc/group`.
    pub fn parse(text: &str) -> Result<Self, GroupError> {
        Self::find(text, Path::new(GROUPS))
    }

    fn find(text: &str, groups: &Path) -> Result<Self, GroupError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The largest value means "no group" to the system.
            let id = text.parse().ok().filter(|id| *id != u32::MAX).ok_or(GroupError::Id)?;
            return Ok(Self { id, name: None });
        }
        let groups = fs::read_to_string(groups).unwrap_or_default();
        let found = entries(&groups).find(|(name, _)| *name == text && !text.is_empty());
        let (name, id) = found.ok_or(GroupError::Unknown)?;
        Ok(Self { id, name: Some(name.to_owned()) })
    }

    /// The group with this ID, and its name if it has one.
    #[must_use]
    pub fn of_id(id: u32) -> Self {
        let groups = fs::read_to_string(GROUPS).unwrap_or_default();
        let name =
            entries(&groups).find(|(_, group_id)| *group_id == id).map(|(name, _)| name.to_owned());
        Self { id, name }
    }

    /// The group ID.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// The names and IDs in lines of the form `NAME:PASSWORD:ID:MEMBERS`.
fn entries(groups: &str) -> impl Iterator<Item = (&str, u32)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        Some((name, id.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_is_parsed_from_its_id_or_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("group");
        fs::write(&file, "root:x:0:\nbroken\nmedia:x:1044:alice,bob\n").unwrap();
        let find = |text| Group::find(text, &file);
        assert_eq!(find("media").unwrap().to_string(), "media (1044)");
        assert_eq!(find("1044").unwrap().id(), 1_044);
        assert_eq!(find("4294967295"), Err(GroupError::Id));
        for unknown in ["", "medi", "broken", "alice", "-1", "x"] {
            assert_eq!(find(unknown), Err(GroupError::Unknown), "{unknown}");
        }
        assert_eq!(Group::find("media", &dir.path().join("none")), Err(GroupError::Unknown));
    }
}
