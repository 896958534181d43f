//! What a watch reports, and what a grant's times are computed from.

use std::{convert::Infallible, sync::Arc};

use super::*;
use crate::{
    audit::Audit,
    clock::{Simulation, WallTime},
    drain::{Drainer, drain},
    grant::{
        Generation, Grant, RefreshState,
        cell::{Prepare, Publication, Publisher},
        table::Table,
    },
    name::{ProfileName, Resource},
};

/// A template that signs nothing.
struct Unsigned;

impl Prepare for Unsigned {
    type Ready = ();
    type Error = Infallible;

    fn prepare(&self, _: &Grant) -> Result<(), Infallible> {
        Ok(())
    }
}

const MARGIN: Duration = Duration::from_secs(2);

/// One grant, a watch of it, and control of the wall clock.
struct Watched {
    publisher: Publisher<Unsigned>,
    watch: Watch,
    grants: Grants,
    hand: Arc<Simulation>,
    drainer: Drainer,
}

impl Watched {
    fn new() -> Self {
        let name = GrantName {
            profile: ProfileName::parse("live").unwrap(),
            resource: Resource::parse("a").unwrap(),
        };
        let (clock, hand) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let (drainer, drain) = drain();
        let mut table = Table::default();
        let publisher = table.add(name, MARGIN, Unsigned);
        let roster = table.roster();
        let streams = Streams::new(1_024);
        let access = Access::of_anybody();
        let permit = streams.open().unwrap();
        let (views, changes) = (roster.views().to_vec(), roster.changes());
        let grants = Grants { roster, clock, drain, streams };
        let watch = Watch {
            grants: grants.clone(),
            target: None,
            rights: access.changes(),
            access,
            lifetime: Lifetime::default(),
            views,
            changes,
            deadline: None,
            reported: vec![None],
            stage: Stage::Changes(0),
            _permits: (permit, None),
        };
        Self { publisher, watch, grants, hand, drainer }
    }

    /// Publishes a grant with a ttl of a minute and its status.
    fn publish(&mut self) {
        let now = self.watch.grants.clock.now();
        let generation = Generation::after(Generation::NONE, now.wall);
        let grant = Grant::new("{}".into(), now, Duration::from_secs(60), generation);
        assert_eq!(self.publisher.publish(grant), Publication::Published(generation));
        self.publisher.report(grant::Status::unknown());
    }

    /// The number of changes in the next message.
    fn changed(&mut self) -> usize {
        self.watch.changed(0).map_or(0, |message| message.grants.len())
    }

    fn seconds(&self) -> (i64, i64) {
        let grants =
            self.grants.page(&ListGrantsRequest::default(), &Access::of_anybody()).unwrap().grants;
        let seconds = |at: &Option<prost_types::Timestamp>| at.as_ref().unwrap().seconds;
        (seconds(&grants[0].fetch_time), seconds(&grants[0].end_time))
    }
}

#[test]
fn ordered_refresh_is_recorded_once() {
    let audit = Audit::for_tests();
    let access = Access::of_anybody().recorded_in(&audit);
    let order = || Order { access: &access, grant: "profiles/live/grants/a", is_open: true };
    let recorded = || -> Vec<serde_json::Value> {
        audit.queued().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    drop(order());
    order().end(None);
    let records = recorded();
    let outcomes: Vec<_> = records.iter().map(|it| (&it["outcome"], &it["reason"])).collect();
    let (ok, failed) = ("ok".into(), "failed".into());
    assert_eq!(outcomes, [(&failed, &CANCELLED.into()), (&ok, &serde_json::Value::Null)]);
    for _ in 0..3 {
        order().refused(status::UPSTREAM_THROTTLED);
    }
    let [record] = &recorded()[..] else { panic!("the others are summed up") };
    assert_eq!(
        (&record["event"], &record["reason"]),
        (&"refused".into(), &"UPSTREAM_THROTTLED".into())
    );
}

#[tokio::test]
async fn invalid_request_is_recorded() {
    let watched = Watched::new();
    let audit = Audit::for_tests();
    let access = Access::of_anybody().recorded_in(&audit);
    for (name, reason) in [
        ("live", GRANT_NAME_INVALID),
        ("profiles/live/grants/other", "RESOURCE_NOT_FOUND"),
        ("profiles/other/grants/a", "PROFILE_NOT_FOUND"),
    ] {
        let refused = watched.grants.named(name, &access, Method::GetGrant).err().unwrap();
        drop(access.refuse(refused));
        assert!(audit.queued().contains(&format!("\"reason\":\"{reason}\"")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn watch_ignores_changes_it_does_not_report() {
    let mut watched = Watched::new();
    watched.publish();
    assert_eq!(watched.changed(), 1);
    let now = watched.watch.grants.clock.now().boot;
    watched.publisher.report(grant::Status {
        next_if_demanded: Some(now),
        usual_latency: Duration::from_secs(1),
        attempting: true,
        ..grant::Status::unknown()
    });
    assert_eq!(watched.changed(), 0);
    for status in [
        grant::Status { next_attempt: Some(now), ..grant::Status::unknown() },
        grant::Status { refresh: RefreshState::Throttled, ..grant::Status::unknown() },
        grant::Status { consecutive_failures: 1, ..grant::Status::unknown() },
    ] {
        watched.publisher.report(status);
        assert_eq!(watched.changed(), 1);
    }
    sleep(Duration::from_secs(58)).await;
    assert_eq!(watched.changed(), 1, "expired");
}

#[tokio::test(start_paused = true)]
async fn changes_are_paged_and_no_grant_is_starved() {
    let Watched { mut watch, .. } = Watched::new();
    let view = watch.views[0].clone();
    watch.views = vec![view; 2_500];
    watch.reported = watch.views.iter().map(|_| None).collect();
    let mut reported = vec![0; watch.views.len()];
    for turn in 0..5 {
        // The first thousand change all the time.
        watch.reported[..1_000].fill_with(|| None);
        let Stage::Changes(from) = watch.stage else { panic!("turn {turn}") };
        let message = watch.changed(from).expect("changes");
        assert!(message.grants.len() <= MAX_PAGE && !message.snapshot_complete);
        for (index, reported) in reported.iter_mut().enumerate() {
            *reported += usize::from(watch.reported[index].is_some());
        }
    }
    assert!(reported.iter().all(|times| *times > 0));
}

#[tokio::test(start_paused = true)]
async fn grant_times_follow_a_wall_clock_step() {
    let mut watched = Watched::new();
    watched.publish();
    let at = 1_700_000_000;
    assert_eq!(watched.seconds(), (at, at + 60));
    watched.hand.step_wall_back(Duration::from_secs(3_600));
    assert_eq!(watched.seconds(), (at - 3_600, at - 3_540));
}

#[tokio::test(start_paused = true)]
async fn drained_watch_gets_no_retry_past_its_deadline() {
    let Watched { mut watch, drainer, .. } = Watched::new();
    drainer.advance(Phase::Draining);
    watch.deadline = Some(Instant::now() + Duration::from_nanos(1));
    // Even when it has something to send.
    let Err(status) = watch.next().await else { panic!("draining") };
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
}
