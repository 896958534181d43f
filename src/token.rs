//! Token formats: each prepares a grant once, then signs many tokens with it.

mod base64;
pub mod claims;
pub mod hs256;
pub mod id;
mod json;
pub mod key;
pub mod params;
pub mod pool;
pub mod private;
mod shared;
pub mod signed;
mod tail;
pub mod verbatim;
mod verify;

use std::{fmt, sync::Arc};

use ::base64::{Engine, encoded_len, engine::Config};
use arc_swap::ArcSwap;
use bytes::BufMut;

use self::{
    id::{Fingerprint, Serial},
    tail::Tail,
};
pub use self::{key::Speed, shared::SharedTokens};
use crate::{
    clock::{Anchor, Clock},
    grant::{Grant, cell::Prepare},
    hmac::Hmac,
    settings::SigningSecret,
};

/// HMAC-SHA-256 of `text` under a secret. Only a holder of the secret can compute it.
#[must_use]
pub fn keyed_hash(secret: &SigningSecret, text: &str) -> [u8; 32] {
    Hmac::new(secret.expose().as_bytes()).of(text.as_bytes())
}

/// When a token is issued and when it expires, in whole Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Time of issue (`iat`).
    pub issue: i64,
    /// Time of expiry (`exp`).
    pub expire: i64,
}

/// Why a token format could not prepare a grant. Contains neither key nor grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The key cannot sign.
    #[error("the signing key cannot be used")]
    KeyUnusable,
    /// The tokens need a grant, and there is none.
    #[error("there is no grant")]
    NoGrant,
    /// The grant does not have the form that the tokens require.
    #[error("the grant does not have the form that its tokens require")]
    GrantUnfit,
    /// Two claims have conflicting paths.
    #[error(transparent)]
    Claims(#[from] claims::Conflict),
    /// A token minted with it differs from what is expected; names the part or the claim.
    #[error("a minted token does not verify: {0}")]
    Unverified(String),
}

/// Signing failed. Does not contain the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token cannot be signed")]
pub struct SignError;

/// What one call adds to its tokens besides identities.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The resource; empty for none.
    pub resource: &'a str,
    /// The values of the kind's parameters as ASCII JSON, in the order in which the kind declares
    /// them; none for unset ones.
    pub params: &'a [Option<String>],
}

impl Call<'_> {
    /// No resource and no parameters.
    pub const NONE: Self = Self { resource: "", params: &[] };
}

/// A provider's token format. It prepares grants for signing.
pub trait TokenFormat: fmt::Debug + Send + Sync {
    /// Prepares `grant`, mints one token from it and verifies that token. The grant is none for
    /// tokens made with a key alone.
    ///
    /// # Errors
    ///
    /// The key cannot sign, the grant does not have the required form, or the minted token differs
    /// from what is expected.
    fn prepare(&self, grant: Option<&Grant>, now: Anchor) -> Result<Box<dyn Signer>, PrepareError>;

    /// The cost of a signature, in units of one HMAC. Callers' quotas are charged by it.
    fn units(&self) -> u32;

    /// Whether the same times, call and identity give the same token, except for ids.
    fn repeats(&self) -> bool {
        true
    }

    /// The algorithm of its signatures by its JWT name; none for tokens that are not signed here.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// Where its signatures are made.
    fn speed(&self) -> Speed {
        Speed::Fast
    }
}

/// A profile's current token format, replaced when the profile's key is.
#[derive(Clone, Debug)]
pub struct CurrentFormat(Arc<ArcSwap<Arc<dyn TokenFormat>>>);

impl CurrentFormat {
    /// Starts with `format`.
    #[must_use]
    pub fn new(format: Arc<dyn TokenFormat>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(format)))
    }

    /// Replaces the format for later preparations.
    pub fn replace(&self, format: Arc<dyn TokenFormat>) {
        self.0.store(Arc::new(format));
    }
}

/// The current signer of a key without a grant, replaced when the key is.
#[derive(Clone, Debug)]
pub struct CurrentSigner(Arc<ArcSwap<KeySigner>>);

