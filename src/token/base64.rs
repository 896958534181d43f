//! Base64url into a preallocated buffer, in whole groups.
//!
//! For the few bytes that are unique to a token. Each function returns the rest of the buffer.

use crate::hmac::DIGEST;

/// Bytes in a group.
pub(super) const GROUP: usize = 3;

/// Characters of an encoded group.
pub(super) const GROUP_CHARS: usize = 4;

/// Characters of an encoded signature.
pub(super) const SIGNATURE_CHARS: usize = (DIGEST * GROUP_CHARS).div_ceil(GROUP);

/// The two characters for each 12 bits: half as many look-ups as one by one.
static PAIRS: [[u8; 2]; 1 << 12] = pairs();

const fn pairs() -> [[u8; 2]; 1 << 12] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut pairs = [[0; 2]; 1 << 12];
    let mut bits = 0;
    while bits < pairs.len() {
        pairs[bits] = [ALPHABET[bits >> 6], ALPHABET[bits & 63]];
        bits += 1;
    }
    pairs
}

/// Copies characters that are already encoded.
pub(super) fn put<'a>(chars: &[u8], out: &'a mut [u8]) -> &'a mut [u8] {
    let (chars_out, out) = out.split_at_mut(chars.len());
    chars_out.copy_from_slice(chars);
    out
}

/// Encodes the inside of a JSON string and its closing quote, padded with spaces to whole groups.
pub(super) fn put_quoted<'a>(text: &[u8], out: &'a mut [u8]) -> &'a mut [u8] {
    let (groups, left) = text.as_chunks();
    let mut last = [b' '; GROUP];
    last[..left.len()].copy_from_slice(left);
    last[left.len()] = b'"';
    let out = put_groups(groups, out);
    put_groups(&[last], out)
}

/// The number of characters that [`put_quoted`] writes for a text of `bytes`.
pub(super) const fn quoted_chars(bytes: usize) -> usize {
    (bytes / GROUP + 1) * GROUP_CHARS
}

/// Encodes a signature without padding.
pub(super) fn put_digest(digest: [u8; DIGEST], out: &mut [u8]) {
    let (groups, left) = digest.as_chunks();
    let mut last = [0; GROUP];
    last[..left.len()].copy_from_slice(left);
    let out = put_groups(groups, out);
    put(&encode(last)[..SIGNATURE_CHARS % GROUP_CHARS], out);
}

/// Encodes whole groups.
pub(super) fn put_groups<'a>(groups: &[[u8; GROUP]], out: &'a mut [u8]) -> &'a mut [u8] {
    let (chars_out, out) = out.split_at_mut(groups.len() * GROUP_CHARS);
    for (chars, group) in chars_out.as_chunks_mut().0.iter_mut().zip(groups) {
        *chars = encode(*group);
    }
    out
}

fn encode([one, two, three]: [u8; GROUP]) -> [u8; GROUP_CHARS] {
    let bits = u32::from_be_bytes([0, one, two, three]) as usize;
    let [[first, second], [third, fourth]] = [PAIRS[bits >> 12 & 4_095], PAIRS[bits & 4_095]];
    [first, second, third, fourth]
}

#[cfg(test)]
mod tests {
    use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn quoted_text_encodes_as_the_base64_crate_does(text in vec(any::<u8>(), 0..300)) {
            let mut out = vec![0; quoted_chars(text.len()) + 1];
            prop_assert_eq!(put_quoted(&text, &mut out).len(), 1);
            let mut padded = [&text[..], b"\""].concat();
            padded.resize(padded.len().next_multiple_of(GROUP), b' ');
            out.pop();
            prop_assert_eq!(String::from_utf8(out).unwrap(), URL_SAFE_NO_PAD.encode(padded));
        }

        #[test]
        fn signature_encodes_as_the_base64_crate_does(digest in any::<[u8; DIGEST]>()) {
            let mut out = [0; SIGNATURE_CHARS];
            put_digest(digest, &mut out);
            prop_assert_eq!(str::from_utf8(&out).unwrap(), URL_SAFE_NO_PAD.encode(digest));
        }
    }
}
