//! The log has every token that a caller received, and no credential.

use std::{collections::HashSet, fs, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value as Json;
use sha2::Sha256;
use tokio::time::Instant;

use super::{Audited, KEY, bulk, complete_records, list, minted, outcome, record, records};
use crate::{
    markers::Markers,
    support::{Serve, mint, payload, run, series, soon, until},
};

fn hash(text: &str) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("a key");
    hmac.update(text.as_bytes());
    let code = hmac.finalize().into_bytes();
    format!("{:016x}", code[..8].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)))
}

/// The number in a token's id; a server's ids count up.
fn serial(id: &str) -> u128 {
    let text = id.get(id.len() - 16..).expect("an id");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn id_of(token: &str) -> String {
    let claims = payload(token);
    let (_, id) = claims.split_once("\"jti\":\"").expect("an id");
    id.split('"').next().expect("an end").to_owned()
}

/// Every token that the log lists as minted.
struct Recorded {
    ids: HashSet<String>,
    ranges: Vec<(u128, u128)>,
}

impl Recorded {
    fn of(records: &[Json]) -> Self {
        let text = |record: &Json, member: &str| record[member].as_str().map(str::to_owned);
        let ranges = records.iter().filter_map(|record| {
            let (first, last) = (text(record, "first_token_id")?, text(record, "last_token_id")?);
            let (first, last) = (serial(&first), serial(&last));
            let count = u128::from(record["count"].as_u64().expect("a count"));
            assert_eq!(last - first + 1, count, "{record}");
            Some((first, last))
        });
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_unstable();
        let ids = records.iter().filter_map(|record| text(record, "token_id")).collect();
        Self { ids, ranges }
    }

    fn has(&self, id: &str) -> bool {
        let number = serial(id);
        let behind = self.ranges.partition_point(|(first, _)| *first <= number);
        let range = behind.checked_sub(1).and_then(|last| self.ranges.get(last));
        self.ids.contains(id) || range.is_some_and(|(_, last)| number <= *last)
    }
}

/// Mints single tokens, tokens of a series and tokens of lists: so many of each.
async fn mint_tokens(serve: &Serve, unary: usize, of_series: i64, of_list: usize) -> Vec<String> {
    let client = serve.tokens().await;
    let (mut first, mut second) = (client.clone(), client.clone());
    let alone = stream::iter(0..unary)
        .map(|number| {
            let mut client = client.clone();
            async move {
                let request = mint(&format!("alone-{number}"), None);
                soon(client.mint_token(request)).await.expect("a token").into_inner().token
            }
        })
        .buffer_unordered(32)
        .collect::<Vec<_>>();
    let names = (0..of_list).map(|number| format!("listed-{number}")).collect();
    let (alone, of_series, of_list) =
        tokio::join!(alone, bulk(&mut first, series(0, of_series)), bulk(&mut second, list(names)));
    of_series.1.expect("OK");
    of_list.1.expect("OK");
    [alone, of_series.0, of_list.0].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_has_every_issued_token_and_no_credential() {
    let audited = Audited::new("identity_key_file = \"DIR/key\"", "");
    // Without this, each call logs dozens of lines.
    let serve = Serve::configured(&audited.config, &["--log", "info"]).await;
    serve.first_token().await;
    let tokens = mint_tokens(&serve, 5_000, 85_000, 10_000).await;
    assert_eq!(tokens.len(), 100_000);
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert!(status.success(), "{log}");

    let text = fs::read_to_string(&audited.file).expect("text");
    let mut markers = Markers::of(&[KEY]);
    tokens.iter().step_by(997).for_each(|token| markers.add_token(token));
    let claims: Json = serde_json::from_str(&payload(&tokens[0])).expect("JSON");
    let url = claims["grants"]["player"]["playbackUrl"].as_str().expect("a playback URL");
    url.split_once("?token=").expect("a grant").1.split('.').skip(1).for_each(|part| {
        markers.add(part);
    });
    markers.in_none_of("the audit log", &text);
    markers.in_none_of("the log", &log);
    assert!(!text.contains("alone-") && !text.contains("viewer-"), "an identity is in plain text");

    let records = records(&audited.file);
    let reported = Recorded::of(&records);
    let missing = tokens.iter().filter(|token| !reported.has(&id_of(token))).count();
    assert_eq!(missing, 0, "some tokens have no record");

    let of = |member: &str, value: &str| {
        records.iter().find(|record| record[member] == value).expect("a record").clone()
    };
    assert_eq!(of("identity", &hash("alone-7"))["event"], "mint");
    let of_series = of("prefix", &hash("viewer-"));
    assert_eq!(
        (&of_series["event"], &of_series["method"]),
        (&"chunk".into(), &"MintTokens".into())
    );
    let is_first_of_list = |record: &Json| record["identities"][0] == hash("listed-0");
    assert!(records.iter().any(is_first_of_list), "no record of the list's first chunk");

    let key = audited.in_dir("key");
    let arguments =
        ["audit-hash", "viewer-12", "--json", "--key-file", key.to_str().expect("text")];
    let ran = run(&arguments).await;
    let output: Json = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(output["identity"], hash("viewer-12"));
    assert_eq!(output["series"][1]["hash"], of_series["prefix"]);
    assert_eq!(output["series"][1]["index"], 12);
}

#[tokio::test]
async fn kill_loses_only_the_latest_records() {
    let audited = Audited::new("identities = \"clear\"", "");
    let serve = audited.serve().await;
    let tokens = mint_tokens(&serve, 500, 5_000, 500).await;
    until("all is written", async || {
        let reported = Recorded::of(&complete_records(&audited.file));
        tokens.iter().all(|token| reported.has(&id_of(token)))
    })
    .await;
    // An idle writer writes at once. One quick call is enough: the machine may be busy.
    let mut client = serve.tokens().await;
    let (mut ids, mut quickest) = (Vec::new(), Duration::MAX);
    for number in 0..10 {
        let id = minted(&mut client, &format!("single-{number}")).await.expect("a token");
        let answered = Instant::now();
        record(&audited.file, "token_id", &id).await;
        quickest = quickest.min(answered.elapsed());
        ids.push(id);
    }
    assert!(
        quickest < Duration::from_millis(250),
        "{quickest:?} passed before a record was written"
    );
    serve.signal("KILL");
    serve.ended().await;
    let reported = Recorded::of(&records(&audited.file));
    assert!(tokens.iter().all(|token| reported.has(&id_of(token))));
    assert!(ids.iter().all(|id| reported.has(id)));
}

#[tokio::test]
async fn new_hash_key_applies_from_the_next_record() {
    let audited = Audited::new("identity_key_file = \"DIR/key\"", "");
    let serve = audited.serve().await;
    let mut client = serve.tokens().await;
    minted(&mut client, "alice").await.expect("a token");
    record(&audited.file, "identity", &hash("alice")).await;
    let key = "another-audit-key-d4735e3a265e16eee03f59718b9b5d03";
    fs::write(audited.in_dir("key"), key).expect("written");
    serve.signal("HUP");
    let reload = record(&audited.file, "event", "reload").await;
    assert_eq!((&reload["what"], &reload["outcome"]), (&"audit".into(), &"ok".into()));
    let id = minted(&mut client, "alice").await.expect("a token");
    let renewed = record(&audited.file, "token_id", &id).await;
    assert_ne!(renewed["identity"], hash("alice"));
    let ran = run(&["audit-hash", "alice", "--config", audited.config.path(), "--json"]).await;
    let output: Json = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(output["identity"], renewed["identity"], "{}", ran.stderr);
    assert!(outcome(&serve, "written").await >= 3.0);
}

#[tokio::test]
async fn check_shows_the_audit_log_and_hashes_need_a_key() {
    let audited = Audited::new("identity_key_file = \"DIR/key\"\nwhen_full = \"refuse\"", "");
    let ran = run(&["check", "--verbose", audited.config.path()]).await;
    let shown = ran.stdout.split_once("[audit]").expect("the section").1;
    for line in ["identities = \"hashed\"", "when_full = \"refuse\"", "identity_key = \"(set, from"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!ran.stdout.contains(KEY) && ran.code == Some(0), "{}", ran.stderr);

    let unkeyed = Audited::new("identities = \"hashed\"", "");
    let ran = run(&["check", unkeyed.config.path()]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("identity_key_file"), "{}", ran.stderr);
    let written = Audited::new(&format!("identity_key = \"{KEY}\""), "");
    let ran = run(&["check", written.config.path()]).await;
    assert!(ran.code == Some(1) && !ran.stderr.contains(KEY), "{}", ran.stderr);
}

#[tokio::test]
async fn hashes_of_resources_are_those_of_the_admin_pages() {
    let audited = Audited::new("", "[admin]\ndetails = false\nnames_key_file = \"DIR/key\"");
    let text = fs::read_to_string(&audited.config.file).expect("text");
    let dir = audited.config.dir.path().to_str().expect("text");
    fs::write(&audited.config.file, text.replace("DIR", dir)).expect("written");
    let ran =
        run(&["audit-hash", "--admin", "lobby", "--config", audited.config.path(), "--json"]).await;
    let output: Json = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(output["resource"], hash("lobby")[..12], "{}", ran.stderr);
}
