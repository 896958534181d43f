//! The layout of an HS256 JWT whose constant parts are encoded, and as far as may be hashed,
//! once.
//!
//! JSON member order is free, so all that a grant's tokens share comes first and only what is
//! one token's own comes last:
//!
//! ```text
//! header . {"iss":…,"sub":…,"iat":…,"exp":…,  "grants":{"player":{…},"identity":"alice" },"jti":"…-serial"}
//!          └──────────── shared: hashed once for each pair of times ────────────┘└─────┘└────────┘└──────┘┴
//!                                                                                  own   shared     own   shared
//! ```
//!
//! White space fills what lies before each seam. The long shared part ends on a SHA-256 block
//! (and so on a base64 group): the rest is hashed alone, from a copy of the state. The
//! identity, the serial and what lies between them end on base64 groups: each is encoded
//! alone, and the shared ones are not encoded again.

mod json;
#[cfg(test)]
mod tests;

use std::{fmt, iter, sync::Arc};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use arc_swap::ArcSwap;

use super::{
    PrepareError, Signer, Stamped, Tail, Times, Token,
    base64::{self, GROUP, GROUP_CHARS, SIGNATURE_CHARS},
    hmac::{BLOCK, Hmac, PADDING},
    id::{SERIAL_CHARS, Serial},
};

/// Characters that a signature and the dot before it add. Their room is enough to pad the
/// message in that they sign.
const SIGNATURE: usize = 1 + SIGNATURE_CHARS;
const _: () = assert!(SIGNATURE >= PADDING);

/// Sheets that are kept: so many token lives can be asked for in turn at no cost.
const MOST_SHEETS: usize = 8;

/// The constant text of one grant's tokens.
///
/// A token's payload is `head`, the times, `body`, the identity as JSON text, `before_id`,
/// the issue time in ten digits, `-`, the serial, `end`; with white space where JSON allows
/// it, which is why both of the latter start with a quote.
#[derive(Clone)]
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

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The grant is in it.
        f.debug_struct("Layout").finish_non_exhaustive()
    }
}

/// Signs one grant's tokens.
pub struct Template {
    text: Arc<Text>,
    key: Hmac,
    /// What was made for the times of this second's calls, the latest first.
    sheets: ArcSwap<Vec<Arc<Sheet>>>,
}

impl Template {
    /// A template of this layout that signs with `secret`'s raw bytes.
    pub fn new(layout: Layout, secret: &[u8]) -> Result<Self, PrepareError> {
        if secret.is_empty() {
            return Err(PrepareError::KeyUnusable);
        }
        let seams = [&layout.before_id, &layout.end];
        if !seams.iter().all(|text| text.starts_with('"')) {
            return Err(PrepareError::Unverified("layout"));
        }
        let (text, key) = (Arc::new(Text::of(layout)), Hmac::new(secret));
        Ok(Self { text, key, sheets: ArcSwap::default() })
    }

    /// What signs tokens of these times, and is not kept for others.
    #[must_use]
    pub fn once(&self, times: Times) -> impl Stamped + use<> {
        Sheet::new(&self.text, &self.key, times)
    }

