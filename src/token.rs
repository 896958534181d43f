//! Tokens: what a provider's token format gives us once a grant, and we sign with many times.

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

/// HMAC-SHA-256 of `text` under a secret: a name for it that only who has the secret can make.
#[must_use]
pub fn keyed_hash(secret: &SigningSecret, text: &str) -> [u8; 32] {
    Hmac::new(secret.expose().as_bytes()).of(text.as_bytes())
}

/// When a token was issued and when it ends, in whole Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Issued (`iat`).
    pub issue: i64,
    /// Ends (`exp`).
    pub expire: i64,
}

/// Why a token format could not make a grant ready to sign with. It never holds either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The key does not sign.
    #[error("the signing key cannot be used")]
    KeyUnusable,
    /// The tokens hold a grant, and there is none.
    #[error("there is no grant")]
    NoGrant,
    /// The grant is not of the form that the tokens hold.
    #[error("the grant is not of the form that its tokens hold")]
    GrantUnfit,
    /// Two claims are in one place.
    #[error(transparent)]
    Claims(#[from] claims::Conflict),
    /// A token minted with it is not what was meant; names the part or the claim.
    #[error("a minted token does not verify: {0}")]
    Unverified(String),
}

/// A signature that could not be made. It never holds the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token cannot be signed")]
pub struct SignError;

/// What one call puts into its tokens, beside identities.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The resource; empty for none.
    pub resource: &'a str,
    /// The values of the kind's parameters, each as ASCII JSON, in the order in which the kind
    /// declares them; none for those that are not set.
    pub params: &'a [Option<String>],
}

impl Call<'_> {
    /// Nothing.
    pub const NONE: Self = Self { resource: "", params: &[] };
}

/// A provider's token format: makes a grant ready to sign with.
pub trait TokenFormat: fmt::Debug + Send + Sync {
    /// Prepares `grant`, mints one token from it and verifies that. There is none where tokens
    /// are made with a key alone.
    ///
    /// # Errors
    ///
    /// The key cannot sign, the grant is not of the form that the tokens hold, or what was
    /// minted is not what was meant.
    fn prepare(&self, grant: Option<&Grant>, now: Anchor) -> Result<Box<dyn Signer>, PrepareError>;

    /// What a signature costs, in units of an HMAC: callers' quotas are charged by it.
    fn units(&self) -> u32;

    /// Whether a token of the same times, call and identity is the same again, ids apart.
    fn repeats(&self) -> bool {
        true
    }

    /// The algorithm of its signatures, as JWTs name it; none of tokens that are not signed here.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// Where its signatures are made.
    fn speed(&self) -> Speed {
        Speed::Fast
    }
}

/// A profile's token format, which is replaced when the profile's key is.
#[derive(Clone, Debug)]
pub struct PresentFormat(Arc<ArcSwap<Arc<dyn TokenFormat>>>);

impl PresentFormat {
    /// `format`, until it is replaced.
    #[must_use]
    pub fn new(format: Arc<dyn TokenFormat>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(format)))
    }

    /// Replaces it, for all that is prepared from now on.
    pub fn replace(&self, format: Arc<dyn TokenFormat>) {
        self.0.store(Arc::new(format));
    }
}

/// The signer of a key without a grant, which is replaced when the key is.
#[derive(Clone, Debug)]
pub struct PresentSigner(Arc<ArcSwap<KeySigner>>);

/// What signs with one key, without a grant.
#[derive(Debug)]
pub struct KeySigner {
    /// Signs each token.
    pub signer: Box<dyn Signer>,
    /// The tokens that callers share.
    pub shared: SharedTokens,
}

impl KeySigner {
    fn new(signer: Box<dyn Signer>) -> Self {
        Self { signer, shared: SharedTokens::default() }
    }
}

impl PresentSigner {
    /// `signer`, until it is replaced.
    #[must_use]
    pub fn new(signer: Box<dyn Signer>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(KeySigner::new(signer))))
    }

    /// Replaces it, for all calls and chunks that load it from now on. No token of the former key
    /// is shared any more.
    pub fn replace(&self, signer: Box<dyn Signer>) {
        self.0.store(Arc::new(KeySigner::new(signer)));
    }

    /// The present one. Load once a call, or once a chunk, so that no token is of two keys.
    #[must_use]
    pub fn load(&self) -> Arc<KeySigner> {
        self.0.load_full()
    }
}

/// Makes grants ready with a profile's token format.
#[derive(Debug)]
pub struct Preparer {
    format: PresentFormat,
    clock: Clock,
}

impl Preparer {
    /// Of this format, by this clock.
    #[must_use]
    pub fn new(format: PresentFormat, clock: Clock) -> Self {
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

/// Signs tokens around one grant.
pub trait Signer: fmt::Debug + Send + Sync {
    /// What signs a call's tokens of these times; cheap for times of the same second that were
    /// asked for before.
    ///
    /// # Errors
    ///
    /// What the call's tokens share cannot be made.
    fn at(&self, times: Times, call: &Call<'_>) -> Result<Arc<dyn Stamped>, SignError>;
}

/// Signs tokens around one grant, all of the same times and the same call.
pub trait Stamped: fmt::Debug + Send + Sync {
    /// A token for this identity.
    ///
    /// # Errors
    ///
    /// The signature cannot be made.
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError>;

    /// Bytes of a token for this identity.
    fn token_bytes(&self, identity: &str) -> usize;

    /// The unique id in the token with this serial; none for tokens without one.
    fn token_id(&self, serial: Serial) -> Option<String>;
}

/// A token, signed and not yet copied: what it shares with others, in three parts, and what is
/// its own, which is ASCII. A secret.
pub struct Token<'a> {
    shared: [&'a str; 3],
    own: Tail,
}

impl<'a> Token<'a> {
    /// A token of this beginning, and `bytes` encoded behind it; none where they are too many to
    /// be.
    pub(crate) fn encoded(beginning: &'a str, bytes: &[u8], engine: &impl Engine) -> Option<Self> {
        let mut own = Tail::zeros(encoded_len(bytes.len(), engine.config().encode_padding())?);
        engine.encode_slice(bytes, own.blocks_mut().as_flattened_mut()).ok()?;
        Some(Self { shared: [beginning, "", ""], own })
    }
}

impl Token<'_> {
    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts().map(<[u8]>::len).iter().sum()
    }

    /// What stands for its id where it holds none.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.parts())
    }

    /// Puts its text into `buffer`.
    pub fn put_into(&self, buffer: &mut impl BufMut) {
        for part in self.parts() {
            buffer.put_slice(part);
        }
    }

    fn parts(&self) -> [&[u8]; 4] {
        let [first, second, third] = self.shared.map(str::as_bytes);
        [first, second, third, self.own.as_bytes()]
    }
}

impl<'a> Token<'a> {
    /// A token that is signed already.
    #[must_use]
    pub fn whole(text: &'a str) -> Self {
        Self { shared: [text, "", ""], own: Tail::zeros(0) }
    }
}

impl From<Token<'_>> for String {
    fn from(token: Token<'_>) -> Self {
        let mut text = Self::with_capacity(token.bytes());
        text.extend(token.shared);
        // What is its own is ASCII.
        text.push_str(str::from_utf8(token.own.as_bytes()).unwrap_or_default());
        text
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}
