//! Logs on a full disk and logs that nobody reads.

use std::{fs, io::Read, os::unix::fs::symlink, process::Command, time::Duration};

use serde_json::Value as Json;
use tokio::{task::spawn_blocking, time::timeout};
use tonic::Code;
use tonic_types::StatusExt;

use super::{Audited, bulk, large, minted, outcome, record};
use crate::support::{Serve, found, reason, soon, until};

/// A quota of `[callers]` must not be charged for tokens that are not minted.
const QUOTA: &str = "[callers.demo]\nmatch = [\"loopback\"]\n\
                     tokens = { rate = 1, burst = 60 }\nallow = [{ profiles = [\"*\"] }]";

#[tokio::test]
async fn full_disk_stops_minting_until_records_can_be_written() {
    let audited = Audited::new("identities = \"clear\"\nwhen_full = \"refuse\"", QUOTA);
    symlink("/dev/full", &audited.file).expect("a link");
    let serve = Serve::configured(&audited.config, &[]).await;
    let mut client = serve.tokens().await;
    until("a token", async || minted(&mut client, "first").await.is_ok()).await;
    until("it is refused", async || minted(&mut client, "probe").await.is_err()).await;
    for number in 0..200 {
        let refused = minted(&mut client, &format!("viewer-{number}")).await.expect_err("refused");
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "AUDIT_UNAVAILABLE"));
        assert!(refused.get_details_retry_info().is_some());
    }
    let (tokens, ended) = bulk(&mut client, crate::support::series(0, 10)).await;
    assert_eq!((tokens.len(), &*reason(&ended.expect_err("refused"))), (0, "AUDIT_UNAVAILABLE"));
    serve.idles().await;
    assert!(
        serve.page("/readyz").await.1.contains("audit records cannot be written"),
        "/readyz does not report it"
    );
    assert!(outcome(&serve, "refused").await >= 200.0);

    fs::remove_file(&audited.file).expect("removed");
    until("it is served", async || minted(&mut client, "again").await.is_ok()).await;
    record(&audited.file, "identity", "first").await;
    record(&audited.file, "identity", "again").await;
    for number in 0..20 {
        minted(&mut client, &format!("later-{number}")).await.expect("the quota is exhausted");
    }
    assert!(!serve.page("/readyz").await.1.contains("audit"));
}

#[tokio::test]
async fn partial_record_is_rewritten_once_disk_has_space() {
    let audited = Audited::new("identities = \"clear\"\nwhen_full = \"refuse\"", "");
    // Files are limited to 8 blocks of 512 bytes, and a write beyond that fails instead of killing
    // the process.
    let arguments = ["--sandbox", "--config", audited.config.path()];
    let serve = Serve::under("trap '' XFSZ && ulimit -f 8", &arguments).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let mut ids = Vec::new();
    let refused = found("it is refused", async || {
        match minted(&mut client, &format!("viewer-{}", ids.len())).await {
            Ok(id) => {
                ids.push(id);
                None
            }
            Err(status) => Some(status),
        }
    })
    .await;
    assert_eq!(reason(&refused), "AUDIT_UNAVAILABLE");
    let full = fs::read_to_string(&audited.file).expect("text");
    assert!(full.len() == 4_096 && !full.ends_with('\n'), "no partial record was written");

    // As copytruncate does.
    fs::File::options().write(true).truncate(true).open(&audited.file).expect("emptied");
    until("it is served", async || match minted(&mut client, "again").await {
        Ok(id) => {
            ids.push(id);
            true
        }
        Err(_) => false,
    })
    .await;
    let last = ids.last().expect("the last");
    record(&audited.file, "token_id", last).await;
    let emptied = fs::read_to_string(&audited.file).expect("text");
    let whole = full.rsplit_once('\n').expect("records").0.lines().chain(emptied.lines());
    let records: Vec<Json> = whole.map(|it| serde_json::from_str(it).expect("a record")).collect();
    for id in &ids {
        let count = records.iter().filter(|record| record["token_id"] == **id).count();
        assert_eq!(count, 1, "{id}");
    }
}

#[tokio::test]
async fn stalled_reader_loses_only_records() {
    let audited = Audited::new("identities = \"clear\"", "");
    assert!(Command::new("mkfifo").arg(&audited.file).status().expect("mkfifo").success());
    let mut reader =
        fs::File::options().read(true).write(true).open(&audited.file).expect("a reader");
    let serve = audited.serve().await;
    let mut client = serve.tokens().await;
    for _ in 0..5 {
        bulk(&mut client, large()).await.1.expect("OK");
    }
    assert!(outcome(&serve, "dropped").await > 0.0);
    serve.idles().await;
    until("it is reported", async || {
        serve.page("/readyz").await.1.contains("the reader is not reading")
    })
    .await;

    // The records read are complete, and new calls are recorded again.
    let reading = spawn_blocking(move || {
        let (mut text, mut piece) = (Vec::new(), vec![0; 1 << 20]);
        while !text.ends_with(b"\n") || !String::from_utf8_lossy(&text).contains("\"at-last\"") {
            let read = reader.read(&mut piece).expect("bytes");
            text.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(text).expect("text")
    });
    until("it is recorded", async || {
        minted(&mut client, "at-last").await.expect("a token");
        reading.is_finished()
    })
    .await;
    let text = reading.await.expect("an exit");
    let mut chunks = 0;
    for line in text.lines() {
        let record: Json = serde_json::from_str(line).expect("a record");
        chunks += usize::from(record["event"] == "chunk");
    }
    assert!(chunks > 100, "{chunks}");
    let written = outcome(&serve, "written").await;
    assert!(written > 100.0, "{written}");
}

#[tokio::test]
async fn blocked_pipe_refuses_when_full_and_does_not_delay_exit() {
    let audited = Audited::new("identities = \"clear\"\nwhen_full = \"refuse\"", "");
    assert!(Command::new("mkfifo").arg(&audited.file).status().expect("mkfifo").success());
    let _reader = fs::File::options().read(true).write(true).open(&audited.file).expect("a reader");
    let serve = audited.serve().await;
    let mut client = serve.tokens().await;
    let mut refused = None;
    for _ in 0..5 {
        if let Err(status) = bulk(&mut client, large()).await.1 {
            refused = Some(status);
            break;
        }
    }
    assert_eq!(reason(&refused.expect("no call was refused")), "AUDIT_UNAVAILABLE");
    assert!(outcome(&serve, "dropped").await < 1.0);
    serve.signal("INT");
    let (status, log) = timeout(Duration::from_secs(30), soon(serve.ended())).await.expect("ends");
    assert!(status.success(), "{log}");
    assert!(log.contains("audit records lost"), "{log}");
}
