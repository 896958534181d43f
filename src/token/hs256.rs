//! JWTs signed with HS256, of which all that tokens share is encoded and hashed once.
//!
//! ```text
//! header . {"iss":…,"sub":…,"iat":…,"exp":…  ,"grants":{"player":{…},"identity":"alice" },"jti":"…-serial"}
//!          └──────── opening ───────┘└────────────── body ───────────┘└───┘└────────┘└──────┘┴
//!          └────────────── hashed once for each pair of times ───────┘ own   shared    own   shared
//! ```
//!
//! White space fills what lies before each seam. The opening and the body end on a SHA-256 block
//! (and so on a base64 group): the rest is hashed alone, from a copy of the state. What varies by
//! call, the lead, follows them; it is encoded once a call. The identity, the serial and the
//! texts between them end on base64 groups: each is encoded alone, and the texts are not encoded
//! again.

mod called;
#[cfg(test)]
mod tests;

use std::{fmt, iter, sync::Arc};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;

use self::called::called;
use super::{
    Call, PrepareError, SignError, Signer, Stamped, Tail, Times, Token, TokenFormat,
    base64::{self, GROUP, GROUP_CHARS, SIGNATURE_CHARS},
    claims::{Conflict, Id, Part, Table, date, joined},
    id::{SERIAL_CHARS, Serial, UUID_CHARS},
    json,
    key::JwtKey,
};
use crate::{
    clock::Anchor,
    grant::Grant,
    hmac::{BLOCK, Hmac, PADDING},
    settings::SigningSecret,
};

/// Characters that a signature and the dot before it add. Their room is enough to pad the
/// message in that they sign.
const SIGNATURE: usize = 1 + SIGNATURE_CHARS;
const _: () = assert!(SIGNATURE >= PADDING);

/// Sheets that are kept: so many token lives can be asked for in turn at no cost.
const MOST_SHEETS: usize = 8;

/// A token format: claims that are signed with HS256 and the bytes of a secret.
pub struct Hs256 {
    table: Result<Table, Conflict>,
    secret: SigningSecret,
}

impl Hs256 {
    /// Tokens of these claims. A table that conflicts makes none.
    #[must_use]
    pub fn new(table: Result<Table, Conflict>, secret: SigningSecret) -> Self {
        Self { table, secret }
    }
}

impl TokenFormat for Hs256 {
    fn prepare(&self, grant: Option<&Grant>, now: Anchor) -> Result<Box<dyn Signer>, PrepareError> {
        let table = self.table.as_ref().map_err(Conflict::clone)?;
        let grant = grant.map(|grant| grant.content().as_str());
        let secret = self.secret.expose().as_bytes();
        let template = Template::new(table, grant, secret)?;
        let key = JwtKey::hmac(Algorithm::HS256, &self.secret);
        key.verify(table, grant, now, |times, call| Ok(template.once(times, call)))?;
        Ok(Box::new(template))
    }

    fn units(&self) -> u32 {
        1
    }

    fn algorithm(&self) -> Option<&'static str> {
        Some("HS256")
    }
}

