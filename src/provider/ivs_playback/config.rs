//! The kind's own configuration keys.

use crate::{
    provider::{ivs::ALGORITHM, private_key::PrivateKey},
    settings::Section,
};

/// The own keys of an `ivs-playback` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) private_key: PrivateKey,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        PrivateKey::read(section, ALGORITHM).map(|private_key| Self { private_key })
    }
}
