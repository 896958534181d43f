//! Base64url into room that is there, whole groups at a time.
//!
//! For the few bytes that are a token's own; each function gives back the room that is left.

use crate::hmac::DIGEST;

/// Bytes of a group.
pub(super) const GROUP: usize = 3;

/// Characters that a group becomes.
pub(super) const GROUP_CHARS: usize = 4;

/// Characters that a signature becomes.
pub(super) const SIGNATURE_CHARS: usize = (DIGEST * GROUP_CHARS).div_ceil(GROUP);

/// The two characters of each twelve bits: half as many lookups as one by one.
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

/// Puts what is encoded already.
pub(super) fn put<'a>(chars: &[u8], room: &'a mut [u8]) -> &'a mut [u8] {
    let (here, room) = room.split_at_mut(chars.len());
    here.copy_from_slice(chars);
    room
}

/// Encodes the inside of a JSON string, its closing quote and white space up to the end of a
/// group.
pub(super) fn put_quoted<'a>(text: &[u8], room: &'a mut [u8]) -> &'a mut [u8] {
    let (groups, left) = text.as_chunks();
    let mut last = [b' '; GROUP];
    last[..left.len()].copy_from_slice(left);
    last[left.len()] = b'"';
    let room = put_groups(groups, room);
    put_groups(&[last], room)
}

/// How many characters [`put_quoted`] makes of a text of `bytes`.
pub(super) const fn quoted_chars(bytes: usize) -> usize {
    (bytes / GROUP + 1) * GROUP_CHARS
}

/// Encodes a signature, without padding.
pub(super) fn put_digest(digest: [u8; DIGEST], room: &mut [u8]) {
    let (groups, left) = digest.as_chunks();
    let mut last = [0; GROUP];
    last[..left.len()].copy_from_slice(left);
    let room = put_groups(groups, room);
    put(&encode(last)[..SIGNATURE_CHARS % GROUP_CHARS], room);
}

/// Encodes whole groups.
pub(super) fn put_groups<'a>(groups: &[[u8; GROUP]], room: &'a mut [u8]) -> &'a mut [u8] {
    let (here, room) = room.split_at_mut(groups.len() * GROUP_CHARS);
    for (chars, group) in here.as_chunks_mut().0.iter_mut().zip(groups) {
        *chars = encode(*group);
    }
    room
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
        fn a_quoted_text_is_what_the_base64_crate_makes_of_it(text in vec(any::<u8>(), 0..300)) {
            let mut room = vec![0; quoted_chars(text.len()) + 1];
            prop_assert_eq!(put_quoted(&text, &mut room).len(), 1);
            let mut padded = [&text[..], b"\""].concat();
            padded.resize(padded.len().next_multiple_of(GROUP), b' ');
            room.pop();
            prop_assert_eq!(String::from_utf8(room).unwrap(), URL_SAFE_NO_PAD.encode(padded));
        }

        #[test]
        fn a_signature_is_what_the_base64_crate_makes_of_it(digest in any::<[u8; DIGEST]>()) {
            let mut room = [0; SIGNATURE_CHARS];
            put_digest(digest, &mut room);
            prop_assert_eq!(str::from_utf8(&room).unwrap(), URL_SAFE_NO_PAD.encode(digest));
        }
    }
}
