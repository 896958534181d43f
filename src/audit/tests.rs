//! Tests of the queue without a writer, and of the writer with real files.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::IpAddr,
    os::unix::fs::symlink,
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value as Json;

use super::*;
use crate::{
    clock::WallTime,
    name::Identity,
    settings::{KeyFiles, SigningSecret},
    telemetry::MetricsFormat,
};

const SECRET: &str = "audit-key-of-tests-0123456789abcdef";

fn key() -> IdentityKey {
    IdentityKey::new(&SigningSecret::parse(SECRET).unwrap())
}

fn config(target: &Path, identities: Identities, when_full: WhenFull) -> Config {
    let (target, key_files) = (Target::File(target.to_owned()), KeyFiles::default());
    Config { target, identities, when_full, key_origin: None, key_files }
}

fn unwritten(identities: Identities, when_full: WhenFull) -> Audit {
    Audit::unwritten(&config(Path::new("/"), identities, when_full), Clock::system())
}

const CALL: CallInfo<'static> = CallInfo {
    caller: Some(&"dns:api.\"media\""),
    entry: Some("api"),
    peer: Remote::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
    method: Some("MintToken"),
};

fn minted<'a>(recipients: Recipients<'a>, ids: Ids<'a>) -> Minted<'a> {
    let (grant, use_by) = (Some("profiles/live/grants/VJ1"), WallTime::from_unix_seconds(60));
    Minted { recipients, ids, grant, of_key: None, generation: 7, use_by }
}

fn identity(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn only(audit: &Audit) -> Json {
    serde_json::from_str(&audit.queued()).unwrap()
}

#[test]
fn record_has_the_members_that_apply() {
    let audit = unwritten(Identities::Clear, WhenFull::Drop);
    let alice = identity("zoë \"z\"");
    let one = Recipients::One(&alice);
    audit.reserve(&one).unwrap().record(&CALL, &minted(one, Ids::One("id-1")));
    let mut record = only(&audit);
    let time = record["time"].take();
    assert!(humantime::parse_rfc3339(time.as_str().unwrap()).is_ok(), "{time}");
    let expected = serde_json::json!({
        "time": null, "event": "mint", "caller": "dns:api.\"media\"", "entry": "api",
        "peer": "127.0.0.1", "method": "MintToken", "grant": "profiles/live/grants/VJ1",
        "generation": 7, "token_id": "id-1", "identity": "zoë \"z\"",
        "use_by_time": "1970-01-01T00:01:00.000000Z",
    });
    assert_eq!(record, expected);

    let series = Recipients::Series { prefix: "viewer-", first_index: 30, count: 12 };
    let of_key = Minted {
        grant: None,
        of_key: Some(("room", "lobby")),
        generation: 0,
        ..minted(series, Ids::Range("a", "b"))
    };
    audit.reserve(&series).unwrap().record(&CALL, &of_key);
    let record = only(&audit);
    for (member, value) in [
        ("event", "chunk".into()),
        ("profile", "room".into()),
        ("resource", "lobby".into()),
        ("first_token_id", "a".into()),
        ("last_token_id", "b".into()),
        ("first_index", 30.into()),
        ("count", 12.into()),
        ("prefix", Json::from("viewer-")),
        ("grant", Json::Null),
        ("generation", Json::Null),
        ("identity", Json::Null),
    ] {
        assert_eq!(record[member], value, "{member}");
    }
}

#[test]
fn identities_are_hashed_with_the_current_key() {
    let audit = unwritten(Identities::hashed(key()), WhenFull::Drop);
    let list = [identity("alice"), identity("bob")];
    let listed = Recipients::List(&list, 5);
    let ids = ["x", "y"];
    let each = |index: usize| ids.get(index).copied();
    let record = || {
        audit.reserve(&listed).unwrap().record(&CALL, &minted(listed, Ids::Each(&each)));
        only(&audit)
    };
    let first = record();
    assert_eq!(first["token_ids"], serde_json::json!(ids));
    assert_eq!((&first["first_index"], &first["count"]), (&5.into(), &2.into()));
    // printf alice | openssl dgst -sha256 -hmac audit-key-of-tests-0123456789abcdef
    let expected = list.each_ref().map(|identity| {
        use hmac::{KeyInit, Mac};
        let mut hmac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        hmac.update(identity.as_str().as_bytes());
        let code = hmac.finalize().into_bytes();
        format!("{:016x}", code[..8].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)))
    });
    assert_eq!(first["identities"], serde_json::json!(expected));
    assert!(!first.to_string().contains("alice"));
    assert!(!format!("{audit:?} {:?}", key()).contains(SECRET));

    let other = SigningSecret::parse("another-key-of-tests-0123456789abcdef").unwrap();
    audit.replace_key(IdentityKey::new(&other));
    assert_ne!(record()["identities"], first["identities"]);

    let omitted = unwritten(Identities::None, WhenFull::Drop);
    omitted.reserve(&listed).unwrap().record(&CALL, &minted(listed, Ids::One("id")));
    let record = only(&omitted);
    assert_eq!((&record["identities"], &record["identity"]), (&Json::Null, &Json::Null));
}

