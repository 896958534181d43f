//! The signing rate of a profile, measured on this host.

use std::time::Duration;

use grantmint::{
    clock::Clock,
    config::{Config, Profile, Supply},
    mint::profile::Signing,
    token::{Call, Speed, Times, id::Serial},
};
use serde_json::{Value, json};

/// The measuring time for all profiles together; each makes at least one signature.
const TIME: Duration = Duration::from_millis(40);

/// The signing rate of a profile without grants.
pub(super) struct Rate {
    algorithm: &'static str,
    /// Tokens a second on one core.
    a_second: u64,
    /// The maximum number of tokens of a bulk call.
    bulk: i64,
    /// The number of signing threads; none if calls sign without them.
    threads: Option<usize>,
}

impl Rate {
    /// Measures the rate; none for a profile with grants, or a key that cannot sign.
    pub(super) fn of(profile: &Profile, config: &Config) -> Option<Self> {
        let Supply::Key(_) = profile.supply else { return None };
        let format = profile.token_format();
        let signing = Signing::of(&*format, profile.tokens.reuse_for);
        let bulk = config.limits.mint.max_indices(signing);
        let clock = Clock::system();
        let start = clock.now();
        let signer = format.prepare(None, start).ok()?;
        let issue = start.wall.unix_seconds();
        let stamped = signer.at(Times { issue, expire: issue + 60 }, &Call::NONE).ok()?;
        let (mut count, mut took) = (0_u32, Duration::ZERO);
        let start = clock.now().boot;
        let profiles = u32::try_from(config.profiles.len()).unwrap_or(u32::MAX).max(1);
        while took < TIME / profiles {
            stamped.sign("check", Serial::SELF_TEST).ok()?;
            count += 1;
            took = clock.now().boot.since(start);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        let a_second = (f64::from(count) / took.as_secs_f64()) as u64;
        let is_slow = signing.speed() == Speed::Slow;
        let threads = is_slow.then_some(config.signing.threads);
        Some(Self { algorithm: format.algorithm()?, a_second, bulk, threads })
    }

    /// The rate as text.
    pub(super) fn lines(&self, profile: &Profile) -> Vec<String> {
        let Self { algorithm, a_second, bulk, threads } = self;
        let on = match threads {
            Some(threads) => format!("; {threads} signing thread(s)"),
            None => String::new(),
        };
        let mut lines = vec![
            format!("{algorithm}: about {a_second} tokens a second per core{on}"),
            format!("a bulk call may request {bulk} tokens"),
        ];
        if profile.tokens.reuse_for.is_some() {
            lines.push("equal calls within a period share one signature".to_owned());
        }
        lines
    }

    /// The rate as JSON.
    pub(super) fn json(&self) -> Value {
        let Self { algorithm, a_second, bulk, threads } = self;
        json!({
            "algorithm": algorithm,
            "tokens_per_second_per_core": a_second,
            "bulk_tokens": bulk,
            "threads": threads,
        })
    }
}
