//! A token of a profile, at any time that is asked for.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Anchor, Clock, WallTime},
    config::{Config, Profile},
    grant::{Generation, Grant},
    name::Identity,
    provider::vectors::MintRequest,
    token::{Call, Stamped, Times, id::Serial},
};

/// How long grants live here.
const GRANT_TTL: Duration = Duration::from_secs(60);

/// Whom tokens are for that name nobody.
const NOBODY: &str = "nobody";

/// A token of ours.
pub struct Minted {
    /// As it is handed out.
    pub token: String,
    /// Its id; none where it has none.
    pub id: Option<String>,
}

/// The first profile of a configuration in which every variable of the environment is `secret`.
///
/// # Errors
///
/// What is wrong with it.
pub fn profile(text: &str, secret: &str) -> Result<Profile, String> {
    let config = Config::parse_with("f.toml", text, &|_| Some(secret.to_owned()));
    let config = config.map_err(|problems| problems.to_string())?;
    config.profiles.into_iter().next().ok_or_else(|| "there is no profile".to_owned())
}

/// What signs the tokens of a profile for one call.
pub(super) struct Prepared {
    stamped: Arc<dyn Stamped>,
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
        let params = profile.tokens.parameters().of_call(&ask.params).map_err(|wrong| {
            let wrong = wrong.into_iter().map(|(name, why)| name + " " + &why.words());
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
        let stamped = signer.at(times, &Call { resource, params: &params });
        Ok(Self { stamped: stamped.map_err(|error| error.to_string())?, identity })
    }

    /// The token with this serial.
    pub(super) fn sign(&self, serial: Serial) -> Result<String, String> {
        let token = self.stamped.sign(&self.identity, serial);
        token.map(String::from).map_err(|error| error.to_string())
    }
}

fn identity(profile: &Profile, ask: &MintRequest) -> Result<String, String> {
    let names_somebody = profile.tokens.has_identity;
    let text = ask.identity.as_deref().unwrap_or(if names_somebody { "" } else { NOBODY });
    let identity = Identity::parse(text).map_err(|error| format!("identity {error}"))?;
    match profile.rules.tokens.identity_form {
        Some(form) if names_somebody && !(form.fits)(text) => {
            Err(format!("identity {}", form.wanted))
        }
        _ => Ok(identity.to_string()),
    }
}

/// A token of a profile for what a call asks for.
///
/// # Errors
///
/// Why the profile refuses it.
pub fn mint(profile: &Profile, ask: &MintRequest) -> Result<Minted, String> {
    let prepared = Prepared::new(profile, ask)?;
    let token = prepared.sign(Serial::SELF_TEST)?;
    Ok(Minted { token, id: prepared.stamped.token_id(Serial::SELF_TEST) })
}
