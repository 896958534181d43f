//! The frames that pass through a connection's socket, and how many of them are too many.
//!
//! HTTP/2's own limits on resets count over a connection's life or in one batch, which honest
//! clients reach: a caller that cancels a hundred calls would cut off every other caller of its
//! connection. These count by time.

use std::time::Duration;

use tokio::time::Instant;

use super::unread::Unread;

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

/// What a client sends before its first frame.
const PREFACE: usize = 24;

/// Resets that may come at once, and as many more each second: cancelling as many calls as may
/// be open, sixteen times in a second.
const RESETS: u32 = 2_048;

/// Streams that may have been opened without a frame in return. Only what was reset has none,
/// and what a client is sent that does not read.
const UNANSWERED: usize = 4_096;

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// The client cancels calls faster than [`RESETS`] allow.
    Cancels,
    /// The client makes us reset streams faster than [`RESETS`] allow.
    ForcedResets,
    /// The client opens streams and does not read what comes of them.
    Unanswered,
    /// The client reads answers too slowly, or not at all.
    Unread,
}

impl Excess {
    /// Its name in the log and in the GOAWAY frame.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cancels => "too_many_cancels",
            Self::ForcedResets => "too_many_forced_resets",
            Self::Unanswered => "too_many_unanswered_streams",
            Self::Unread => "too_much_unread",
        }
    }

    /// The GOAWAY frame that says so: `ENHANCE_YOUR_CALM`, after this stream.
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

/// Finds the frames in one direction of a connection, in pieces of any size.
struct Scanner {
    head: [u8; HEAD],
    filled: usize,
    /// What is left of the present frame.
    payload: usize,
}

impl Scanner {
    const fn new(before: usize) -> Self {
        Self { head: [0; HEAD], filled: 0, payload: before }
    }

    /// Calls `found` with the kind, the stream and the length of each frame that begins in
    /// `bytes`.
    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, u32, usize)) {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.filled).min(bytes.len());
            if taken == 0 {
                return;
            }
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                let [high, mid, low, kind, _, stream @ ..] = self.head;
                self.filled = 0;
                self.payload = u32::from_be_bytes([0, high, mid, low]) as usize;
                found(kind, u32::from_be_bytes(stream) & (u32::MAX >> 1), self.payload);
            }
        }
    }

    const fn is_between_frames(&self) -> bool {
        self.filled == 0 && self.payload == 0
    }
}

/// As many resets as are left: [`RESETS`], refilled at that many a second.
struct Resets {
    left: u32,
    refilled: Instant,
}

impl Resets {
    fn new() -> Self {
        Self { left: RESETS, refilled: Instant::now() }
    }

    /// Whether that many more are fine.
    fn take(&mut self, resets: u32) -> bool {
        if resets == 0 {
            return true;
        }
        let each = Duration::from_secs(1) / RESETS;
        let refill = self.refilled.elapsed().as_nanos() / each.as_nanos();
        let refill = u32::try_from(refill).unwrap_or(RESETS).min(RESETS);
        if refill > 0 {
            self.left = RESETS.min(self.left + refill);
            self.refilled = Instant::now();
        }
        let fine = self.left.checked_sub(resets);
        self.left = fine.unwrap_or(0);
        fine.is_some()
    }
}

/// Frames that a client sends.
pub(super) struct Received {
    scanner: Scanner,
    unread: Unread,
    cancels: Resets,
    unanswered: usize,
    last_stream: u32,
}

impl Received {
    pub(super) fn new(unread: Unread) -> Self {
        Self {
            scanner: Scanner::new(PREFACE),
            unread,
            cancels: Resets::new(),
            unanswered: 0,
            last_stream: 0,
        }
    }

    /// Counts the frames in `bytes`, which came after `sent` more frames had been sent.
    pub(super) fn count(&mut self, bytes: &[u8], sent: usize) -> Result<(), Excess> {
        let mut cancels = 0;
        self.unanswered = self.unanswered.saturating_sub(sent);
        self.scanner.scan(bytes, |kind, stream, _| match kind {
            HEADERS => {
                self.unanswered += 1;
                self.last_stream = self.last_stream.max(stream);
            }
            RST_STREAM => {
                cancels += 1;
                self.unread.dropped(stream);
            }
            _ => {}
        });
        if !self.cancels.take(cancels) {
            return Err(Excess::Cancels);
        }
        if self.unanswered > UNANSWERED { Err(Excess::Unanswered) } else { Ok(()) }
    }

    /// The last stream that was opened.
    pub(super) const fn last_stream(&self) -> u32 {
        self.last_stream
    }
}

/// Frames that we send.
pub(super) struct Sent {
    scanner: Scanner,
    resets: Resets,
    unread: Unread,
}

impl Sent {
    pub(super) fn new(unread: Unread) -> Self {
        Self { scanner: Scanner::new(0), resets: Resets::new(), unread }
    }

    /// Counts the frames in `bytes`: how many, unless too many of them reset a stream.
    pub(super) fn count(&mut self, bytes: &[u8]) -> Result<usize, Excess> {
        let (mut frames, mut resets) = (0, 0);
        self.scanner.scan(bytes, |kind, stream, length| {
            frames += 1;
            match kind {
                DATA => self.unread.written(stream, length),
                RST_STREAM => {
                    resets += 1;
                    self.unread.dropped(stream);
                }
                _ => {}
            }
        });
        if self.resets.take(resets) { Ok(frames) } else { Err(Excess::ForcedResets) }
    }

    /// Whether a frame of our own can follow.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.scanner.is_between_frames()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::unread::Sum, *};

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0][..], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let reset = frame(RST_STREAM, 0x8000_0003, &[0; 4]);
        let bytes = [frame(DATA, 1, &[3; 30]), reset, frame(4, 0, &[])].concat();
        for size in 1..=bytes.len() {
            let (mut scanner, mut seen) = (Scanner::new(0), Vec::new());
            for piece in bytes.chunks(size) {
                scanner.scan(piece, |kind, stream, length| seen.push((kind, stream, length)));
            }
            assert_eq!(seen, [(DATA, 1, 30), (RST_STREAM, 3, 4), (4, 0, 0)], "{size}");
            assert!(scanner.is_between_frames());
        }
        let mut scanner = Scanner::new(0);
        scanner.scan(&bytes[..12], |_, _, _| {});
        assert!(!scanner.is_between_frames());
    }

    #[tokio::test(start_paused = true)]
    async fn resets_are_limited_by_rate() {
        let mut resets = Resets::new();
        for _ in 0..100 {
            assert!(resets.take(RESETS / 2) && resets.take(RESETS / 2));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(resets.take(RESETS));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(resets.take(RESETS / 2));
        assert!(!resets.take(RESETS / 100));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!(resets.take(RESETS) && !resets.take(1), "no more are saved up");
    }

    #[test]
    fn streams_without_an_answer_are_limited_and_answers_make_room() {
        let opened = frame(HEADERS, 1, &[]);
        let unread = Unread::new(Sum::default());
        let mut received = Received::new(unread);
        received.count(&[0; PREFACE], 0).unwrap();
        for _ in 0..10 * UNANSWERED {
            received.count(&opened, 1).unwrap();
        }
        received.count(&opened.repeat(UNANSWERED - 1), 0).unwrap();
        assert_eq!(received.count(&opened, 0), Err(Excess::Unanswered));
    }
}
