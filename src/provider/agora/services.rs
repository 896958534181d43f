//! The services and privileges of a token. Numbers: `AccessToken2`.

use std::collections::BTreeMap;

/// A service, in token order.
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
    /// All services.
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

    /// Parses a name.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let known = Self::ALL.into_iter().find(|product| product.as_str() == text);
        known.ok_or("must be one of rtc, rtm, chat")
    }

    /// The service with this number.
    pub(super) fn of_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.number() == number)
    }

    /// Describes a privilege, starting with [`RIGHT`]; `None` if it is unknown.
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

/// The prefix of privilege descriptions.
pub(super) const RIGHT: &str = "the right to ";

/// Join a channel.
pub(super) const JOIN: u16 = 1;
/// Publish audio in a channel.
pub(super) const AUDIO: u16 = 2;
/// Publish video in a channel.
pub(super) const VIDEO: u16 = 3;
/// Publish data in a channel.
pub(super) const DATA: u16 = 4;
/// Log in to Signaling or Chat.
pub(super) const LOGIN: u16 = 1;
/// Act as a Chat server for the whole app.
pub(super) const CHAT_APP: u16 = 2;

/// A service in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) product: Product,
    /// When each privilege expires, in seconds after the token's issue; 0 means with the token.
    pub(super) privileges: BTreeMap<u16, u32>,
    /// The channel, if the service has one.
    pub(super) channel: Option<String>,
    /// The user; empty means any.
    pub(super) user: String,
}
