//! Only minting: the process whose instructions are counted.

use std::{hint::black_box, sync::Arc};

use anyhow::{Context, Result, anyhow};
use futures_util::FutureExt;
use grantmint::{
    clock::{Clock, WallTime},
    drain::drain,
    mint::{
        bulk::{Bulk, Selection},
        minter::{Minter, Plan},
        options::Options,
        quota::Unlimited,
    },
    name::Identity,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    live::Live,
    livekit::{LiveKit, Rooms},
};

/// The kind of the tokens.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Twilio Live's, with this many grants.
    TwilioLive(u32),
    /// LiveKit's, each with its own name.
    LiveKit(Rooms),
}

/// How many tokens to mint.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mints {
    pub(crate) kind: Kind,
    /// Only of kinds with grants.
    pub(crate) grant: Box<RawValue>,
    pub(crate) tokens: u32,
    /// In a bulk instead of single calls.
    pub(crate) bulk: bool,
}

impl Mints {
    /// Uses a simulated clock, so that a slow machine mints the same. The system clock is not read
    /// at all: reading it crashes under valgrind, which hides the kernel's vDSO.
    pub(crate) fn make(self) -> Result<()> {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let (_drainer, drain) = drain();
        match self.kind {
            Kind::TwilioLive(grants) => {
                let live = Live::new(usize::try_from(grants)?, &self.grant, clock)?;
                let minter = live.minter(drain)?;
                if self.bulk {
                    mint_bulk(Arc::new(minter), &Options::default(), self.tokens)
                } else {
                    live.mint_by(&minter, self.tokens)
                }
            }
            Kind::LiveKit(rooms) => {
                let livekit = LiveKit::new(rooms, clock)?;
                let minter = livekit.minter(drain)?;
                if self.bulk {
                    mint_bulk(Arc::new(minter), &livekit.options(0), self.tokens)
                } else {
                    livekit.mint_by(&minter, self.tokens)
                }
            }
        }
    }
}

/// One token including its plan.
pub(crate) fn mint_one(minter: &Minter, options: &Options<'_>, identity: &Identity) -> Result<()> {
    let plan = plan(minter, options)?;
    let token = minter.mint(&plan, identity, None, &Unlimited).now_or_never();
    black_box(token.context("a mint waits")?.map_err(|_| anyhow!("no token"))?);
    Ok(())
}

fn plan(minter: &Minter, options: &Options<'_>) -> Result<Plan> {
    let draft = minter.draft(&minter.target(options), options);
    draft.and_then(|draft| draft.plan(None)).map_err(|_| anyhow!("a plan is refused"))
}

/// Mints a bulk into a buffer, chunk by chunk.
fn mint_bulk(minter: Arc<Minter>, options: &Options<'_>, count: u32) -> Result<()> {
    let plan = plan(&minter, options)?;
    let selection = Selection::series("viewer-".to_owned(), count.into());
    let selection = selection.map_err(|_| anyhow!("no selection"))?;
    let mut bulk = Bulk::new(minter, plan, selection, 0, 0, None, Arc::new(Unlimited));
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
