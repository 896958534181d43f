//! TLS failures and a silent address, over real connections.

mod certificates;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::{Instant, pause},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::egress::{DirectReason, Roots, Route};

/// Part of upstream responses and of the credential; must never be returned.
const MARKER: &str = "zqmarkerqz";

/// A test's own certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), roots }
    }

    /// TLS with a certificate for `host` that is valid between the starts of these years.
    fn serves(&self, host: &str, from: i32, until: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The port of an upstream that runs `serve` for every connection.
async fn upstream<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// An upstream that speaks TLS and responds to every request.
struct Upstream {
    port: u16,
    /// Request bytes received.
    received: Arc<AtomicUsize>,
}

async fn over(tls: TlsAcceptor) -> Upstream {
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let serve = move |stream| {
        let (tls, received) = (tls.clone(), Arc::clone(&count));
        async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let mut request = [0; 1_024];
            while let Ok(read @ 1..) = stream.read(&mut request).await {
                received.fetch_add(read, Ordering::SeqCst);
                let response = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        }
    };
    Upstream { port: upstream(serve).await, received }
}

/// The direct route.
fn egress(roots: Option<Roots>) -> Egress {
    let (upstream, route) = (Uri::default(), Route::Direct(DirectReason::NoProxy));
    Egress { upstream, route, roots, warnings: Vec::new() }
}

/// A request without headers or a body.
fn plain(client: &HttpClient) -> Request<Full<Bytes>> {
    Request::post(client.uri("/").unwrap()).body(Full::default()).unwrap()
}

/// Sends a request to this port of 127.0.0.1, trusting these roots.
async fn request(port: u16, roots: &RootCertStore) -> Result<String, Fault> {
    let base: BaseUrl = format!("https://127.0.0.1:{port}").parse().unwrap();
    let roots = Some(Roots::new(roots.clone(), None).unwrap());
    let client = HttpClient::new(base, &egress(roots), Clock::system(), DEFAULT_TIMEOUT);
    let message = Request::post(client.uri("/").unwrap())
        .header(header::AUTHORIZATION, MARKER)
        .body(Full::default())
        .unwrap();
    let response = client.exchange(message).await?;
    response.body().map(|body| String::from_utf8(body.to_vec()).unwrap())
}

/// The class and reason of a failure.
async fn failure(port: u16, roots: &RootCertStore) -> (FaultClass, String) {
    let fault = request(port, roots).await.unwrap_err();
    assert!(!format!("{fault} {fault:?}").contains(MARKER), "{fault:?}");
    (fault.class, fault.reason.into_owned())
}

#[tokio::test]
async fn certificate_must_be_trusted_named_and_current() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = over(ours.serves("127.0.0.1", 2_000, 4_000)).await;
    assert_eq!(request(good.port, &ours.roots).await.unwrap(), "{}");
    let received = good.received.swap(0, Ordering::SeqCst);
    assert!(received > MARKER.len(), "{received}");

    let other_name = over(ours.serves("upstream.example", 2_000, 4_000)).await;
    let ended = over(ours.serves("127.0.0.1", 2_000, 2_020)).await;
    let to_come = over(ours.serves("127.0.0.1", 3_000, 4_000)).await;
    let cases = [
        (good, &theirs, "TLS_CERTIFICATE_UNTRUSTED"),
        (other_name, &ours, "TLS_CERTIFICATE_OF_ANOTHER_NAME"),
        (ended, &ours, "TLS_CERTIFICATE_EXPIRED"),
        (to_come, &ours, "TLS_CERTIFICATE_NOT_YET_VALID"),
    ];
    for (upstream, trusted, reason) in cases {
        let seen = failure(upstream.port, &trusted.roots).await;
        assert_eq!(seen, (FaultClass::Misconfigured, reason.to_owned()));
        assert_eq!(upstream.received.load(Ordering::SeqCst), 0, "{reason}: something was sent");
    }
}

/// The port of an upstream that sends these bytes in a handshake and closes, and what it received.
async fn sending_raw_bytes(response: Vec<u8>) -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (report, received) = mpsc::unbounded_channel();
    let port = upstream(move |mut stream| {
        let (response, report) = (response.clone(), report.clone());
        async move {
            let mut all = vec![stream.read_u8().await.unwrap()];
            stream.write_all(&response).await.unwrap();
            stream.shutdown().await.unwrap();
            // It may be reset, since not all was read; the bytes before that count.
            let _ = stream.read_to_end(&mut all).await;
            report.send(all).unwrap();
        }
    });
    (port.await, received)
}

/// A `ServerHello` of TLS 1.1.
fn hello_of_an_old_version() -> Vec<u8> {
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    // No session, a cipher of that age, no compression.
    hello.extend([0, 0, 0x2f, 0]);
    hello
}

