//! The binary content of a token, and the stored zlib stream around it.
//!
//! ```text
//! zlib · length · signature · app id · issue · life · salt · services │ user │ service │ user │ adler
//!                             └────────────────────── signed ───────────────────────────┘
//! ```
//!
//! All numbers are little-endian. A string is its length in 16 bits followed by its bytes. The
//! services up to their users are packed once for all tokens of a call.
//!
//! Sources: `AccessToken2`; RFC 1950 (zlib) and RFC 1951, 3.2.4 (stored blocks).

use super::services::Service;

/// The prefix of all tokens.
pub(super) const VERSION: &str = "007";

/// The size of a signature in bytes.
pub(super) const SIGNATURE: usize = 32;

/// The zlib header (deflate, 32 KiB, no preset dictionary), and the header of a last, stored block.
const ZLIB: [u8; 3] = [0x78, 0x01, 0x01];

/// The size of the zlib header, including the block's length and its complement.
const HEAD: usize = ZLIB.len() + 2 * size_of::<u16>();

/// The offset of the signed part.
const SIGNED: usize = HEAD + size_of::<u16>() + SIGNATURE;

/// The size of the trailing checksum.
const ADLER: usize = size_of::<u32>();

/// The tokens of one call, except salt, users and signature.
pub(super) struct Packed {
    /// The bytes before each user; the first part starts with the app ID and the times.
    before_users: Vec<Vec<u8>>,
    /// The offset of the salt in the first part.
    salt_at: usize,
    bytes: usize,
}

impl Packed {
    /// Packs these services without their users.
    pub(super) fn new(app_id: &str, issue: u32, life: u32, services: &[Service]) -> Self {
        let mut first = Vec::new();
        put_text(app_id, &mut first);
        first.extend(issue.to_le_bytes());
        first.extend(life.to_le_bytes());
        let salt_at = first.len();
        first.extend(0_u32.to_le_bytes());
        first.extend(short(services.len()));
        let mut before_users = Vec::with_capacity(services.len());
        for service in services {
            let mut bytes = std::mem::take(&mut first);
            bytes.extend(service.product.number().to_le_bytes());
            bytes.extend(short(service.privileges.len()));
            for (number, expire) in &service.privileges {
                bytes.extend(number.to_le_bytes());
                bytes.extend(expire.to_le_bytes());
            }
            if let Some(channel) = &service.channel {
                put_text(channel, &mut bytes);
            }
            before_users.push(bytes);
        }
        let bytes = before_users.iter().map(Vec::len).sum();
        Self { before_users, salt_at, bytes }
    }

    /// The length of a token's zlib stream for this user.
    pub(super) fn bytes(&self, user: &str) -> usize {
        SIGNED + self.bytes + self.before_users.len() * (size_of::<u16>() + user.len()) + ADLER
    }

    /// A token's zlib stream; `sign` computes the signature.
    pub(super) fn stream(
        &self,
        user: &str,
        salt: u32,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE],
    ) -> Vec<u8> {
        let bytes = self.bytes(user);
        let mut stream = Vec::with_capacity(bytes);
        let [low, high] = short(bytes - HEAD - ADLER);
        stream.extend(ZLIB);
        stream.extend([low, high, !low, !high]);
        stream.extend(short(SIGNATURE));
        stream.extend([0; SIGNATURE]);
        for before in &self.before_users {
            stream.extend_from_slice(before);
            put_text(user, &mut stream);
        }
        stream[SIGNED + self.salt_at..][..size_of::<u32>()].copy_from_slice(&salt.to_le_bytes());
        let signature = sign(&stream[SIGNED..]);
        stream[SIGNED - SIGNATURE..SIGNED].copy_from_slice(&signature);
        let adler = adler32(&stream[HEAD..]);
        stream.extend(adler.to_be_bytes());
        stream
    }
}

/// A length in 16 bits. All lengths fit, since names are limited.
fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes()
}

fn put_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend(short(text.len()));
    bytes.extend_from_slice(text.as_bytes());
}

/// The checksum of RFC 1950, 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    /// The largest number of bytes that cannot overflow the sums.
    const MOST: usize = 5_552;
    let (mut low, mut high) = (1, 0);
    for bytes in bytes.chunks(MOST) {
        for byte in bytes {
            low += u32::from(*byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::provider::agora::services::Product;

    #[test]
    fn checksum_matches_the_standard() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        let (low, high) = (0..100_000).fold((1, 0), |(low, high), _| {
            let low = (low + 0xff) % 65_521;
            (low, (high + low) % 65_521)
        });
        assert_eq!(adler32(&vec![0xff; 100_000]), high << 16 | low);
    }

    proptest! {
        #[test]
        fn inflater_reads_the_stream(
            user in "[a-z0-9]{0,255}",
            salt in any::<u32>(),
            privileges in vec((1_u16..5, any::<u32>()), 0..4),
            services in 1_usize..4,
        ) {
            let service = Service {
                product: Product::Rtc,
                privileges: privileges.into_iter().collect(),
                channel: Some("lobby".to_owned()),
                user: String::new(),
            };
            let packed = Packed::new("app", 1, 2, &vec![service; services]);
            let mut signed = Vec::new();
            let stream = packed.stream(&user, salt, |bytes| {
                signed = bytes.to_vec();
                [7; SIGNATURE]
            });
            prop_assert_eq!(stream.len(), packed.bytes(&user));
            let mut inflated = Vec::new();
            ZlibDecoder::new(&stream[..]).read_to_end(&mut inflated).unwrap();
            let expected = [&[32, 0][..], &[7; SIGNATURE], &signed].concat();
            prop_assert_eq!(inflated, expected);
            let salt_at = 5 + 8;
            prop_assert_eq!(&signed[salt_at..][..4], &salt.to_le_bytes());
            prop_assert!(signed.ends_with(user.as_bytes()));
        }
    }
}
