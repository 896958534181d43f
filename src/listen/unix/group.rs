//! The group of a socket's file.

use std::{fmt, fs, path::Path};

/// Where the system keeps the names of groups (group(5)).
const GROUPS: &str = "/etc/group";

/// A group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    id: u32,
    /// None where it was given by its id.
    name: Option<String>,
}

/// A text that is no group of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Not in the file.
    #[error("is no group of this system: write a name that is in {GROUPS}, or the group's id")]
    Unknown,
    /// Too large for an id.
    #[error("is no group's id")]
    Id,
}

impl Group {
    /// Takes a group's id or its name in `/etc/group`.
    pub fn parse(text: &str) -> Result<Self, GroupError> {
        Self::find(text, Path::new(GROUPS))
    }

    fn find(text: &str, groups: &Path) -> Result<Self, GroupError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The last number means "none" to the system.
            let id = text.parse().ok().filter(|id| *id != u32::MAX).ok_or(GroupError::Id)?;
            return Ok(Self { id, name: None });
        }
        let groups = fs::read_to_string(groups).unwrap_or_default();
        let found = entries(&groups).find(|(name, _)| *name == text && !text.is_empty());
        let (name, id) = found.ok_or(GroupError::Unknown)?;
        Ok(Self { id, name: Some(name.to_owned()) })
    }

    /// The group of this id, with its name where it has one.
    #[must_use]
    pub fn of_id(id: u32) -> Self {
        let groups = fs::read_to_string(GROUPS).unwrap_or_default();
        let name = entries(&groups).find(|(_, its)| *its == id).map(|(name, _)| name.to_owned());
        Self { id, name }
    }

    /// Its id.
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

/// Names and ids: `NAME:PASSWORD:ID:MEMBERS` a line.
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
    fn a_group_is_given_by_its_id_or_its_name() {
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
