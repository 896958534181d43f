//! The key of a running profile, and its reload.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, TryFutureExt};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    reload::{Change, Part},
    trial,
};

use crate::{
    clock::Clock,
    config::{self, Config},
    egress::EgressError,
    name::{ProfileName, Resource},
    provider::KINDS,
    settings::Followed,
    source::{
        FetchError, FetchRequest, Urgency, base_url::BaseUrl, budget::Budget,
        replaceable::Replaceable,
    },
    token::{CurrentFormat, CurrentSigner, PrepareError},
};

/// The maximum time to prepare all grants of a profile with a new key.
const PREPARED_WITHIN: Duration = Duration::from_secs(5);

/// Where a running profile uses its key.
pub(super) enum Key {
    /// The key fetches grants and may sign tokens around them.
    OfGrants(OfGrants),
    /// The key signs tokens without grants.
    Alone(CurrentSigner),
}

/// The key of a profile with an upstream.
pub(super) struct OfGrants {
    pub(super) format: CurrentFormat,
    pub(super) source: Replaceable,
    pub(super) budget: Arc<Budget>,
    pub(super) grant_ttl: Option<Duration>,
    /// One of the profile's resources, to test a new key with.
    pub(super) resource: Option<Resource>,
    /// Notifies the profile's keepers of a new key; each confirms with a permit.
    pub(super) rekeyed: watch::Sender<Arc<Semaphore>>,
}

/// The keys of all profiles as reloadable parts, each with its files.
pub(super) fn parts(
    config: &Config,
    keys: Vec<(ProfileName, Key)>,
    clock: &Clock,
) -> Vec<(Arc<dyn Part>, Followed)> {
    let parts = keys.into_iter().filter_map(|(profile, key)| {
        let files = config.profiles.iter().find(|it| it.name == profile)?.key_files.clone();
        let part: Arc<dyn Part> = Arc::new(KeyPart {
            name: format!("profiles/{profile}"),
            profile,
            key: Arc::new(key),
            settings: files.settings,
            upstream: config.upstream.clone(),
            clock: clock.clone(),
        });
        Some((part, files.files))
    });
    parts.collect()
}

/// A profile's key as a reloadable part.
struct KeyPart {
    profile: ProfileName,
    /// `profiles/NAME`
    name: String,
    key: Arc<Key>,
    /// The paths of the settings that the key is read from.
    settings: BTreeSet<String>,
    /// Replaces every upstream; none for the profile's own.
    upstream: Option<BaseUrl>,
    clock: Clock,
}

impl Part for KeyPart {
    fn name(&self) -> &str {
        &self.name
    }

    fn has(&self, setting: &str) -> bool {
        self.settings.contains(setting)
    }

    fn depends_on(&self, setting: &str) -> bool {
        let below =
            setting.strip_prefix("profiles.").and_then(|it| it.strip_prefix(self.profile.as_str()));
        below.is_some_and(|rest| rest.starts_with('.'))
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let env = |name: &str| std::env::var(name).ok();
        let (read, key_files) = Config::parse_profile(file, text, &env, KINDS, &self.profile);
        let read = read.map_err(|problems| problems.to_string()).map(|mut profile| {
            if let Some(upstream) = &self.upstream {
                profile.point_at(upstream);
            }
            let (key, clock) = (Arc::clone(&self.key), self.clock.clone());
            let replace = async move { key.replace(&profile, &clock).await };
            replace.map_err(|error| error.to_string()).boxed()
        });
        (key_files.files, read)
    }
}

/// Why a new key is refused. The error never contains the key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// It signs no tokens that verify.
    #[error(transparent)]
    Unprepared(#[from] PrepareError),
    /// No route to the upstream.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The upstream returned no grant for it.
    #[error("the upstream returned no grant for it: {0}")]
    Unfetched(#[from] FetchError),
    /// Only one of the old and the new profile has an upstream.
    #[error("the profile changed between a kind with an upstream and one without")]
    OfAnotherKind,
}

impl Key {
    /// Replaces the key with that of `profile` after testing it: a key that the upstream refuses,
    /// or that signs no tokens that verify, changes nothing.
    pub(super) async fn replace(
        &self,
        profile: &config::Profile,
        clock: &Clock,
    ) -> Result<(), KeyError> {
        match self {
            Self::OfGrants(key) => key.replace(profile, clock).await,
            Self::Alone(signer) => {
                signer.replace(profile.token_format().prepare(None, clock.now())?);
                Ok(())
            }
        }
    }
}

impl OfGrants {
    async fn replace(&self, profile: &config::Profile, clock: &Clock) -> Result<(), KeyError> {
        let upstream = profile.provider.upstream().ok_or(KeyError::OfAnotherKind)?;
        let format = profile.token_format();
        let source = upstream.source(clock.clone(), &upstream.egress()?, self.grant_ttl);
        if let Some(resource) = self.resource.clone() {
            let give_up_at = clock.now().boot + upstream.attempt();
            let request = FetchRequest { resource, urgency: Urgency::Early, give_up_at };
            let fetched = self.budget.try_out(&*source, request).await?;
            trial::prepare(&*format, fetched, clock)?;
        }
        self.format.replace(format);
        self.source.replace(source);
        self.budget.credential_replaced();
        self.prepare_grants_again().await;
        Ok(())
    }

    /// Once this returns, no token is signed with the previous key.
    async fn prepare_grants_again(&self) {
        let done = Arc::new(Semaphore::new(0));
        self.rekeyed.send_replace(Arc::clone(&done));
        let keepers = u32::try_from(self.rekeyed.receiver_count()).unwrap_or(u32::MAX);
        // A keeper that has just panicked prepares its grant when it resumes.
        let _ = timeout(PREPARED_WITHIN, done.acquire_many(keepers)).await;
    }
}
