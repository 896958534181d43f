//! The real read side with grants published here, in any number and at any rate.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use grantmint::{
    auth::{
        bearer::{Bearers, Issuers},
        callers::Callers,
        policy::{Mode, Policy},
    },
    clock::Clock,
    drain::{Drain, drain},
    grant::{
        Generation, Grant,
        cell::{Publication, Publisher},
    },
    mint::{
        self, Grants, Limits,
        minter::{self, Minter, Profile, Supply},
        options::Options,
        profile::Signing,
        terms::ExpiryPolicy,
    },
    name::{GrantName, Identity, ProfileName, Resource},
    rpc::{self, Api, Parts, layers::Layers},
    server::{self, Server},
    telemetry::{Metrics, ProfileMetrics},
    token::{CurrentFormat, Preparer, Speed, id::Serials, params::Parameters},
};
use serde_json::value::RawValue;
use tokio::time::interval;

use crate::{
    load::IDENTITY,
    mint::{format, thread_nanos},
    mints::mint_one,
};

const MARGIN: Duration = Duration::from_secs(2);

/// A grant's life: longer than any measurement.
const LIFE: Duration = Duration::from_secs(3_600);

const PROFILE: &str = "live";

/// Live grants with a minter.
pub(crate) struct Live {
    grants: Grants,
    publishers: Vec<Publisher<Preparer>>,
    resources: Vec<Resource>,
    content: String,
    clock: Clock,
}

impl Live {
    /// This many grants with this content.
    pub(crate) fn new(count: usize, raw: &RawValue, clock: Clock) -> Result<Self> {
        let format = Arc::new(format()?);
        let mut live = Self {
            grants: Grants::default(),
            publishers: Vec::new(),
            resources: Vec::new(),
            content: raw.get().to_owned(),
            clock,
        };
        for number in 0..count {
            let resource = Resource::parse(&format!("VJ{number:032x}"))?;
            let name = GrantName { profile: ProfileName::parse(PROFILE)?, resource };
            live.resources.push(name.resource.clone());
            let preparer =
                Preparer::new(CurrentFormat::new(Arc::clone(&format) as _), live.clock.clone());
            live.publishers.push(live.grants.add(name, MARGIN, preparer));
        }
        live.publish(Generation::NONE)?;
        Ok(live)
    }

    /// Publishes a new grant for every resource.
    fn publish(&mut self, last: Generation) -> Result<Generation> {
        let now = self.clock.now();
        let generation = Generation::after(last, now.wall);
        for publisher in &mut self.publishers {
            let grant = Grant::new(self.content.as_str().into(), now, LIFE, generation);
            let published = publisher.publish(grant);
            ensure!(matches!(published, Publication::Published(_)), "a grant is not published");
        }
        Ok(generation)
    }

    /// A minter with these grants.
    pub(crate) fn minter(&self, drain: Drain) -> Result<Minter> {
        let name = ProfileName::parse(PROFILE)?;
        let profile = Profile {
            name: name.clone(),
            default_resource: self.resources.first().cloned(),
            parse_resource: Resource::parse,
            token_ttl: LIFE,
            min_token_ttl: Duration::ZERO,
            max_token_ttl: 2 * LIFE,
            margin: MARGIN,
            identity_form: None,
            parameters: Parameters::default(),
            units: 1,
            signing: Signing::Own(Speed::Fast),
            metrics: ProfileMetrics::default(),
            supply: Supply::Grants(mint::profile::Grants {
                resources: self.resources.clone(),
                grant_ttl: Some(LIFE),
                policy: ExpiryPolicy::ClampToGrant,
                allow_independent: false,
            }),
        };
        Ok(Minter::new(
            vec![profile],
            Some(name),
            &self.grants,
            minter::Parts {
                limits: Limits::default(),
                serials: Serials::draw()?,
                pool: None,
                clock: self.clock.clone(),
                drain,
            },
        ))
    }

    /// Nanoseconds a token, measured over `count` tokens of random resources.
    pub(crate) fn mint(&self, count: u32) -> Result<f64> {
        let minter = self.minter(drain().1)?;
        let start = thread_nanos();
        self.mint_by(&minter, count)?;
        Ok((thread_nanos() - start) / f64::from(count))
    }

    /// Mints this many tokens of random resources.
    pub(crate) fn mint_by(&self, minter: &Minter, count: u32) -> Result<()> {
        let identity = Identity::parse(IDENTITY)?;
        let mut rng = fastrand::Rng::with_seed(4_711);
        for _ in 0..count {
            let resource = rng.choice(&self.resources).context("no resource")?;
            let options = Options { resource: resource.as_str(), ..Options::default() };
            mint_one(minter, &options, &identity)?;
        }
        Ok(())
    }

    /// Serves until the process is killed, replacing the grants at this interval.
    pub(crate) async fn serve(mut self, swap_every: Option<Duration>) -> Result<()> {
        let (_drainer, drain) = drain();
        let metrics = Metrics::default();
        let (api, _reporter) = Api::new(&Parts {
            minter: Arc::new(self.minter(drain.clone())?),
            roster: self.grants.roster(),
            drain: drain.clone(),
            clock: self.clock.clone(),
            metrics: metrics.clone(),
            limits: rpc::Limits::default(),
        })?;
        let config = server::Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            ..server::Config::default()
        };
        let callers = Arc::new(Callers::new(Policy::Open, Mode::Enforce, &metrics));
        let (transport, known) = (config.plain(), Arc::clone(&callers));
        let server = Server::bind(&config, transport, known, drain, &metrics).await?;
        let addr = server.addr().context("no address of TCP")?;
        println!("{}", serde_json::json!({"server": format!("http://{addr}")}));
        let bearers = Bearers::new(Issuers::default(), true, self.clock.clone(), &metrics, None);
        let layers = Layers::new(api, callers, Arc::new(bearers), &metrics);
        tokio::spawn(server.run(layers));
        let Some(every) = swap_every else { return pending().await };
        let mut ticks = interval(every);
        let mut generation = Generation::NONE;
        loop {
            ticks.tick().await;
            generation = self.publish(generation)?;
        }
    }
}
