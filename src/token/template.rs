//! The layout of an HS256 JWT whose constant part is encoded and hashed once.
//!
//! JSON member order is free, so all that a grant's tokens share comes first and only what is
//! one token's own comes last:
//!
//! ```text
//! header . {"iss":…,"sub":…,"iat":…,"exp":…, … "grants":{"player":{…},   "identity":"  alice"},"jti":"…-<serial>"}
//!          └──── per grant, times per second: encoded and hashed at most once a second ────┘└──── per token ────┘
//! ```
//!
//! The shared part is padded with white space until its encoding ends on a SHA-256 block (and
//! so on a base64 group): a token's own part is then hashed alone, from a copy of the state.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    PrepareError, Signer, Stamped, Times,
    id::{SERIAL_CHARS, Serial},
};

type HmacSha256 = Hmac<Sha256>;

/// A block of SHA-256.
const BLOCK: usize = 64;

/// Characters of a signature: 32 bytes in base64url.
const SIGNATURE_CHARS: usize = 43;

/// The constant text of one grant's tokens.
///
/// A token's payload is `head`, the times, `body`, the identity as JSON text, `before_id`,
/// the issue time in ten digits, `-`, the serial, `end`.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The JOSE header as JSON.
    pub header: String,
    /// From `{` to a comma.
    pub head: String,
    /// How many seconds before its issue a token's `nbf` lies; none for no `nbf`.
    pub nbf_backdate: Option<u32>,
    /// From the first member after the times up to the identity's opening quote.
    pub body: String,
    /// From the identity's closing quote up to the id.
    pub before_id: String,
    /// What the id starts with.
    pub id_prefix: String,
    /// From the id's closing quote to the last `}`.
    pub end: String,
}

/// Signs one grant's tokens.
pub struct Template {
    layout: Layout,
    key: HmacSha256,
    /// What was made for the times of the last call.
    last: ArcSwapOption<Sheet>,
}

impl Template {
    /// A template of this layout that signs with `secret`'s raw bytes.
    pub fn new(layout: Layout, secret: &[u8]) -> Result<Self, PrepareError> {
        let key = HmacSha256::new_from_slice(secret).map_err(|_| PrepareError::KeyUnusable)?;
        Ok(Self { layout, key, last: ArcSwapOption::empty() })
    }

    fn sheet(&self, times: Times) -> Arc<Sheet> {
        if let Some(sheet) = &*self.last.load()
            && sheet.times == times
        {
            return Arc::clone(sheet);
        }
        let sheet = Arc::new(Sheet::new(&self.layout, &self.key, times));
        self.last.store(Some(Arc::clone(&sheet)));
        sheet
    }
}

impl Signer for Template {
    fn at(&self, times: Times) -> Arc<dyn Stamped> {
        self.sheet(times)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

/// Signs tokens of one grant and one pair of times.
struct Sheet {
    times: Times,
    /// The token up to the identity: header, dot and the shared part of the payload.
    prefix: String,
    /// The HMAC fed with `prefix`.
    state: HmacSha256,
    /// What follows the identity, up to the serial.
    before_serial: String,
    after_serial: String,
    id_before_serial: String,
}

impl Sheet {
    fn new(layout: &Layout, key: &HmacSha256, times: Times) -> Self {
        let mut payload = format!("{}\"iat\":{},", layout.head, times.issue);
        if let Some(backdate) = layout.nbf_backdate {
            payload.push_str(&format!("\"nbf\":{},", times.issue - i64::from(backdate)));
        }
        payload.push_str(&format!("\"exp\":{},", times.expire));
        let prefix = encode_prefix(&layout.header, payload, &layout.body);
        let mut state = key.clone();
        state.update(prefix.as_bytes());

        let id_before_serial = format!("{}-{:010}-", layout.id_prefix, times.issue);
        Self {
            times,
            prefix,
            state,
            before_serial: format!("{}{id_before_serial}", layout.before_id),
            after_serial: layout.end.clone(),
            id_before_serial,
        }
    }
}

/// Encodes header, dot and payload so that the encoding ends on a SHA-256 block.
fn encode_prefix(header: &str, mut payload: String, body: &str) -> String {
    // The header and the dot fill base64 groups when two bytes are left over of three.
    let mut header = header.trim_end_matches('}').to_owned();
    while (header.len() + 1) % 3 != 2 {
        header.push(' ');
    }
    header.push('}');
    let mut prefix = URL_SAFE_NO_PAD.encode(header);
    prefix.push('.');

    let ends_on_a_block =
        |bytes: usize| bytes % 3 == 0 && (prefix.len() + bytes / 3 * 4) % BLOCK == 0;
    while !ends_on_a_block(payload.len() + body.len()) {
        payload.push(' ');
    }
    payload.push_str(body);
    URL_SAFE_NO_PAD.encode_string(payload, &mut prefix);
    prefix
}

impl Stamped for Sheet {
    fn sign(&self, identity: &str, serial: Serial) -> String {
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        push_json(identity, &mut tail);
        tail.extend_from_slice(self.before_serial.as_bytes());
        tail.extend_from_slice(&serial.as_text());
        tail.extend_from_slice(self.after_serial.as_bytes());

        let tail_chars = (tail.len() * 4).div_ceil(3);
        let mut token = String::with_capacity(self.prefix.len() + tail_chars + 1 + SIGNATURE_CHARS);
        token.push_str(&self.prefix);
        URL_SAFE_NO_PAD.encode_string(&tail, &mut token);

        let mut mac = self.state.clone();
        mac.update(&token.as_bytes()[self.prefix.len()..]);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(mac.finalize().into_bytes(), &mut token);
        token
    }

    fn token_id(&self, serial: Serial) -> String {
        let mut id = String::with_capacity(self.id_before_serial.len() + SERIAL_CHARS);
        id.push_str(&self.id_before_serial);
        id.extend(serial.as_text().map(char::from));
        id
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet").field("times", &self.times).finish_non_exhaustive()
    }
}

/// Bytes that an ordinary token's own part fits in.
const TAIL_BYTES: usize = 192;

/// Writes `text` as the inside of a JSON string, in ASCII: some clients decode a payload
/// without minding UTF-8.
fn push_json(text: &str, out: &mut Vec<u8>) {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut units = [0; 2];
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    push_escape(*unit, out);
                }
            }
        }
    }
}

fn push_escape(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 15)]);
    }
}