/// The value of the counter for an outcome.
fn counted(metrics: &Metrics, outcome: &str) -> u64 {
    let page = metrics.render(MetricsFormat::Text);
    let line = page.lines().find(|line| line.contains(&format!("outcome=\"{outcome}\"")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn queue_is_bounded_and_unused_space_is_released() {
    let list: Vec<_> = (0..1_000).map(|index| identity(&format!("{index:0>256}"))).collect();
    let listed = Recipients::List(&list, 0);
    for when_full in [WhenFull::Drop, WhenFull::Refuse] {
        let audit = unwritten(Identities::Clear, when_full);
        let reservations: Vec<_> = std::iter::from_fn(|| {
            let reservation = audit.reserve(&listed).ok()?;
            reservation.bytes.is_some().then_some(reservation)
        })
        .collect();
        assert!((60..80).contains(&reservations.len()), "{}", reservations.len());
        let full = audit.reserve(&listed).map(|reservation| reservation.bytes);
        assert_eq!(full, if when_full == WhenFull::Drop { Ok(None) } else { Err(Full) });
        drop(reservations);
        for _ in 0..60 {
            let reservation = audit.reserve(&listed).unwrap();
            assert!(reservation.bytes.is_some(), "released");
            reservation.record(&CALL, &minted(listed, Ids::One("id")));
        }
        let queued = audit.0.shared.records.bytes();
        assert_eq!(audit.queued().len(), queued, "the queue counts exactly its records");
        assert_eq!(audit.0.shared.records.bytes(), 0);
    }
}

#[test]
fn refusals_do_not_fill_the_queue_for_mints() {
    let audit = unwritten(Identities::None, WhenFull::Refuse);
    for _ in 0..10_000 {
        audit.reloaded("callers", Outcome::Failed);
    }
    let alice = identity("alice");
    assert!(audit.reserve(&Recipients::One(&alice)).is_ok());
    assert!(audit.queued().len() <= EVENT_QUEUE_BYTES);
    for _ in 0..3 {
        audit.refused(&CALL, "IDENTITY_NOT_ALLOWED");
    }
    let first = only(&audit);
    assert_eq!(first["reason"], "IDENTITY_NOT_ALLOWED");
    assert_eq!((&first["caller"], &first["count"]), (&"dns:api.\"media\"".into(), &Json::Null));
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let result = timeout(Duration::from_secs(30), waiting).await;
    assert!(result.is_ok(), "timed out waiting for: {what}");
}

#[tokio::test]
async fn full_disk_refuses_mints_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    symlink("/dev/full", &path).unwrap();
    let metrics = Metrics::default();
    let alice = identity("alice");
    let one = Recipients::One(&alice);
    let config = config(&path, Identities::Clear, WhenFull::Refuse);
    let audit = Audit::start(&config, Clock::system(), &metrics).unwrap();
    audit.reserve(&one).unwrap().record(&CALL, &minted(one, Ids::One("id-1")));
    until("refused", || audit.reserve(&one).is_err()).await;
    assert!(audit.problem().unwrap().contains("space"), "{:?}", audit.problem());
    assert!(counted(&metrics, "refused") >= 1);

    fs::remove_file(&path).unwrap();
    until("recovered", || audit.reserve(&one).is_ok()).await;
    assert_eq!(audit.problem(), None);
    audit.end().await;
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written.lines().count(), 1, "{written}");
    assert!(written.contains("id-1"), "the record that failed: {written}");
    assert_eq!(counted(&metrics, "written"), 1);
}

#[tokio::test]
async fn unwritable_records_are_lost_at_shutdown() {
    let (metrics, alice) = (Metrics::default(), identity("alice"));
    let one = Recipients::One(&alice);
    let config = config(Path::new("/dev/full"), Identities::Clear, WhenFull::Drop);
    let audit = Audit::start(&config, Clock::system(), &metrics).unwrap();
    for _ in 0..5 {
        audit.reserve(&one).unwrap().record(&CALL, &minted(one, Ids::One("id")));
    }
    audit.reloaded("callers", Outcome::Ok);
    audit.end().await;
    assert_eq!((counted(&metrics, "written"), audit.0.shared.records.left()), (0, 5));
}

#[tokio::test]
async fn partial_record_continues_after_its_pipe_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    // Opening for reading and writing does not block.
    let reader = File::options().read(true).write(true).open(&path).unwrap();
    let list: Vec<_> = (0..1_000).map(|index| identity(&format!("{index:0>256}"))).collect();
    let listed = Recipients::List(&list, 0);
    let config = config(&path, Identities::Clear, WhenFull::Refuse);
    let audit = Audit::start(&config, Clock::system(), &Metrics::default()).unwrap();
    audit.reserve(&listed).unwrap().record(&CALL, &minted(listed, Ids::One("long")));
    until("the pipe is full", || matches!(*audit.0.shared.state(), State::Blocked(_))).await;
    audit.reopen();
    until("the pipe is reopened", || !audit.0.shared.reopen.load(Ordering::Acquire)).await;
    audit.reloaded("callers", Outcome::Ok);
    let lines = tokio::task::spawn_blocking(|| {
        let lines = BufReader::new(reader).lines().take(2);
        lines.collect::<Result<Vec<_>, _>>().unwrap()
    });
    let records = lines.await.unwrap();
    let records = records.iter().map(|it| serde_json::from_str::<Json>(it).unwrap());
    let events: Vec<_> = records.map(|mut record| record["event"].take()).collect();
    assert_eq!(events, ["chunk", "reload"]);
    assert_eq!(audit.problem(), None);
}

#[test]
fn end_of_the_writer_is_reported() {
    let audit = unwritten(Identities::None, WhenFull::Refuse);
    let shared = Arc::clone(&audit.0.shared);
    drop(WriterEnd { shared, ending: watch::Sender::new(false) });
    assert!(audit.problem().unwrap().contains("thread has ended"));
    assert!(audit.reserve(&Recipients::One(&identity("alice"))).is_err());
}

#[test]
fn start_fails_when_the_file_cannot_be_opened() {
    let config = config(Path::new("/nonexistent/audit"), Identities::None, WhenFull::Drop);
    let error = Audit::start(&config, Clock::system(), &Metrics::default()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/audit"), "{error}");
}
