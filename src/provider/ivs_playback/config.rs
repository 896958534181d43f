//! The kind's own part of a profile's configuration.

use crate::{
    provider::{ivs::ALGORITHM, private_key::PrivateKey},
    settings::Section,
};

/// What an `ivs-playback` profile says beside the keys that all kinds have.
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
