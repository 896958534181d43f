//! Nobody reads, or the disk is full.

use std::{fs, io::Read, os::unix::fs::symlink, process::Command, time::Duration};

use tokio::{task::spawn_blocking, time::timeout};
use tonic::Code;
use tonic_types::StatusExt;

use super::{Audited, bulk, large, minted, outcome, record};
use crate::support::{reason, soon, until};

/// Nothing of `[callers]` is charged for what is not minted.
const QUOTA: &str = "[callers.demo]\nmatch = [\"loopback\"]\n\
                     tokens = { rate = 1, burst = 60 }\nallow = [{ profiles = [\"*\"] }]";

#[tokio::test]
async fn on_a_full_disk_nothing_is_minted_nor_charged_until_it_can_be_recorded_again() {
    let audited = Audited::new("identities = \"clear\"\nwhen_full = \"refuse\"", QUOTA);
    symlink("/dev/full", &audited.file).expect("a link");
    let serve = crate::support::Serve::configured(&audited.config, &[]).await;
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
    assert!(serve.page("/readyz").await.1.contains("audit records are not written"), "told");
    assert!(outcome(&serve, "refused").await >= 200.0);

    fs::remove_file(&audited.file).expect("removed");
    until("it is served", async || minted(&mut client, "again").await.is_ok()).await;
    record(&audited.file, "identity", "first").await;
    record(&audited.file, "identity", "again").await;
    for number in 0..20 {
        minted(&mut client, &format!("later-{number}")).await.expect("quota is left");
    }
    assert!(!serve.page("/readyz").await.1.contains("audit"));
}

#[tokio::test]
async fn a_reader_that_reads_nothing_costs_records_and_nothing_else() {
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
    until("it is told", async || serve.page("/readyz").await.1.contains("nobody reads them")).await;

    // What is read is whole, and what comes is recorded again.
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
    let text = reading.await.expect("it ends");
    let mut chunks = 0;
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        chunks += usize::from(record["event"] == "chunk");
    }
    assert!(chunks > 100, "{chunks}");
    let written = outcome(&serve, "written").await;
    assert!(written > 100.0, "{written}");
}

#[tokio::test]
async fn a_blocked_pipe_refuses_when_the_queue_is_full_and_does_not_hold_the_exit() {
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
    assert_eq!(reason(&refused.expect("the queue is full")), "AUDIT_UNAVAILABLE");
    assert!(outcome(&serve, "dropped").await < 1.0);
    serve.signal("INT");
    let (status, log) = timeout(Duration::from_secs(30), soon(serve.ended())).await.expect("ends");
    assert!(status.success(), "{log}");
    assert!(log.contains("audit records are lost"), "{log}");
}
