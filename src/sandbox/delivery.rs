//! How a response body is sent, and when its connection is closed.

use std::{convert::Infallible, error::Error, fmt, time::Duration};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;

/// A response body for hyper.
pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;

/// The interval between bytes of a slow body.
const BYTE_INTERVAL: Duration = Duration::from_secs(1);

/// The interval between chunks of an endless body, which limits the sandbox's CPU use.
const CHUNK_INTERVAL: Duration = Duration::from_millis(1);

const CHUNK: &[u8] = &[b' '; 4_096];

/// How a response body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The whole body at once.
    Whole,
    /// One byte per second.
    Slow,
    /// Followed by white space that never ends.
    Endless,
    /// The first half; then the connection is closed.
    Cut,
}

/// Closes the connection in the middle of a body.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed by a fault")
    }
}

impl Error for Broken {}

/// Resets the connection.
#[derive(Debug)]
pub(super) struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset by a fault")
    }
}

impl Error for Reset {}

/// A response extension: how long the connection may be idle afterward.
#[derive(Clone, Copy)]
pub(super) struct KeepAlive(pub(super) Duration);

impl Delivery {
    /// Turns these bytes into a body.
    pub(super) fn body(self, bytes: Bytes) -> Body {
        let whole = Full::new(bytes.clone()).map_err(|never: Infallible| match never {});
        match self {
            Self::Whole => whole.boxed_unsync(),
            Self::Slow => StreamBody::new(unfold(bytes, async |mut rest| {
                tokio::time::sleep(BYTE_INTERVAL).await;
                let byte = (!rest.is_empty()).then(|| rest.split_to(1))?;
                Some((Ok(Frame::data(byte)), rest))
            }))
            .boxed_unsync(),
            Self::Endless => StreamBody::new(unfold(bytes, async |chunk| {
                tokio::time::sleep(CHUNK_INTERVAL).await;
                Some((Ok(Frame::data(chunk)), Bytes::from_static(CHUNK)))
            }))
            .boxed_unsync(),
            Self::Cut => StreamBody::new(unfold(Some(bytes), async |left| {
                let Some(mut bytes) = left else {
                    // Let hyper send the first half.
                    tokio::task::yield_now().await;
                    return Some((Err(Broken), None));
                };
                bytes.truncate(bytes.len() / 2);
                Some((Ok(Frame::data(bytes)), None))
            }))
            .boxed_unsync(),
        }
    }
}

/// `data` as a gzip file of stored, uncompressed blocks (RFC 1951, 3.2.4; RFC 1952).
pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        // A chunk's length fits in 16 bits.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32(data).to_le_bytes());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the format stores the length modulo 2^32"
    )]
    file.extend((data.len() as u32).to_le_bytes());
    file
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_a_gzip_file() {
        // The check value in CRC catalogs.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let file = gzip(b"123456789");
        let (head, rest) = file.split_at(10);
        assert_eq!(&head[..3], [0x1f, 0x8b, 8]);
        assert_eq!(rest, b"\x01\x09\0\xf6\xff123456789\x26\x39\xf4\xcb\x09\0\0\0");
        let long = gzip(&vec![b' '; 65_536]);
        assert_eq!(&long[10..15], b"\0\xff\xff\0\0");
        assert_eq!(&long[10 + 5 + 65_535..][..6], b"\x01\x01\0\xfe\xff ");
    }
}
