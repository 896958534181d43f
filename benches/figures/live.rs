//! The read side as it is, over grants that are published here: as many as wanted, and as
//! often.

use std::{future::pending, hint::black_box, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::FutureExt;
use grantmint::{
    clock::{Clock, WallTime},
    drain::{Drain, drain},
    grant::{
        Generation, Grant,
        cell::{Publication, Publisher},
    },
    mint::{
        self, Grants, Limits,
        bulk::{Bulk, Selection},
        minter::{Minter, Profile, Supply},
        options::Options,
        terms::ExpiryPolicy,
    },
    name::{GrantName, Identity, ProfileName, Resource},
    rpc::{self, Api, Parts, layers::Guarded},
    server::Server,
    telemetry::Metrics,
    token::{Preparer, id::Serials, params::Parameters},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::interval;

use crate::{
    load::IDENTITY,
    mint::{format, thread_nanos},
};

const MARGIN: Duration = Duration::from_secs(2);

/// A grant's life here: longer than any measurement.
const LIFE: Duration = Duration::from_secs(3_600);

const PROFILE: &str = "live";

/// So many tokens of so many grants, and nothing else: what a process does whose instructions
/// are counted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mints {
    pub(crate) grant: Box<RawValue>,
    pub(crate) grants: u32,
    pub(crate) tokens: u32,
    /// By a bulk instead of one by one.
    pub(crate) bulk: bool,
}

impl Mints {
    /// By a clock that stands still, so that a slow machine mints the same. The system's is not
    /// read at all: that crashes under valgrind, which hides where the kernel keeps it.
    pub(crate) fn make(self) -> Result<()> {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let live = Live::new(usize::try_from(self.grants)?, &self.grant, clock)?;
        let (_drainer, drain) = drain();
        let minter = live.minter(drain.clone())?;
        if self.bulk {
            mint_bulk(Arc::new(minter), drain, self.tokens)
        } else {
            live.mint_by(&minter, self.tokens)
        }
    }
}

/// Live grants with a minter over them.
pub(crate) struct Live {
    grants: Grants,
    publishers: Vec<Publisher<Preparer>>,
    resources: Vec<Resource>,
    content: String,
    clock: Clock,
}

impl Live {
    /// So many, each of this content.
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
            let preparer = Preparer::new(Arc::clone(&format) as _, live.clock.clone());
            live.publishers.push(live.grants.add(name, MARGIN, preparer));
        }
        live.publish(Generation::NONE)?;
        Ok(live)
    }

    /// Gives every resource a new grant.
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

    fn minter(&self, drain: Drain) -> Result<Minter> {
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
            Limits::default(),
            Serials::draw()?,
            self.clock.clone(),
            drain,
        ))
    }

    /// Nanoseconds a token, of `count` tokens of resources drawn at random.
    pub(crate) fn mint(&self, count: u32) -> Result<f64> {
        let minter = self.minter(drain().1)?;
        let start = thread_nanos();
        self.mint_by(&minter, count)?;
        Ok((thread_nanos() - start) / f64::from(count))
    }

    fn mint_by(&self, minter: &Minter, count: u32) -> Result<()> {
        let identity = Identity::parse(IDENTITY)?;
        let mut rng = fastrand::Rng::with_seed(4_711);
        for _ in 0..count {
            let resource = rng.choice(&self.resources).context("no resource")?;
            let options = Options { resource: resource.as_str(), ..Options::default() };
            let plan = minter.plan(&options);
            let plan = plan.map_err(|_| anyhow!("a plan is refused"))?;
            let token = minter.mint(&plan, &identity, None).now_or_never();
            black_box(token.context("a mint waits")?.map_err(|_| anyhow!("no token"))?);
        }
        Ok(())
    }

    /// Serves until it is killed, with new grants as often as said.
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
        let server = Server::bind("127.0.0.1:0".parse()?, drain).await?;
        println!("{}", serde_json::json!({"server": format!("http://{}", server.addr())}));
        tokio::spawn(server.run(Guarded::new(api, &metrics)));
        let Some(every) = swap_every else { return pending().await };
        let mut ticks = interval(every);
        let mut generation = Generation::NONE;
        loop {
            ticks.tick().await;
            generation = self.publish(generation)?;
        }
    }
}

/// Mints a bulk into a buffer, chunk by chunk.
fn mint_bulk(minter: Arc<Minter>, drain: Drain, count: u32) -> Result<()> {
    let plan = minter.plan(&Options::default());
    let plan = plan.map_err(|_| anyhow!("a plan is refused"))?;
    let selection = Selection::series("viewer-".to_owned(), count.into());
    let selection = selection.map_err(|_| anyhow!("no selection"))?;
    let mut bulk = Bulk::new(minter, drain, plan, selection, 0, 0, None);
    let mut buffer = Vec::new();
    loop {
        let chunk = bulk.next_chunk().now_or_never().context("a chunk waits")?;
        let Some(chunk) = chunk.map_err(|_| anyhow!("no chunk"))? else { return Ok(()) };
        buffer.clear();
        for token in chunk.tokens() {
            token?.put_into(&mut buffer);
        }
        black_box(&buffer);
    }
}
