//! Handshakes that come to nothing.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::{
    Client, address, counted,
    pki::{Pki, dns},
};
use crate::support::{soon, until};

/// A connection from another address of this machine.
async fn from_elsewhere(to: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("loopback is a network");
    soon(socket.connect(to)).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out_and_are_closed() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let to = address(&serve);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(from_elsewhere(to).await);
    }
    let began = Instant::now();
    let good = pki.dns_ca.issue(dns(&["api.media.svc"]));
    Client::with(&pki, &[&good]).meet(&serve).await.expect("let in");
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
    assert!(displaced >= 44, "no more than 256 at a time: {displaced}");
}
