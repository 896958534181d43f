//! What a call's own claims add to what tokens share.

use std::{cell::Cell, fmt, sync::Arc};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Own, SIGNATURE, Sheet, sign};
use crate::{
    hmac::{BLOCK, Hmac},
    token::{
        Call, SignError, Stamped, Token,
        base64::{self, GROUP, GROUP_CHARS},
        claims::MOST_FILL,
        id::Serial,
        json,
    },
};

/// What tokens of one grant, one pair of times and one call share.
struct CallSheet {
    sheet: Arc<Sheet>,
    /// What fills blocks; none where the call's claims fill none, as few and short ones do.
    filled: Option<Filled>,
    /// What the call's claims become behind that, encoded: less than a block.
    rest: [u8; BLOCK],
    rest_chars: usize,
    /// What is a token's own; none where it is the sheet's.
    own: Option<Own>,
}

/// The beginning of a call's claims that fills blocks.
struct Filled {
    /// Encoded.
    text: String,
    /// The HMAC of what begins with the sheet's beginning and this.
    hmac: Hmac,
}

thread_local! {
    /// Room to write a call's claims in, behind white space: it is kept, since few need more.
    static ROOM: Cell<String> = const { Cell::new(String::new()) };
}

/// Bytes of the room that is kept.
const USUAL_ROOM: usize = 256;

/// Bytes that become a block.
const BLOCK_BYTES: usize = BLOCK / GROUP_CHARS * GROUP;

/// What signs tokens of `sheet` for `call`.
pub(super) fn called(sheet: Arc<Sheet>, call: &Call<'_>) -> Arc<dyn Stamped> {
    let text = &sheet.text;
    if text.lead.is_empty() && !text.own_varies {
        return sheet;
    }
    let mut room = ROOM.take();
    if room.is_empty() {
        room.reserve(USUAL_ROOM);
        room.push_str(MOST_FILL);
    }
    text.lead.iter().for_each(|part| part.write(sheet.times, call, &mut room));
    // As much white space as makes whole groups.
    let lead = &room.as_bytes()[room.len() % GROUP..];
    let (blocks, end) = lead.split_at(lead.len() / BLOCK_BYTES * BLOCK_BYTES);
    let mut rest = [0; BLOCK];
    base64::put_groups(end.as_chunks().0, &mut rest);
    let rest_chars = end.len() / GROUP * GROUP_CHARS;
    let filled = (!blocks.is_empty()).then(|| Filled::new(blocks, &sheet.hmac));
    if room.capacity() == USUAL_ROOM {
        room.truncate(MOST_FILL.len());
        ROOM.set(room);
    }
    let own = text.own_varies.then(|| Own::new(&text.own, sheet.times, call));
    Arc::new(CallSheet { sheet, filled, rest, rest_chars, own })
}

impl Filled {
    fn new(blocks: &[u8], before: &Hmac) -> Self {
        let text = URL_SAFE_NO_PAD.encode(blocks);
        let hmac = before.then(text.as_bytes().as_chunks().0);
        Self { text, hmac }
    }
}

impl CallSheet {
    fn own(&self) -> &Own {
        self.own.as_ref().unwrap_or(&self.sheet.own)
    }

    /// What fills blocks, and the HMAC of what begins with it.
    fn filled(&self) -> (&str, &Hmac) {
        self.filled.as_ref().map_or(("", &self.sheet.hmac), |filled| (&filled.text, &filled.hmac))
    }
}

impl fmt::Debug for CallSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSheet").field("sheet", &self.sheet).finish_non_exhaustive()
    }
}

impl Stamped for CallSheet {
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError> {
        let (filled, hmac) = self.filled();
        let shared = [&self.sheet.opening[..], &self.sheet.text.body, filled];
        let rest = &self.rest[..self.rest_chars];
        Ok(sign(shared, hmac, rest, self.own(), identity, serial))
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let (filled, _) = self.filled();
        let shared = self.sheet.opening.len() + self.sheet.text.body.len() + filled.len();
        shared + self.rest_chars + self.own().chars(json::ascii(identity).len()) + SIGNATURE
    }

    fn token_id(&self, serial: Serial) -> Option<String> {
        self.sheet.id(serial)
    }
}