/// Signs with one key, without a grant.
#[derive(Debug)]
pub struct KeySigner {
    /// Signs each token.
    pub signer: Box<dyn Signer>,
    /// The tokens shared by callers.
    pub shared: SharedTokens,
}

impl KeySigner {
    fn new(signer: Box<dyn Signer>) -> Self {
        Self { signer, shared: SharedTokens::default() }
    }
}

impl CurrentSigner {
    /// Starts with `signer`.
    #[must_use]
    pub fn new(signer: Box<dyn Signer>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(KeySigner::new(signer))))
    }

    /// Replaces the signer for later loads. Tokens of the previous key are no longer shared.
    pub fn replace(&self, signer: Box<dyn Signer>) {
        self.0.store(Arc::new(KeySigner::new(signer)));
    }

    /// The current signer. Load it once a call or chunk, so that no token mixes two keys.
    #[must_use]
    pub fn load(&self) -> Arc<KeySigner> {
        self.0.load_full()
    }
}

/// Prepares grants with a profile's token format.
#[derive(Debug)]
pub struct Preparer {
    format: CurrentFormat,
    clock: Clock,
}

impl Preparer {
    /// Prepares with this format, using this clock.
    #[must_use]
    pub fn new(format: CurrentFormat, clock: Clock) -> Self {
        Self { format, clock }
    }
}

impl Prepare for Preparer {
    type Ready = Box<dyn Signer>;
    type Error = PrepareError;

    fn prepare(&self, grant: &Grant) -> Result<Self::Ready, PrepareError> {
        self.format.0.load().prepare(Some(grant), self.clock.now())
    }
}

/// Signs tokens with one grant.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Returns the signer of a call's tokens with these times. Cheap if the same times were
    /// requested before in this second.
    ///
    /// # Errors
    ///
    /// The part that the call's tokens share cannot be made.
    fn at(&self, times: Times, call: &Call<'_>) -> Result<Arc<dyn CallSigner>, SignError>;
}

/// Signs tokens of one grant, one pair of times and one call.
pub trait CallSigner: fmt::Debug + Send + Sync {
    /// Signs a token for this identity.
    ///
    /// # Errors
    ///
    /// Signing failed.
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError>;

    /// The length in bytes of a token for this identity.
    fn token_bytes(&self, identity: &str) -> usize;

    /// The unique id in the token with this serial; none for tokens without ids.
    fn token_id(&self, serial: Serial) -> Option<String>;
}

/// A signed token that is not yet copied: three shared parts and a per-token tail, which is ASCII.
/// Secret.
pub struct Token<'a> {
    shared: [&'a str; 3],
    tail: Tail,
}

impl<'a> Token<'a> {
    /// A token made of `beginning` followed by `bytes`, encoded; none if there are too many bytes.
    pub(crate) fn encoded(beginning: &'a str, bytes: &[u8], engine: &impl Engine) -> Option<Self> {
        let mut tail = Tail::zeros(encoded_len(bytes.len(), engine.config().encode_padding())?);
        engine.encode_slice(bytes, tail.blocks_mut().as_flattened_mut()).ok()?;
        Some(Self { shared: [beginning, "", ""], tail })
    }
}

impl Token<'_> {
    /// The length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts().map(<[u8]>::len).iter().sum()
    }

    /// The id of a token that contains none.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.parts())
    }

    /// Appends the token to `buffer`.
    pub fn put_into(&self, buffer: &mut impl BufMut) {
        for part in self.parts() {
            buffer.put_slice(part);
        }
    }

    fn parts(&self) -> [&[u8]; 4] {
        let [first, second, third] = self.shared.map(str::as_bytes);
        [first, second, third, self.tail.as_bytes()]
    }
}

impl<'a> Token<'a> {
    /// A token that is already signed.
    #[must_use]
    pub fn whole(text: &'a str) -> Self {
        Self { shared: [text, "", ""], tail: Tail::zeros(0) }
    }
}

impl From<Token<'_>> for String {
    fn from(token: Token<'_>) -> Self {
        let mut text = Self::with_capacity(token.bytes());
        text.extend(token.shared);
        // The tail is ASCII.
        text.push_str(str::from_utf8(token.tail.as_bytes()).unwrap_or_default());
        text
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}