impl fmt::Debug for Hs256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hs256")
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
    /// A template of these claims around `grant`, which is JSON, that signs with `secret`'s raw
    /// bytes.
    ///
    /// # Errors
    ///
    /// The secret is empty, or the claims need a grant and there is none that is JSON.
    pub fn new(table: &Table, grant: Option<&str>, secret: &[u8]) -> Result<Self, PrepareError> {
        if secret.is_empty() {
            return Err(PrepareError::KeyUnusable);
        }
        let (text, key) = (Arc::new(Text::of(table, grant)?), Hmac::new(secret));
        Ok(Self { text, key, sheets: ArcSwap::default() })
    }

    /// What signs tokens of these times, and is not kept for others.
    pub(super) fn once(&self, times: Times, call: &Call<'_>) -> Arc<dyn Stamped> {
        called(Arc::new(Sheet::new(&self.text, &self.key, times)), call)
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
    fn at(&self, times: Times, call: &Call<'_>) -> Result<Arc<dyn Stamped>, SignError> {
        Ok(called(self.sheet(times), call))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

/// The claims in the order of a token, encoded as far as times and calls leave them alone.
struct Text {
    /// The header and the dot behind it, encoded.
    header: String,
    /// Up to the last of the times that come before what varies more.
    opening: Vec<Part>,
    /// From there to what varies by call or token, encoded, with white space before it that makes
    /// whole groups of it.
    body: String,
    /// From there to what varies by token.
    lead: Vec<Part>,
    /// From there to the end.
    own: Vec<Part>,
    /// Whether anything of that varies by call.
    own_varies: bool,
}

impl Text {
    fn of(table: &Table, grant: Option<&str>) -> Result<Self, PrepareError> {
        let mut parts = table.around(grant)?;
        let varies = |part: &Part| part.is_of_call() || part.is_of_token();
        let shared = parts.iter().position(varies).unwrap_or(parts.len());
        let mut lead = parts.split_off(shared);
        let own = lead.iter().position(Part::is_of_token).unwrap_or(lead.len());
        let own = lead.split_off(own);
        let times = parts.iter().rposition(|part| matches!(part, Part::Time(_)));
        let body = parts.split_off(times.map_or(0, |last| last + 1));

        // The header and the dot fill groups when two bytes are left over of three.
        let header = json::written(&table.header().clone().into());
        let header = header.strip_suffix('}').unwrap_or(&header);
        let header = format!("{header}{}}}", spaces(|fill| (header.len() + fill + 1) % GROUP == 2));
        Ok(Self {
            header: URL_SAFE_NO_PAD.encode(header) + ".",
            opening: parts,
            body: encoded(&constant(&body)),
            lead,
            own_varies: own.iter().any(Part::is_of_call),
            own,
        })
    }

    /// What stands before the body, encoded so that with it a SHA-256 block is filled.
    fn opening(&self, times: Times) -> String {
        let mut claims = String::new();
        self.opening.iter().for_each(|part| part.write(times, &Call::NONE, &mut claims));
        claims += &spaces(|fill| {
            let bytes = claims.len() + fill;
            let chars = self.header.len() + bytes / GROUP * GROUP_CHARS + self.body.len();
            bytes.is_multiple_of(GROUP) && chars.is_multiple_of(BLOCK)
        });
        [&self.header[..], &URL_SAFE_NO_PAD.encode(claims)].concat()
    }
}

/// Texts alone.
fn constant(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        part.write(Times::NONE, &Call::NONE, &mut text);
    }
    text
}

/// A text that begins where white space may stand, encoded in whole groups.
fn encoded(text: &str) -> String {
    let fill = spaces(|fill| (text.len() + fill).is_multiple_of(GROUP));
    URL_SAFE_NO_PAD.encode(fill + text)
}

/// As few spaces as are enough. Their encoding fills a block in so many bytes at the latest.
fn spaces(are_enough: impl Fn(usize) -> bool) -> String {
    const MOST: usize = BLOCK / GROUP_CHARS * GROUP;
    " ".repeat((0..MOST).find(|fill| are_enough(*fill)).unwrap_or(0))
}

impl Times {
    const NONE: Self = Self { issue: 0, expire: 0 };
}

/// A piece of what is a token's own.
enum Piece {
    /// Text between its values, encoded.
    Text(String),
    /// The identity and the quote behind it.
    Identity,
    /// The serial and the quote behind it.
    Serial,
    /// The serial as a UUID and the quote behind it.
    Uuid,
    /// The serial, with a dash before it, and the quote behind it.
    DashedSerial,
}

/// Characters of a serial with a dash before it.
const DASHED_CHARS: usize = 1 + SERIAL_CHARS;

/// What is a token's own, with the texts between its values encoded.
struct Own {
    pieces: Vec<Piece>,
    /// Characters of all pieces but identities.
    chars: usize,
    /// How many identities there are.
    identities: usize,
}

impl Own {
    fn new(own: &[Part], times: Times, call: &Call<'_>) -> Self {
        let pieces = pieces(own, times, call);
        let chars = pieces.iter().map(Piece::chars).sum();
        let identities = pieces.iter().filter(|it| matches!(it, Piece::Identity)).count();
        Self { pieces, chars, identities }
    }

    /// Characters of it, for an identity that is so long as JSON.
    const fn chars(&self, identity: usize) -> usize {
        self.chars + self.identities * base64::quoted_chars(identity)
    }
}

fn pieces(own: &[Part], times: Times, call: &Call<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    for part in own {
        let value = match part {
            Part::Identity => Piece::Identity,
            Part::Id(Id::Serial) => {
                text.push('"');
                Piece::Serial
            }
            Part::Id(Id::Uuid) => {
                text.push('"');
                Piece::Uuid
            }
            Part::Id(Id::Dated(prefix)) => {
                text.extend(["\"", &json::ascii(prefix), "-", &date(times.issue)]);
                Piece::DashedSerial
            }
            part => {
                part.write(times, call, &mut text);
                continue;
            }
        };
        let between = after(pieces.last(), &text);
        if !between.is_empty() {
            pieces.push(Piece::Text(encoded(between)));
        }
        text.clear();
        pieces.push(value);
    }
    let end = URL_SAFE_NO_PAD.encode(after(pieces.last(), &text));
    pieces.push(Piece::Text(end));
    pieces
}

/// A text without the quote that is written with the value before it.
fn after<'a>(value: Option<&Piece>, text: &'a str) -> &'a str {
    match value {
        Some(Piece::Identity) => text.strip_prefix('"').unwrap_or(text),
        _ => text,
    }
}

