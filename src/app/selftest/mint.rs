//! A token of a profile, minted at a given time.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Anchor, Clock, WallTime},
    config::{Config, Profile},
    grant::{Generation, Grant},
    name::Identity,
    provider::vectors::MintRequest,
    token::{Call, CallSigner, Times, id::Serial},
};

/// The lifetime of grants.
const GRANT_TTL: Duration = Duration::from_secs(60);

/// The identity of tokens without one.
const NOBODY: &str = "nobody";

/// A minted token.
pub struct Minted {
    /// The token.
    pub token: String,
    /// Its id, if any.
    pub id: Option<String>,
}

/// The first profile of a configuration. Every environment variable has the value `secret`.
///
/// # Errors
///
/// The problems of the configuration.
pub fn profile(text: &str, secret: &str) -> Result<Profile, String> {
    let config = Config::parse_with("f.toml", text, &|_| Some(secret.to_owned()));
    let config = config.map_err(|problems| problems.to_string())?;
    config.profiles.into_iter().next().ok_or_else(|| "no profile".to_owned())
}

/// The signer of one call's tokens.
pub(super) struct Prepared {
    call_signer: Arc<dyn CallSigner>,
    identity: String,
}

impl Prepared {
    /// # Errors
    ///
    /// Why the profile refuses it.
    pub(super) fn new(profile: &Profile, ask: &MintRequest) -> Result<Self, String> {
        let identity = identity(profile, ask)?;
        let resource = ask.resource.as_deref().map(profile.rules.parse_resource).transpose();
        let resource = resource.map_err(|error| format!("resource: {error}"))?;
        let params = profile.tokens.parameters().for_call(&ask.params).map_err(|wrong| {
            let wrong = wrong.into_iter().map(|(name, why)| name + " " + &why.message());
            wrong.collect::<Vec<_>>().join("; ")
        })?;
        let wall = WallTime::from_unix_seconds(ask.now);
        let now = Anchor { wall, ..Clock::system().now() };
        let grant = ask.grant.as_deref().map(|text| {
            Grant::new(text.into(), now, GRANT_TTL, Generation::after(Generation::NONE, wall))
        });
        let signer = profile.token_format().prepare(grant.as_ref(), now);
        let signer = signer.map_err(|error| error.to_string())?;
        let seconds = |life: Duration| i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let ttl = ask.ttl.unwrap_or_else(|| seconds(profile.token_ttl));
        let start = ask.now.saturating_sub(seconds(profile.tokens.iat_backdate()));
        let times = Times { issue: ask.now, expire: start.saturating_add(ttl) };
        let resource = resource.as_ref().map_or("", |resource| resource.as_str());
        let call_signer = signer.at(times, &Call { resource, params: &params });
        Ok(Self { call_signer: call_signer.map_err(|error| error.to_string())?, identity })
    }

    /// The token with this serial.
    pub(super) fn sign(&self, serial: Serial) -> Result<String, String> {
        let token = self.call_signer.sign(&self.identity, serial);
        token.map(String::from).map_err(|error| error.to_string())
    }
}

fn identity(profile: &Profile, ask: &MintRequest) -> Result<String, String> {
    let has_identity = profile.tokens.has_identity;
    let text = ask.identity.as_deref().unwrap_or(if has_identity { "" } else { NOBODY });
    let identity = Identity::parse(text).map_err(|error| format!("identity {error}"))?;
    match profile.rules.tokens.identity_form {
        Some(form) if has_identity && !(form.fits)(text) => {
            Err(format!("identity {}", form.wanted))
        }
        _ => Ok(identity.to_string()),
    }
}

/// Mints a token of a profile for a call.
///
/// # Errors
///
/// Why the profile refuses it.
pub fn mint(profile: &Profile, ask: &MintRequest) -> Result<Minted, String> {
    let prepared = Prepared::new(profile, ask)?;
    let token = prepared.sign(Serial::SELF_TEST)?;
    Ok(Minted { token, id: prepared.call_signer.token_id(Serial::SELF_TEST) })
}
