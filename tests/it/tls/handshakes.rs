//! Handshakes that fail.

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::Instant};

use super::{
    Client, counted,
    pki::{Pki, dns},
};
use crate::{
    frames::connect_from,
    support::{soon, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_handshakes_block_no_caller_and_are_closed() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(connect_from([127, 0, 0, 2], serve.address()).await);
    }
    let began = Instant::now();
    let good = pki.dns_ca.issue(dns(&["api.media.svc"]));
    Client::with(&pki, &[&good]).try_connect(&serve).await.expect("accepted");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    for mut stream in silent {
        let _ = soon(stream.read_u8()).await;
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    until("all are counted", async || {
        let results = ["displaced", "timed_out"].map(|result| format!("result=\"{result}\""));
        let mut ended = 0;
        for label in &results {
            ended += counted(&serve, "grantmint_handshakes_total", label).await;
        }
        ended == 300
    })
    .await;
    let displaced = counted(&serve, "grantmint_handshakes_total", "result=\"displaced\"").await;
    assert!(displaced >= 44, "more than 256 at a time: {displaced}");
}
