//! Counts the HTTP/2 frames of a connection against limits.
//!
//! h2's own limits on resets count over a connection's lifetime or per batch. Well-behaved clients
//! reach them: a caller that cancels a hundred calls would disconnect all other callers on its
//! connection. These limits count per time.

use std::time::Duration;

use tokio::time::Instant;

use super::{exceeded::ExceededLimit, unread::Unread};

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

/// The length of the client's connection preface.
const PREFACE: usize = 24;

/// The maximum number of resets at once, and per second after that: cancelling all concurrent calls
/// sixteen times a second.
const MAX_RESETS: u32 = 2_048;

/// The maximum number of opened streams without a frame sent in return. Only reset streams have
/// none, and streams of a client that does not read.
const MAX_UNANSWERED: usize = 4_096;

/// Finds frames in one direction of a connection, in chunks of any size.
struct Scanner {
    head: [u8; HEAD],
    filled: usize,
    /// The remaining payload of the current frame.
    payload: usize,
}

impl Scanner {
    const fn new(preface: usize) -> Self {
        Self { head: [0; HEAD], filled: 0, payload: preface }
    }

    /// Calls `found` with the type, stream and length of each frame that starts in `bytes`.
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

/// A budget of [`MAX_RESETS`], refilled at that rate per second.
struct ResetBudget {
    left: u32,
    refilled: Instant,
}

impl ResetBudget {
    fn new() -> Self {
        Self { left: MAX_RESETS, refilled: Instant::now() }
    }

    /// Takes `resets` from the budget; returns false if they exceed it.
    fn take(&mut self, resets: u32) -> bool {
        if resets == 0 {
            return true;
        }
        let each = Duration::from_secs(1) / MAX_RESETS;
        let refill = self.refilled.elapsed().as_nanos() / each.as_nanos();
        let refill = u32::try_from(refill).unwrap_or(MAX_RESETS).min(MAX_RESETS);
        if refill > 0 {
            self.left = MAX_RESETS.min(self.left + refill);
            self.refilled = Instant::now();
        }
        let left = self.left.checked_sub(resets);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// Counts the frames from the client.
pub(super) struct Received {
    scanner: Scanner,
    unread: Unread,
    cancels: ResetBudget,
    unanswered: usize,
    last_stream: u32,
}

impl Received {
    pub(super) fn new(unread: Unread) -> Self {
        Self {
            scanner: Scanner::new(PREFACE),
            unread,
            cancels: ResetBudget::new(),
            unanswered: 0,
            last_stream: 0,
        }
    }

    /// Counts the frames in `bytes`, which arrived after `sent` more frames were sent.
    pub(super) fn count(&mut self, bytes: &[u8], sent: usize) -> Result<(), ExceededLimit> {
        let mut cancels = 0;
        self.unanswered = self.unanswered.saturating_sub(sent);
        self.scanner.scan(bytes, |kind, stream, _| match kind {
            HEADERS => {
                self.unanswered += 1;
                self.last_stream = self.last_stream.max(stream);
            }
            RST_STREAM => {
                cancels += 1;
                self.unread.reset(stream);
            }
            _ => {}
        });
        if !self.cancels.take(cancels) {
            return Err(ExceededLimit::Cancels);
        }
        if self.unanswered > MAX_UNANSWERED { Err(ExceededLimit::Unanswered) } else { Ok(()) }
    }

    /// The last stream that the client opened.
    pub(super) const fn last_stream(&self) -> u32 {
        self.last_stream
    }
}

/// Counts the frames to the client.
pub(super) struct Sent {
    scanner: Scanner,
    resets: ResetBudget,
    unread: Unread,
}

impl Sent {
    pub(super) fn new(unread: Unread) -> Self {
        Self { scanner: Scanner::new(0), resets: ResetBudget::new(), unread }
    }

    /// Counts the frames in `bytes`. Fails if too many of them reset a stream.
    pub(super) fn count(&mut self, bytes: &[u8]) -> Result<usize, ExceededLimit> {
        let (mut frames, mut resets) = (0, 0);
        self.scanner.scan(bytes, |kind, stream, length| {
            frames += 1;
            match kind {
                DATA => self.unread.written(stream, length),
                RST_STREAM => {
                    resets += 1;
                    self.unread.reset(stream);
                }
                _ => {}
            }
        });
        if self.resets.take(resets) { Ok(frames) } else { Err(ExceededLimit::ForcedResets) }
    }

    /// Whether another frame can be inserted here.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.scanner.is_between_frames()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::unread::Total, *};

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0][..], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn frames_are_found_in_chunks_of_any_size() {
        let reset = frame(RST_STREAM, 0x8000_0003, &[0; 4]);
        let bytes = [frame(DATA, 1, &[3; 30]), reset, frame(4, 0, &[])].concat();
        for size in 1..=bytes.len() {
            let (mut scanner, mut found) = (Scanner::new(0), Vec::new());
            for chunk in bytes.chunks(size) {
                scanner.scan(chunk, |kind, stream, length| found.push((kind, stream, length)));
            }
            assert_eq!(found, [(DATA, 1, 30), (RST_STREAM, 3, 4), (4, 0, 0)], "{size}");
            assert!(scanner.is_between_frames());
        }
        let mut scanner = Scanner::new(0);
        scanner.scan(&bytes[..12], |_, _, _| {});
        assert!(!scanner.is_between_frames());
    }

    #[tokio::test(start_paused = true)]
    async fn resets_are_limited_by_rate() {
        let mut resets = ResetBudget::new();
        for _ in 0..100 {
            assert!(resets.take(MAX_RESETS / 2) && resets.take(MAX_RESETS / 2));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(resets.take(MAX_RESETS));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(resets.take(MAX_RESETS / 2));
        assert!(!resets.take(MAX_RESETS / 100));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!(resets.take(MAX_RESETS) && !resets.take(1), "the budget is capped");
    }

    #[test]
    fn unanswered_streams_are_limited() {
        let opened = frame(HEADERS, 1, &[]);
        let unread = Unread::new(Total::default());
        let mut received = Received::new(unread);
        received.count(&[0; PREFACE], 0).unwrap();
        for _ in 0..10 * MAX_UNANSWERED {
            received.count(&opened, 1).unwrap();
        }
        received.count(&opened.repeat(MAX_UNANSWERED - 1), 0).unwrap();
        assert_eq!(received.count(&opened, 0), Err(ExceededLimit::Unanswered));
    }
}