#[tokio::test]
async fn failed_handshake_reveals_nothing_of_the_request() {
    let roots = Authority::new("ours").roots;
    let plain = format!("HTTP/1.1 400 {MARKER}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    let broken = (FaultClass::Transient, "TLS_HANDSHAKE_FAILED");
    let foreign = (FaultClass::Misconfigured, "TLS_INCOMPATIBLE");
    let cases = [
        (Vec::new(), broken),
        (vec![22, 3, 3, 0, 90, 2], broken),
        (plain, (FaultClass::Misconfigured, "TLS_NOT_SPOKEN")),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), (FaultClass::Misconfigured, "TLS_NOT_SPOKEN")),
        // Alerts: internal error; no common cipher; unsupported version.
        (vec![21, 3, 1, 0, 2, 2, 80], broken),
        (vec![21, 3, 1, 0, 2, 2, 40], foreign),
        (vec![21, 3, 1, 0, 2, 2, 70], foreign),
        // Unrecognized name; bad certificate, which can only be the client's.
        (vec![21, 3, 3, 0, 2, 2, 112], (FaultClass::Misconfigured, "TLS_NAME_NOT_SERVED")),
        (
            vec![21, 3, 3, 0, 2, 2, 42],
            (FaultClass::Misconfigured, "TLS_CLIENT_CERTIFICATE_REQUIRED"),
        ),
        (hello_of_an_old_version(), foreign),
    ];
    for (response, (class, reason)) in cases {
        let case = format!("{response:.40?}");
        let (port, mut received) = sending_raw_bytes(response).await;
        assert_eq!(failure(port, &roots).await, (class, reason.to_owned()), "{case}");
        let received = received.recv().await.unwrap();
        assert_eq!(received[0], 22, "the client starts with a handshake: {case}");
        assert!(!received.windows(MARKER.len()).any(|part| part == MARKER.as_bytes()), "{case}");
    }
}

#[tokio::test]
async fn reset_and_refused_connections_are_transient() {
    let roots = Authority::new("ours").roots;
    let reset = upstream(|mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    let seen = failure(reset.await, &roots).await;
    assert_eq!(seen, (FaultClass::Transient, "TLS_HANDSHAKE_FAILED".to_owned()));
    // Bound, so that nothing else listens there, but not listening.
    let unlistened = TcpSocket::new_v4().unwrap();
    unlistened.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let seen = failure(unlistened.local_addr().unwrap().port(), &roots).await;
    assert_eq!(seen, (FaultClass::Transient, "CONNECT_FAILED".to_owned()));
}

#[tokio::test]
async fn hanging_handshake_times_out_with_the_exchange() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let hangs = upstream(move |mut stream| {
        let begun = begun.clone();
        async move {
            stream.read_u8().await.unwrap();
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let from = Instant::now();
    let failing = tokio::spawn(async move { failure(hangs, &Authority::new("ours").roots).await });
    has_begun.recv().await.unwrap();
    // From here on, time advances when the runtime is idle.
    pause();
    let seen = failing.await.unwrap();
    assert_eq!(seen, (FaultClass::Transient, "TIMEOUT".to_owned()));
    assert_eq!(from.elapsed().as_secs(), DEFAULT_TIMEOUT.as_secs());
}

#[tokio::test]
async fn silent_address_leaves_time_for_the_next() {
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = hole.listen(0).unwrap();
    let silent = hole.local_addr().unwrap();
    // Fills its accept queue: further connections get no response.
    let _queued = TcpStream::connect(silent).await.unwrap();

    let port = upstream(|mut stream| async move {
        let _ = stream.read(&mut [0; 1_024]).await;
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let good = ([127, 0, 0, 1], port).into();
    // Without a port in the URL, the addresses' ports apply.
    let resolver = Resolver::with(Duration::ZERO, move |_| Ok(vec![silent, good]));
    let base: BaseUrl = "http://localhost".parse().unwrap();
    let client = HttpClient::with(base, &egress(None), Clock::system(), DEFAULT_TIMEOUT, resolver);
    for _ in 0..2 {
        assert!(client.exchange(plain(&client)).await.is_ok());
    }
}

#[tokio::test]
async fn source_sees_status_headers_and_body_of_a_refusal() {
    let port = upstream(|mut stream| async move {
        let _ = stream.read(&mut [0; 1_024]).await;
        let head = "HTTP/1.1 403 No\r\nretry-after: 7\r\ncontent-length: 14\r\n\r\n";
        let _ = stream.write_all(format!("{head}{{\"code\":20403}}").as_bytes()).await;
    })
    .await;
    let base: BaseUrl = format!("http://127.0.0.1:{port}").parse().unwrap();
    let client = HttpClient::new(base, &egress(None), Clock::system(), DEFAULT_TIMEOUT);
    let response = client.exchange(plain(&client)).await.unwrap();
    assert_eq!(response.status, 403);
    assert_eq!(response.headers["retry-after"], "7");
    assert_eq!(response.body().unwrap(), br#"{"code":20403}"#);
    assert!(response.by_status().is_err());
}

#[tokio::test]
async fn late_head_counts_without_its_body() {
    let port = upstream(|mut stream| async move {
        let _ = stream.read(&mut [0; 1_024]).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let _ = stream.write_all(b"HTTP/1.1 404 No\r\ncontent-length: 9\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let base: BaseUrl = format!("http://127.0.0.1:{port}").parse().unwrap();
    let timeout = Duration::from_millis(400);
    let client = HttpClient::new(base, &egress(None), Clock::system(), timeout);
    let from = Instant::now();
    let response = client.exchange(plain(&client)).await.unwrap();
    assert!(from.elapsed() >= timeout && from.elapsed() < DEFAULT_TIMEOUT);
    assert_eq!(response.status, 404);
    assert_eq!(response.body().unwrap_err().reason, "TIMEOUT");
}