impl Piece {
    /// Characters that it becomes, other than the identity.
    const fn chars(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Identity => 0,
            Self::Serial => base64::quoted_chars(SERIAL_CHARS),
            Self::Uuid => base64::quoted_chars(UUID_CHARS),
            Self::DashedSerial => base64::quoted_chars(DASHED_CHARS),
        }
    }

    fn put<'a>(&self, identity: &str, serial: Serial, room: &'a mut [u8]) -> &'a mut [u8] {
        match self {
            Self::Text(text) => base64::put(text.as_bytes(), room),
            Self::Identity => base64::put_quoted(identity.as_bytes(), room),
            Self::Serial => base64::put_quoted(&serial.as_text(), room),
            Self::Uuid => base64::put_quoted(&serial.as_uuid(), room),
            Self::DashedSerial => base64::put_quoted(&dashed(serial), room),
        }
    }
}

fn dashed(serial: Serial) -> [u8; DASHED_CHARS] {
    let mut text = [b'-'; DASHED_CHARS];
    text[1..].copy_from_slice(&serial.as_text());
    text
}

/// What tokens of one grant and one pair of times share.
struct Sheet {
    text: Arc<Text>,
    times: Times,
    /// The token up to the body: header, dot, and the payload up to the times.
    opening: String,
    /// The HMAC of what begins with the opening and the body.
    hmac: Hmac,
    /// What is a token's own, where it does not vary by call.
    own: Own,
    /// The form of an id; none where tokens have none.
    id: Option<TokenId>,
}

/// The form of a token's id, of one second of issue.
enum TokenId {
    /// This, and the serial behind it.
    Serial(String),
    /// The serial as a UUID.
    Uuid,
}

impl Sheet {
    fn new(text: &Arc<Text>, key: &Hmac, times: Times) -> Self {
        let opening = text.opening(times);
        let prefix = [&opening[..], &text.body].concat();
        let (blocks, _) = prefix.as_bytes().as_chunks();
        let hmac = key.then(blocks);
        let own = Own::new(&text.own, times, &Call::NONE);
        let id = text.own.iter().find_map(|part| match part {
            Part::Id(Id::Serial) => Some(TokenId::Serial(String::new())),
            Part::Id(Id::Dated(prefix)) => {
                Some(TokenId::Serial(format!("{prefix}-{}-", date(times.issue))))
            }
            Part::Id(Id::Uuid) => Some(TokenId::Uuid),
            _ => None,
        });
        Self { text: Arc::clone(text), times, opening, hmac, own, id }
    }

    /// The id of the token with this serial, where it has one.
    fn id(&self, serial: Serial) -> Option<String> {
        Some(match self.id.as_ref()? {
            TokenId::Serial(before) => joined(before, &serial.as_text()),
            TokenId::Uuid => joined("", &serial.as_uuid()),
        })
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet").field("times", &self.times).finish_non_exhaustive()
    }
}

impl Stamped for Sheet {
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError> {
        let shared = [&self.opening[..], &self.text.body, ""];
        Ok(sign(shared, &self.hmac, b"", &self.own, identity, serial))
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let shared = self.opening.len() + self.text.body.len();
        shared + self.own.chars(json::ascii(identity).len()) + SIGNATURE
    }

    fn token_id(&self, serial: Serial) -> Option<String> {
        self.id(serial)
    }
}

/// A token that begins with what is shared, which `hmac` has taken.
fn sign<'a>(
    shared: [&'a str; 3],
    hmac: &Hmac,
    rest: &[u8],
    own: &Own,
    identity: &str,
    serial: Serial,
) -> Token<'a> {
    let identity = json::ascii(identity);
    let length = rest.len() + own.chars(identity.len());
    let mut tail = Tail::zeros(length + SIGNATURE);
    let blocks = tail.blocks_mut();

    let mut room = base64::put(rest, blocks.as_flattened_mut());
    for piece in &own.pieces {
        room = piece.put(&identity, serial, room);
    }

    let digest = hmac.finish(blocks, length);
    let room = base64::put(b".", &mut blocks.as_flattened_mut()[length..]);
    base64::put_digest(digest, room);
    Token { shared, own: tail }
}
