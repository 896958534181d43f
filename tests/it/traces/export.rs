//! Collectors that are down, silent or behind TLS.

use std::{fs, sync::Arc};

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{Collector, serve};
use crate::{
    binary::metrics::page,
    support::{Serve, reserved_port, soon, until},
    tls::pki::Entity,
};

async fn is_failing(serve: &Serve) -> bool {
    page(serve).await.figure("grantmint_trace_export_failing", &[]) > 0.5
}

async fn spans(serve: &Serve, outcome: &str) -> f64 {
    page(serve).await.figure("grantmint_trace_spans_total", &[("outcome", outcome)])
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_is_down() {
    let port = reserved_port();
    let url = format!("http://{}", port.local_addr().expect("bound"));
    let serve = serve("", &url, "1", &[]).await;
    serve.first_token().await;
    until("a failure", async || is_failing(&serve).await).await;
    assert!(spans(&serve, "exported").await < 0.5);
    let collector = Collector::on(port.listen(8).expect("it listens"));
    until("a recovery", async || !is_failing(&serve).await).await;
    let received = collector.spans();
    assert!(received.iter().any(|span| span.name == "refresh"), "{received:?}");
    assert!(spans(&serve, "exported").await > 0.5);
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    for line in ["trace export failed; retrying", "trace export recovered"] {
        assert_eq!(log.matches(line).count(), 1, "{line}");
    }
}

#[tokio::test]
async fn silent_collector_delays_neither_calls_nor_exit() {
    let silent = reserved_port().listen(8).expect("it listens");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let serve = serve("", &url, "1", &[]).await;
    serve.first_token().await;
    serve.signal("INT");
    assert_eq!(soon(serve.ended()).await.0.code(), Some(0));
}

/// Terminates TLS in front of a collector.
async fn terminate_tls(authority: &Entity, collector: &Collector) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let mut tls = authority.serves();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let address = collector.url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate fails the handshake.
            let Ok(mut secure) = acceptor.accept(stream).await else { continue };
            let mut plain = TcpStream::connect(&address).await.expect("a connection");
            tokio::spawn(async move { copy_bidirectional(&mut secure, &mut plain).await });
        }
    });
    url
}

#[tokio::test]
async fn collector_behind_tls_is_verified() {
    let collector = Collector::start().await;
    let (trusted, other) = (Entity::authority("trusted"), Entity::authority("other"));
    let url = terminate_tls(&trusted, &collector).await;
    let dir = TempDir::new().expect("a directory");
    let ca = dir.path().join("ca.pem");
    let sample = format!("1\notlp_ca = \"{}\"", ca.display());

    fs::write(&ca, other.pem()).expect("written");
    let refused = serve("", &url, &sample, &[]).await;
    refused.first_token().await;
    until("a failure", async || is_failing(&refused).await).await;
    refused.signal("INT");
    let (_, log) = refused.ended().await;
    assert!(log.contains("no trusted authority issued it"), "{log}");
    assert!(collector.spans().is_empty());

    fs::write(&ca, trusted.pem()).expect("written");
    let serve = serve("", &url, &sample, &[]).await;
    serve.first_token().await;
    until("a span", async || !collector.spans().is_empty()).await;
    assert!(!is_failing(&serve).await);
}
