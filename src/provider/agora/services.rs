//! The services of a token, and the privileges in them. Numbers: `AccessToken2`.

use std::collections::BTreeMap;

/// A service that tokens are made for, in the order in which they have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Product {
    /// Channels of audio and video.
    Rtc,
    /// Signaling.
    Rtm,
    /// Chat.
    Chat,
}

impl Product {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Rtc, Self::Rtm, Self::Chat];

    /// Its name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Rtc => "rtc",
            Self::Rtm => "rtm",
            Self::Chat => "chat",
        }
    }

    /// Its number.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Rtc => 1,
            Self::Rtm => 2,
            Self::Chat => 5,
        }
    }

    /// Takes its name.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let known = Self::ALL.into_iter().find(|product| product.as_str() == text);
        known.ok_or("must be one of rtc, rtm, chat")
    }

    /// The one with this number.
    pub(super) fn of_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.number() == number)
    }

    /// A privilege of it in words, [`RIGHT`] first; none where it is not known.
    pub(super) const fn privilege(self, number: u16) -> Option<&'static str> {
        Some(match (self, number) {
            (Self::Rtc, JOIN) => "the right to join",
            (Self::Rtc, AUDIO) => "the right to publish audio",
            (Self::Rtc, VIDEO) => "the right to publish video",
            (Self::Rtc, DATA) => "the right to publish data",
            (Self::Rtm, LOGIN) => "the right to log in to Signaling",
            (Self::Chat, LOGIN) => "the right to log in to Chat",
            (Self::Chat, CHAT_APP) => "the right to administer Chat",
            _ => return None,
        })
    }
}

/// What privileges in words begin with.
pub(super) const RIGHT: &str = "the right to ";

/// Joins a channel.
pub(super) const JOIN: u16 = 1;
/// Sends sound into a channel.
pub(super) const AUDIO: u16 = 2;
/// Sends pictures into a channel.
pub(super) const VIDEO: u16 = 3;
/// Sends data into a channel.
pub(super) const DATA: u16 = 4;
/// Logs in to Signaling or Chat.
pub(super) const LOGIN: u16 = 1;
/// Is Chat's server to the whole app.
pub(super) const CHAT_APP: u16 = 2;

/// A service in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) product: Product,
    /// The second after the token's issue at which each privilege ends; 0 for the token's end.
    pub(super) privileges: BTreeMap<u16, u32>,
    /// The channel; none where the service has none.
    pub(super) channel: Option<String>,
    /// The user; empty for any.
    pub(super) user: String,
}
