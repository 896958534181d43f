//! Which limit a connection exceeded, as the log and its client are told.

/// The limit that a connection exceeded, which closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExceededLimit {
    /// The client cancels calls too fast.
    Cancels,
    /// The client makes the server reset streams too fast.
    ForcedResets,
    /// The client opens streams without reading the responses.
    Unanswered,
    /// The client reads responses too slowly, or not at all.
    Unread,
}

impl ExceededLimit {
    /// The name in the log and in the GOAWAY frame.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cancels => "too_many_cancels",
            Self::ForcedResets => "too_many_forced_resets",
            Self::Unanswered => "too_many_unanswered_streams",
            Self::Unread => "too_much_unread",
        }
    }

    /// A GOAWAY frame with `ENHANCE_YOUR_CALM` and the name, after this stream.
    pub(super) fn goaway(self, last_stream: u32) -> Vec<u8> {
        const GOAWAY: u8 = 7;
        const ENHANCE_YOUR_CALM: u32 = 11;
        let reason = self.as_str().as_bytes();
        let length = u8::try_from(8 + reason.len()).unwrap_or(u8::MAX);
        let mut frame = vec![0, 0, length, GOAWAY, 0, 0, 0, 0, 0];
        frame.extend(last_stream.to_be_bytes());
        frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend(reason);
        frame
    }
}