    fn sheet(&self, times: Times) -> Arc<Sheet> {
        let sheets = self.sheets.load();
        if let Some(sheet) = sheets.iter().find(|sheet| sheet.times == times) {
            return Arc::clone(sheet);
        }
        let sheet = Arc::new(Sheet::new(&self.text, &self.key, times));
        // Those of another second have had their time.
        let others = sheets.iter().filter(|other| other.times.issue == times.issue);
        let kept = iter::once(&sheet).chain(others.take(MOST_SHEETS - 1)).cloned();
        self.sheets.store(Arc::new(kept.collect()));
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

/// A layout, encoded as far as the times leave it alone.
struct Text {
    /// The header and the dot behind it, encoded.
    header: String,
    head: String,
    nbf_backdate: Option<u32>,
    /// Encoded, with white space before it that makes whole groups of it.
    body: String,
    /// From the identity's closing quote, which is not in it, up to the id.
    before_id: String,
    id_prefix: String,
    /// From the id's closing quote, which is not in it, to the end, encoded.
    end: String,
}

impl Text {
    fn of(layout: Layout) -> Self {
        let Layout { header, head, nbf_backdate, body, before_id, id_prefix, end } = layout;
        // The header and the dot fill groups when two bytes are left over of three.
        let header = header.strip_suffix('}').unwrap_or(&header);
        let header = format!("{header}{}}}", spaces(|fill| (header.len() + fill + 1) % GROUP == 2));
        let fill = spaces(|fill| (body.len() + fill).is_multiple_of(GROUP));
        Self {
            header: URL_SAFE_NO_PAD.encode(header) + ".",
            head,
            nbf_backdate,
            body: URL_SAFE_NO_PAD.encode(fill + &body),
            before_id: without_quote(&before_id).to_owned(),
            id_prefix,
            end: URL_SAFE_NO_PAD.encode(without_quote(&end)),
        }
    }

    /// What stands before the body, encoded so that with it a SHA-256 block is filled.
    fn opening(&self, Times { issue, expire }: Times) -> String {
        let nbf = self
            .nbf_backdate
            .map_or(String::new(), |backdate| format!(r#""nbf":{},"#, issue - i64::from(backdate)));
        let mut claims = format!(r#"{}"iat":{issue},{nbf}"exp":{expire},"#, self.head);
        claims += &spaces(|fill| {
            let bytes = claims.len() + fill;
            let chars = self.header.len() + bytes / GROUP * GROUP_CHARS + self.body.len();
            bytes.is_multiple_of(GROUP) && chars.is_multiple_of(BLOCK)
        });
        [&self.header[..], &URL_SAFE_NO_PAD.encode(claims)].concat()
    }
}

/// Signs tokens of one grant and one pair of times.
struct Sheet {
    text: Arc<Text>,
    times: Times,
    /// The token up to the body: header, dot, and the payload up to the times.
    opening: String,
    /// The HMAC of what begins with the opening and the body.
    hmac: Hmac,
    /// What lies between the identity's closing quote and the dash before the serial, encoded.
    before_serial: String,
    /// The id up to that dash.
    id_start: String,
}

impl Sheet {
    fn new(text: &Arc<Text>, key: &Hmac, times: Times) -> Self {
        let opening = text.opening(times);
        let prefix = [&opening[..], &text.body].concat();
        let (blocks, _) = prefix.as_bytes().as_chunks();
        let hmac = key.then(blocks);

        let id_start = format!("{}-{:010}", text.id_prefix, times.issue);
        let before_serial = format!("{}{id_start}", text.before_id);
        let fill = spaces(|fill| (before_serial.len() + fill).is_multiple_of(GROUP));
        let before_serial = URL_SAFE_NO_PAD.encode(fill + &before_serial);
        Self { text: Arc::clone(text), times, opening, hmac, before_serial, id_start }
    }
}

fn without_quote(text: &str) -> &str {
    text.strip_prefix('"').unwrap_or(text)
}

/// As few spaces as are enough. Their encoding fills a block in so many bytes at the latest.
fn spaces(are_enough: impl Fn(usize) -> bool) -> String {
    const MOST: usize = BLOCK / GROUP_CHARS * GROUP;
    " ".repeat((0..MOST).find(|fill| are_enough(*fill)).unwrap_or(0))
}

impl Sheet {
    /// Characters of a tail before its signature, whose identity is so long as JSON.
    fn signed_chars(&self, identity: usize) -> usize {
        base64::quoted_chars(identity)
            + self.before_serial.len()
            + base64::quoted_chars(DASHED_SERIAL)
            + self.text.end.len()
    }
}

/// Characters of a serial with the dash before it.
const DASHED_SERIAL: usize = 1 + SERIAL_CHARS;

fn dashed(serial: Serial) -> [u8; DASHED_SERIAL] {
    let mut text = [b'-'; DASHED_SERIAL];
    text[1..].copy_from_slice(&serial.as_text());
    text
}

impl Stamped for Sheet {
    fn sign(&self, identity: &str, serial: Serial) -> Token<'_> {
        let identity = json::ascii(identity);
        let length = self.signed_chars(identity.len());
        let mut own = Tail::zeros(length + SIGNATURE);
        let blocks = own.blocks_mut();

        let room = base64::put_quoted(identity.as_bytes(), blocks.as_flattened_mut());
        let room = base64::put(self.before_serial.as_bytes(), room);
        let room = base64::put_quoted(&dashed(serial), room);
        base64::put(self.text.end.as_bytes(), room);

        let digest = self.hmac.finish(blocks, length);
        let room = base64::put(b".", &mut blocks.as_flattened_mut()[length..]);
        base64::put_digest(digest, room);
        Token { shared: [&self.opening, &self.text.body], own }
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let shared = self.opening.len() + self.text.body.len();
        shared + self.signed_chars(json::ascii(identity).len()) + SIGNATURE
    }

    fn token_id(&self, serial: Serial) -> String {
        let mut id = String::with_capacity(self.id_start.len() + DASHED_SERIAL);
        id.push_str(&self.id_start);
        id.extend(dashed(serial).map(char::from));
        id
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet").field("times", &self.times).finish_non_exhaustive()
    }
}
