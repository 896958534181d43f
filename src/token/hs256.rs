//! JWTs signed with HS256. What tokens share is encoded and hashed once.
//!
//! ```text
//! header . {"iss":…,"sub":…,"iat":…,"exp":…  ,"grants":{"player":{…},"identity":"alice" },"jti":"…-serial"}
//!          └──────── opening ───────┘└────────────── body ───────────┘└───┘└────────┘└──────┘┴
//!          └────────────── hashed once for each pair of times ───────┘ own   shared    own   shared
//! ```
//!
//! White space fills the space before each boundary. The opening and the body end on a SHA-256
//! block, and so on a base64 group: the rest is hashed alone, from a copy of the hash state. Claims
//! that vary by call (the lead) follow and are encoded once a call. The identity, the serial and
//! the texts between them end on base64 groups: each is encoded alone, and the texts are not
//! encoded again.

mod call;
#[cfg(test)]
mod tests;

use std::{fmt, iter, sync::Arc};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;

use self::call::with_call;
use super::{
    Call, CallSigner, PrepareError, SignError, Signer, Tail, Times, Token, TokenFormat,
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

/// Characters added by a signature and the dot before it. They leave enough space to pad the
/// message that is signed.
const SIGNATURE: usize = 1 + SIGNATURE_CHARS;
const _: () = assert!(SIGNATURE >= PADDING);

/// Timed templates kept: this many token lifetimes can alternate at no cost.
const MAX_RECENT: usize = 8;

/// A token format: claims signed with HS256 under the bytes of a secret.
pub struct Hs256 {
    table: Result<Table, Conflict>,
    secret: SigningSecret,
}

impl Hs256 {
    /// Tokens with these claims. A table with a conflict makes none.
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
    text: Arc<ClaimsLayout>,
    key: Hmac,
    /// The templates of this second's calls by times, the latest first.
    recent: ArcSwap<Vec<Arc<TimedTemplate>>>,
}

impl Template {
    /// A template of these claims with `grant`, which is JSON, signing with the raw bytes of
    /// `secret`.
    ///
    /// # Errors
    ///
    /// The secret is empty, or the claims need a grant and there is none or it is not JSON.
    pub fn new(table: &Table, grant: Option<&str>, secret: &[u8]) -> Result<Self, PrepareError> {
        if secret.is_empty() {
            return Err(PrepareError::KeyUnusable);
        }
        let (text, key) = (Arc::new(ClaimsLayout::of(table, grant)?), Hmac::new(secret));
        Ok(Self { text, key, recent: ArcSwap::default() })
    }

    /// A signer of tokens with these times that is not kept for later calls.
    pub(super) fn once(&self, times: Times, call: &Call<'_>) -> Arc<dyn CallSigner> {
        with_call(Arc::new(TimedTemplate::new(&self.text, &self.key, times)), call)
    }

    fn timed(&self, times: Times) -> Arc<TimedTemplate> {
        let recent = self.recent.load();
        if let Some(known) = recent.iter().find(|known| known.times == times) {
            return Arc::clone(known);
        }
        let template = Arc::new(TimedTemplate::new(&self.text, &self.key, times));
        // Templates of another second are no longer needed.
        let others = recent.iter().filter(|other| other.times.issue == times.issue);
        let kept = iter::once(&template).chain(others.take(MAX_RECENT - 1)).cloned();
        self.recent.store(Arc::new(kept.collect()));
        template
    }
}

impl Signer for Template {
    fn at(&self, times: Times, call: &Call<'_>) -> Result<Arc<dyn CallSigner>, SignError> {
        Ok(with_call(self.timed(times), call))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

/// The claims in the order of a token, encoded where they do not depend on times or calls.
struct ClaimsLayout {
    /// The encoded header and the dot after it.
    header: String,
    /// Up to the last time that precedes the more variable claims.
    opening: Vec<Part>,
    /// From there to what varies by call or token, encoded, padded in front to whole groups.
    body: String,
    /// From there to what varies by token.
    lead: Vec<Part>,
    /// From there to the end.
    per_token: Vec<Part>,
    /// Whether any part of `per_token` varies by call.
    per_token_varies: bool,
}

impl ClaimsLayout {
    fn of(table: &Table, grant: Option<&str>) -> Result<Self, PrepareError> {
        let mut parts = table.around(grant)?;
        let varies = |part: &Part| part.varies_by_call() || part.varies_by_token();
        let shared = parts.iter().position(varies).unwrap_or(parts.len());
        let mut lead = parts.split_off(shared);
        let per_token = lead.iter().position(Part::varies_by_token).unwrap_or(lead.len());
        let per_token = lead.split_off(per_token);
        let times = parts.iter().rposition(|part| matches!(part, Part::Time(_)));
        let body = parts.split_off(times.map_or(0, |last| last + 1));

        // The header and the dot fill whole groups if the header leaves two bytes over.
        let header = json::written(&table.header().clone().into());
        let header = header.strip_suffix('}').unwrap_or(&header);
        let header = format!("{header}{}}}", spaces(|fill| (header.len() + fill + 1) % GROUP == 2));
        Ok(Self {
            header: URL_SAFE_NO_PAD.encode(header) + ".",
            opening: parts,
            body: encoded(&constant(&body)),
            lead,
            per_token_varies: per_token.iter().any(Part::varies_by_call),
            per_token,
        })
    }

    /// The text before the body, encoded so that both together fill SHA-256 blocks.
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

/// Concatenates constant parts.
fn constant(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        part.write(Times::NONE, &Call::NONE, &mut text);
    }
    text
}

/// Encodes a text that may start with white space, padded in front to whole groups.
fn encoded(text: &str) -> String {
    let fill = spaces(|fill| (text.len() + fill).is_multiple_of(GROUP));
    URL_SAFE_NO_PAD.encode(fill + text)
}

/// The fewest spaces that are enough. A block is filled within `MAX` bytes.
fn spaces(are_enough: impl Fn(usize) -> bool) -> String {
    const MAX: usize = BLOCK / GROUP_CHARS * GROUP;
    " ".repeat((0..MAX).find(|fill| are_enough(*fill)).unwrap_or(0))
}

impl Times {
    const NONE: Self = Self { issue: 0, expire: 0 };
}

/// A piece of a token's own part.
enum Piece {
    /// Encoded text between values.
    Text(String),
    /// The identity and the quote after it.
    Identity,
    /// The serial and the quote after it.
    Serial,
    /// The serial as a UUID and the quote after it.
    Uuid,
    /// A dash, the serial and the quote after it.
    DashedSerial,
}

/// Characters of a serial with a dash before it.
const DASHED_CHARS: usize = 1 + SERIAL_CHARS;

/// A token's own part, with the texts between its values encoded.
struct PerToken {
    pieces: Vec<Piece>,
    /// Characters of all pieces except identities.
    chars: usize,
    /// How often the identity occurs.
    identities: usize,
}

impl PerToken {
    fn new(per_token: &[Part], times: Times, call: &Call<'_>) -> Self {
        let pieces = pieces(per_token, times, call);
        let chars = pieces.iter().map(Piece::chars).sum();
        let identities = pieces.iter().filter(|it| matches!(it, Piece::Identity)).count();
        Self { pieces, chars, identities }
    }

    /// Its characters for an identity of this length as JSON.
    const fn chars(&self, identity: usize) -> usize {
        self.chars + self.identities * base64::quoted_chars(identity)
    }
}

fn pieces(per_token: &[Part], times: Times, call: &Call<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    for part in per_token {
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
    /// Characters that it becomes, not counting an identity.
    const fn chars(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Identity => 0,
            Self::Serial => base64::quoted_chars(SERIAL_CHARS),
            Self::Uuid => base64::quoted_chars(UUID_CHARS),
            Self::DashedSerial => base64::quoted_chars(DASHED_CHARS),
        }
    }

    fn put<'a>(&self, identity: &str, serial: Serial, out: &'a mut [u8]) -> &'a mut [u8] {
        match self {
            Self::Text(text) => base64::put(text.as_bytes(), out),
            Self::Identity => base64::put_quoted(identity.as_bytes(), out),
            Self::Serial => base64::put_quoted(&serial.as_text(), out),
            Self::Uuid => base64::put_quoted(&serial.as_uuid(), out),
            Self::DashedSerial => base64::put_quoted(&dashed(serial), out),
        }
    }
}

fn dashed(serial: Serial) -> [u8; DASHED_CHARS] {
    let mut text = [b'-'; DASHED_CHARS];
    text[1..].copy_from_slice(&serial.as_text());
    text
}

/// What tokens of one grant and one pair of times share.
struct TimedTemplate {
    text: Arc<ClaimsLayout>,
    times: Times,
    /// The token before the body: header, dot, and the payload up to the times.
    opening: String,
    /// The HMAC state after the opening and the body.
    hmac: Hmac,
    /// The per-token part, where it does not vary by call.
    per_token: PerToken,
    /// The format of the id; none for tokens without ids.
    id: Option<TokenId>,
}

/// The format of a token's id, for one second of issue.
enum TokenId {
    /// A prefix followed by the serial.
    Serial(String),
    /// The serial as a UUID.
    Uuid,
}

impl TimedTemplate {
    fn new(text: &Arc<ClaimsLayout>, key: &Hmac, times: Times) -> Self {
        let opening = text.opening(times);
        let prefix = [&opening[..], &text.body].concat();
        let (blocks, _) = prefix.as_bytes().as_chunks();
        let hmac = key.then(blocks);
        let per_token = PerToken::new(&text.per_token, times, &Call::NONE);
        let id = text.per_token.iter().find_map(|part| match part {
            Part::Id(Id::Serial) => Some(TokenId::Serial(String::new())),
            Part::Id(Id::Dated(prefix)) => {
                Some(TokenId::Serial(format!("{prefix}-{}-", date(times.issue))))
            }
            Part::Id(Id::Uuid) => Some(TokenId::Uuid),
            _ => None,
        });
        Self { text: Arc::clone(text), times, opening, hmac, per_token, id }
    }

    /// The id of the token with this serial; none for tokens without ids.
    fn id(&self, serial: Serial) -> Option<String> {
        Some(match self.id.as_ref()? {
            TokenId::Serial(before) => joined(before, &serial.as_text()),
            TokenId::Uuid => joined("", &serial.as_uuid()),
        })
    }
}

impl fmt::Debug for TimedTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedTemplate").field("times", &self.times).finish_non_exhaustive()
    }
}

