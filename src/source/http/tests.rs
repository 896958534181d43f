//! TLS that goes wrong, and an address that does not answer, over real connections.

use std::sync::Arc;

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

/// Stands in what an upstream says, and in the credential; must never come back.
const MARKER: &str = "zqmarkerqz";

/// A certificate authority of a test's own.
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

/// The port of an upstream that does this with every connection.
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

/// The port of an upstream that speaks TLS and answers every request.
async fn over(tls: TlsAcceptor) -> u16 {
    upstream(move |stream| {
        let tls = tls.clone();
        async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let mut request = [0; 1_024];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

/// What comes of a request to that port of 127.0.0.1, where these roots are trusted.
async fn ask(port: u16, roots: &RootCertStore) -> Result<Bytes, FetchError> {
    let base: BaseUrl = format!("https://127.0.0.1:{port}").parse().unwrap();
    let tls = tls_versions().unwrap().with_root_certificates(roots.clone());
    let client =
        HttpClient::with(base, Clock::system(), tls.with_no_client_auth(), Resolver::system());
    let request = Request::post(client.uri("/").unwrap())
        .header(header::AUTHORIZATION, MARKER)
        .body(Full::default())
        .unwrap();
    client.exchange(request).await.map(|answer| answer.body)
}

/// The class and reason of a failure.
async fn failure(port: u16, roots: &RootCertStore) -> (FaultClass, String) {
    let error = ask(port, roots).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(MARKER), "{error:?}");
    let FetchError::Failed { fault, retry_after: None } = error else { panic!("{error:?}") };
    (fault.class, fault.reason.into_owned())
}

#[tokio::test]
async fn a_certificate_is_taken_where_it_is_trusted_for_that_name_and_now() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = over(ours.serves("127.0.0.1", 2_000, 4_000)).await;
    assert_eq!(ask(good, &ours.roots).await.unwrap(), "{}");

    let other_name = over(ours.serves("upstream.example", 2_000, 4_000)).await;
    let ended = over(ours.serves("127.0.0.1", 2_000, 2_020)).await;
    let to_come = over(ours.serves("127.0.0.1", 3_000, 4_000)).await;
    let cases = [
        (good, &theirs, "TLS_CERTIFICATE_UNTRUSTED"),
        (other_name, &ours, "TLS_CERTIFICATE_OF_ANOTHER_NAME"),
        (ended, &ours, "TLS_CERTIFICATE_EXPIRED"),
        (to_come, &ours, "TLS_CERTIFICATE_NOT_YET_VALID"),
    ];
    for (port, trusted, reason) in cases {
        let seen = failure(port, &trusted.roots).await;
        assert_eq!(seen, (FaultClass::Misconfigured, reason.to_owned()));
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_a_transient_fault() {
    let roots = Authority::new("ours").roots;
    let plain = upstream(|mut stream| async move {
        let answer = format!("HTTP/1.1 400 {MARKER}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    // Without a word, and after the first bytes of an answer.
    let cut = upstream(|mut stream| async move {
        stream.read_u8().await.unwrap();
    });
    let cut_later = upstream(|mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(&[22, 3, 3, 0, 90, 2]).await.unwrap();
    });
    let reset = upstream(|mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    for port in [plain.await, cut.await, cut_later.await, reset.await] {
        let seen = failure(port, &roots).await;
        assert_eq!(seen, (FaultClass::Transient, "TLS_HANDSHAKE_FAILED".to_owned()));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let seen = failure(nobody, &roots).await;
    assert_eq!(seen, (FaultClass::Transient, "CONNECT_FAILED".to_owned()));
}

#[tokio::test]
async fn a_handshake_that_hangs_is_cut_with_the_exchange() {
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
    let asked = tokio::spawn(async move { failure(hangs, &Authority::new("ours").roots).await });
    has_begun.recv().await.unwrap();
    // From here on time passes where nothing else happens.
    pause();
    let seen = asked.await.unwrap();
    assert_eq!(seen, (FaultClass::Transient, "TIMEOUT".to_owned()));
    assert_eq!(from.elapsed().as_secs(), EXCHANGE_TIMEOUT.as_secs());
}

#[tokio::test]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = hole.listen(0).unwrap();
    let dead = hole.local_addr().unwrap();
    // Takes the one place of its queue: what knocks now is not answered.
    let _queued = TcpStream::connect(dead).await.unwrap();

    let port = upstream(|mut stream| async move {
        let _ = stream.read(&mut [0; 1_024]).await;
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let good = ([127, 0, 0, 1], port).into();
    // Without a port in the URL those of the addresses hold.
    let resolver = Resolver::with(Duration::ZERO, move |_| Ok(vec![dead, good]));
    let base: BaseUrl = "http://localhost".parse().unwrap();
    let tls = tls(&base).unwrap();
    let client = HttpClient::with(base, Clock::system(), tls, resolver);
    for _ in 0..2 {
        let request = Request::post(client.uri("/").unwrap()).body(Full::default()).unwrap();
        assert!(client.exchange(request).await.is_ok());
    }
}
