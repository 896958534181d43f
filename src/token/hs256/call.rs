//! Adds a call's claims to what tokens share.

use std::{cell::Cell, fmt, sync::Arc};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{PerToken, SIGNATURE, TimedTemplate, sign};
use crate::{
    hmac::{BLOCK, Hmac},
    token::{
        Call, CallSigner, SignError, Token,
        base64::{self, GROUP, GROUP_CHARS},
        claims::MAX_FILL,
        id::Serial,
        json,
    },
};

/// What tokens of one grant, one pair of times and one call share.
struct CallTemplate {
    timed: Arc<TimedTemplate>,
    /// The call's claims that fill whole blocks; none if they are shorter than a block.
    full_blocks: Option<FullBlocks>,
    /// The rest of the call's claims, encoded: less than a block.
    rest: [u8; BLOCK],
    rest_chars: usize,
    /// The per-token part; none if it does not vary by call.
    per_token: Option<PerToken>,
}

/// The beginning of a call's claims that fills whole blocks.
struct FullBlocks {
    /// Encoded.
    text: String,
    /// The HMAC state after the timed prefix and this text.
    hmac: Hmac,
}

thread_local! {
    /// A buffer for a call's claims, starting with white space. It is reused; few calls need a
    /// larger one.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// The capacity of the reused buffer.
const BUFFER_BYTES: usize = 256;

/// Bytes that encode to a block.
const BLOCK_BYTES: usize = BLOCK / GROUP_CHARS * GROUP;

/// The signer of tokens with these times for `call`.
pub(super) fn with_call(timed: Arc<TimedTemplate>, call: &Call<'_>) -> Arc<dyn CallSigner> {
    let text = &timed.text;
    if text.lead.is_empty() && !text.per_token_varies {
        return timed;
    }
    let mut buffer = BUFFER.take();
    if buffer.is_empty() {
        buffer.reserve(BUFFER_BYTES);
        buffer.push_str(MAX_FILL);
    }
    text.lead.iter().for_each(|part| part.write(timed.times, call, &mut buffer));
    // Keep as much leading white space as makes whole groups.
    let lead = &buffer.as_bytes()[buffer.len() % GROUP..];
    let (blocks, end) = lead.split_at(lead.len() / BLOCK_BYTES * BLOCK_BYTES);
    let mut rest = [0; BLOCK];
    base64::put_groups(end.as_chunks().0, &mut rest);
    let rest_chars = end.len() / GROUP * GROUP_CHARS;
    let full_blocks = (!blocks.is_empty()).then(|| FullBlocks::new(blocks, &timed.hmac));
    if buffer.capacity() == BUFFER_BYTES {
        buffer.truncate(MAX_FILL.len());
        BUFFER.set(buffer);
    }
    let per_token =
        text.per_token_varies.then(|| PerToken::new(&text.per_token, timed.times, call));
    Arc::new(CallTemplate { timed, full_blocks, rest, rest_chars, per_token })
}

impl FullBlocks {
    fn new(blocks: &[u8], before: &Hmac) -> Self {
        let text = URL_SAFE_NO_PAD.encode(blocks);
        let hmac = before.then(text.as_bytes().as_chunks().0);
        Self { text, hmac }
    }
}

impl CallTemplate {
    fn per_token(&self) -> &PerToken {
        self.per_token.as_ref().unwrap_or(&self.timed.per_token)
    }

    /// The text that fills whole blocks, and the HMAC state after it.
    fn full_blocks(&self) -> (&str, &Hmac) {
        self.full_blocks.as_ref().map_or(("", &self.timed.hmac), |it| (&it.text, &it.hmac))
    }
}

impl fmt::Debug for CallTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallTemplate").field("timed", &self.timed).finish_non_exhaustive()
    }
}

impl CallSigner for CallTemplate {
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError> {
        let (full_blocks, hmac) = self.full_blocks();
        let shared = [&self.timed.opening[..], &self.timed.text.body, full_blocks];
        let rest = &self.rest[..self.rest_chars];
        Ok(sign(shared, hmac, rest, self.per_token(), identity, serial))
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let (full_blocks, _) = self.full_blocks();
        let shared = self.timed.opening.len() + self.timed.text.body.len() + full_blocks.len();
        shared + self.rest_chars + self.per_token().chars(json::ascii(identity).len()) + SIGNATURE
    }

    fn token_id(&self, serial: Serial) -> Option<String> {
        self.timed.id(serial)
    }
}