impl CallSigner for TimedTemplate {
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError> {
        let shared = [&self.opening[..], &self.text.body, ""];
        Ok(sign(shared, &self.hmac, b"", &self.per_token, identity, serial))
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let shared = self.opening.len() + self.text.body.len();
        shared + self.per_token.chars(json::ascii(identity).len()) + SIGNATURE
    }

    fn token_id(&self, serial: Serial) -> Option<String> {
        self.id(serial)
    }
}

/// Signs a token that begins with `shared`, which `hmac` has already hashed.
fn sign<'a>(
    shared: [&'a str; 3],
    hmac: &Hmac,
    rest: &[u8],
    per_token: &PerToken,
    identity: &str,
    serial: Serial,
) -> Token<'a> {
    let identity = json::ascii(identity);
    let length = rest.len() + per_token.chars(identity.len());
    let mut tail = Tail::zeros(length + SIGNATURE);
    let blocks = tail.blocks_mut();

    let mut out = base64::put(rest, blocks.as_flattened_mut());
    for piece in &per_token.pieces {
        out = piece.put(&identity, serial, out);
    }

    let digest = hmac.finish(blocks, length);
    let out = base64::put(b".", &mut blocks.as_flattened_mut()[length..]);
    base64::put_digest(digest, out);
    Token { shared, tail }
}
