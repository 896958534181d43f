//! Connections from another address that complete the handshake and then send nothing.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use grantmint::server::descriptors;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};
use tokio_rustls::client::TlsStream;

use super::honest::{ATTACKER, Attacked};
use crate::{
    binary::metrics::page,
    frames::{PREFACE, SETTINGS, connect_from, frame},
    support::{mint, soon},
    tls::Client,
};

const CONNECTIONS: usize = 2_000;

/// Concurrent handshakes: below the per-address limit, so that none is closed.
const AT_ONCE: usize = 8;

/// Not in any entry.
const UNKNOWN: &str = "spiffe://prod.example.org/ns/media/sa/unknown";

/// One connection, from another address than the honest caller's.
async fn connect(client: &Client, attacked: &Attacked, first: &[u8]) -> TlsStream<TcpStream> {
    let stream = connect_from([127, 0, 0, 2], attacked.serve.address()).await;
    let mut stream = client.shake_hands(stream).await.expect("a handshake");
    // The server does not read from a connection without a slot.
    let _ = soon(stream.write_all(first)).await;
    let _ = soon(stream.flush()).await;
    stream
}

/// A counter and the label to read.
type Counter = (&'static str, (&'static str, &'static str));

const SHAKEN: Counter = ("grantmint_handshakes_total", ("result", "ok"));
const REFUSED: Counter = ("grantmint_authentication_failures_total", ("cause", "no_credential"));

async fn count(attacked: &Attacked, (metric, label): Counter) -> f64 {
    page(&attacked.serve).await.figure(metric, &[label])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_connections_block_no_caller() {
    descriptors::raise_limit().expect("permission");
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for (lines, name, first, counted) in [
        ("", None, &[][..], REFUSED),
        ("client_auth = \"optional\"", None, &[][..], SHAKEN),
        ("", Some(UNKNOWN), &hello, SHAKEN),
        ("", Some(ATTACKER), &hello, SHAKEN),
    ] {
        let attacked = Arc::new(Attacked::over_tls(lines).await);
        let already = count(&attacked, counted).await;
        let attack = tokio::spawn({
            let (attacked, first) = (Arc::clone(&attacked), first.to_vec());
            async move {
                let client = attacked.client(name);
                let connect = |_| connect(&client, &attacked, &first);
                stream::iter(0..CONNECTIONS).map(connect).buffer_unordered(AT_ONCE).collect().await
            }
        });
        let served = async || {
            let came = Instant::now();
            let mut tokens = attacked.tokens().await;
            soon(tokens.mint_token(mint("new", None))).await.expect("a token");
            assert!(came.elapsed() < Duration::from_secs(1), "{name:?}: {:?}", came.elapsed());
        };
        while !attack.is_finished() {
            served().await;
        }
        let silent: Vec<_> = attack.await.expect("they connect");
        served().await;
        let came = count(&attacked, counted).await - already;
        assert!(came >= 2_000.0, "{name:?} {lines}: {came}");
        drop(silent);
    }
}
