//! The token format: services are packed once per call, and each token is signed.
//!
//! A signature chains three HMAC-SHA256 codes, each the key of the next: the certificate's code
//! keyed by the issue time, that keyed by the salt, and that over the token. The first is computed
//! once a second.

use std::{fmt, sync::Arc};

use base64::{encoded_len, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    config::{Config, User},
    packed::{Packed, SIGNATURE, VERSION},
    params::Privileges,
    parsed::Parsed,
    services::{LOGIN, Product, Service},
};
use crate::{
    clock::Anchor,
    grant::Grant,
    hmac::Hmac,
    provider::Tokens,
    settings::SigningSecret,
    token::{
        Call, CallSigner, PrepareError, SignError, Signer, Times, Token, TokenFormat,
        claims::Conflict, id::Serial,
    },
};

/// Salts range from 1 to this.
const MAX_SALT: u32 = 99_999_999;

/// The channel and user in self-test tokens.
const CHANNEL: &str = "grantmint self-test";
const ACCOUNT: &str = "grantmint";
const UID: &str = "4294967295";

/// A profile's tokens.
#[derive(Clone)]
pub(super) struct AccessToken2 {
    app_id: String,
    certificate: SigningSecret,
    services: Vec<Product>,
    user: User,
    has_identity: bool,
    /// How many seconds the issue time is backdated.
    back: u32,
    privileges: Result<Privileges, Conflict>,
}

impl AccessToken2 {
    /// The format of a profile's tokens.
    pub(super) fn new(config: &Config, tokens: &Tokens) -> Self {
        Self {
            app_id: config.app_id.clone(),
            certificate: config.certificate.clone(),
            services: config.services.clone(),
            user: config.user,
            has_identity: tokens.has_identity,
            back: tokens.iat.unwrap_or(0),
            privileges: Privileges::new(tokens),
        }
    }

    /// The issue time and the life in seconds; `None` if a token cannot express them.
    fn times(&self, times: Times) -> Option<(u32, u32)> {
        let issue = times.issue - i64::from(self.back);
        let life = times.expire - issue;
        u32::try_from(issue).ok().zip(u32::try_from(life).ok())
    }

    /// The services in a call's tokens, for `user`.
    fn services(
        &self,
        privileges: &Privileges,
        life: u32,
        call: &Call<'_>,
        user: &str,
    ) -> Vec<Service> {
        let service = |product: &Product| Service {
            product: *product,
            privileges: match product {
                Product::Rtc => privileges.of_call(call),
                Product::Rtm | Product::Chat => [(LOGIN, life)].into(),
            },
            channel: (*product == Product::Rtc).then(|| call.resource.to_owned()),
            user: user.to_owned(),
        };
        self.services.iter().map(service).collect()
    }

    /// Mints a token, parses it and compares it with the expected values.
    fn verify(
        &self,
        ready: &Prepared,
        privileges: &Privileges,
        now: Anchor,
    ) -> Result<(), PrepareError> {
        let unverified = |what: &str| PrepareError::Unverified(what.to_owned());
        let issue = now.wall.unix_seconds();
        let times = Times { issue, expire: issue + 60 };
        let call = Call { resource: CHANNEL, params: &[] };
        let user = match self.user {
            _ if !self.has_identity => "",
            User::Uid => UID,
            User::Account => ACCOUNT,
        };
        let stamped = ready.at(times, &call).map_err(|_| unverified("times"))?;
        let token = stamped.sign(user, Serial::SELF_TEST).map_err(|_| unverified("signature"))?;
        let token = String::from(token);
        if token.len() != stamped.token_bytes(user) {
            return Err(unverified("length"));
        }
        let parsed = Parsed::parse(&token).ok_or_else(|| unverified("format"))?;
        let (issue, life) = self.times(times).ok_or_else(|| unverified("times"))?;
        let services = self.services(privileges, life, &call, user);
        for (what, holds) in [
            ("app_id", parsed.app_id == self.app_id),
            ("times", (parsed.issue, parsed.life) == (issue, life)),
            ("salt", (1..=MAX_SALT).contains(&parsed.salt)),
            ("services", parsed.services == services),
            ("signature", parsed.is_signed_by(&self.certificate)),
        ] {
            if !holds {
                return Err(unverified(what));
            }
        }
        Ok(())
    }
}

impl TokenFormat for AccessToken2 {
    fn prepare(&self, _: Option<&Grant>, now: Anchor) -> Result<Box<dyn Signer>, PrepareError> {
        let privileges = self.privileges.as_ref().map_err(Conflict::clone)?;
        let ready = Prepared { format: self.clone(), privileges: privileges.clone() };
        self.verify(&ready, privileges, now)?;
        Ok(Box::new(ready))
    }

    fn units(&self) -> u32 {
        1
    }

    fn algorithm(&self) -> Option<&'static str> {
        Some("HMAC-SHA256")
    }

    /// Each token has its own salt.
    fn repeats(&self) -> bool {
        false
    }
}

/// Signs a profile's tokens.
struct Prepared {
    format: AccessToken2,
    privileges: Privileges,
}

impl Signer for Prepared {
    fn at(&self, times: Times, call: &Call<'_>) -> Result<Arc<dyn CallSigner>, SignError> {
        let (issue, life) = self.format.times(times).ok_or(SignError)?;
        let services = self.format.services(&self.privileges, life, call, "");
        let certificate = self.format.certificate.expose().as_bytes();
        Ok(Arc::new(AgoraSigner {
            packed: Packed::new(&self.format.app_id, issue, life, &services),
            key: Zeroizing::new(Hmac::new(&issue.to_le_bytes()).of(certificate)),
            has_identity: self.format.has_identity,
        }))
    }
}

/// The data that a call's tokens share.
struct AgoraSigner {
    packed: Packed,
    /// The certificate's code.
    key: Zeroizing<[u8; SIGNATURE]>,
    has_identity: bool,
}

impl AgoraSigner {
    fn user<'a>(&self, identity: &'a str) -> &'a str {
        if self.has_identity { identity } else { "" }
    }
}

impl CallSigner for AgoraSigner {
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError> {
        let user = self.user(identity);
        let salt = 1 + serial.number_below(MAX_SALT);
        let key = Zeroizing::new(Hmac::new(&salt.to_le_bytes()).of(&*self.key));
        let stream = self.packed.stream(user, salt, |signed| Hmac::new(&*key).of(signed));
        Token::encoded(VERSION, &stream, &STANDARD).ok_or(SignError)
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let encoded = encoded_len(self.packed.bytes(self.user(identity)), true);
        encoded.map_or(usize::MAX, |encoded| VERSION.len() + encoded)
    }

    fn token_id(&self, _: Serial) -> Option<String> {
        None
    }
}

impl fmt::Debug for AccessToken2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken2")
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

impl fmt::Debug for AgoraSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgoraSigner")
    }
}
