//! Proxies and root certificates from the environment of the real binary.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::{
    clock::Clock,
    sandbox::{self, Sandbox},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    process::Command,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    forward,
    support::{BINARY, CommandOutput, Configured, Serve, emulated, found, soon},
};

const PASSWORD: &str = "planted-password-5994471abb01112a";

/// A name that no resolver knows; only the proxy accepts it.
const HOST: &str = "media.grantmint.invalid";

/// A sandbox proxied TLS for [`HOST`] and 127.0.0.1.
struct SecureUpstream {
    addr: SocketAddr,
    tls: TlsAcceptor,
    sandbox: Sandbox,
    dir: TempDir,
}

impl SecureUpstream {
    async fn bind() -> Self {
        Self::presenting(false).await
    }

    /// The same; with `is_ca`, its certificate is a CA certificate.
    async fn presenting(is_ca: bool) -> Self {
        Self::before(emulated(), is_ca).await
    }

    /// The same in front of a sandbox with this configuration.
    async fn before(config: sandbox::Config, is_ca: bool) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let sandbox = Sandbox::bind(any, config, Clock::system()).await;
        let sandbox = sandbox.expect("a sandbox");
        let names = [HOST.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = TempDir::new().expect("a directory");
        let base64 = BASE64_STANDARD.encode(certificate.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        fs::write(dir.path().join("roots.pem"), pem).expect("written");

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a good pair");
        let tls = TlsAcceptor::from(Arc::new(config));
        let addr = secured(tls.clone(), sandbox.addr()).await;
        Self { addr, tls, sandbox, dir }
    }

    /// The file of its certificate.
    fn roots(&self) -> String {
        self.dir.path().join("roots.pem").display().to_string()
    }

    /// A profile with the URL that only a proxy can reach.
    fn proxied() -> Configured {
        Configured::profile(&format!("upstream = \"https://{HOST}\""))
    }

    /// A profile with its real URL.
    fn direct(&self) -> Configured {
        Configured::profile(&format!("upstream = \"https://{}\"", self.addr))
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// Terminates TLS and forwards to `plain`.
async fn secured(tls: TlsAcceptor, plain: SocketAddr) -> SocketAddr {
    let listener = listener().await;
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut secure = tls.accept(stream).await?;
                let mut plain = TcpStream::connect(plain).await?;
                copy_bidirectional(&mut secure, &mut plain).await
            });
        }
    });
    addr
}

/// A proxy that sends this response to every CONNECT and, if it is 200, forwards to one address.
struct Proxy {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn bind(answer: &'static str, to: SocketAddr) -> Self {
        let (listener, heads) = (listener().await, Arc::new(Mutex::new(Vec::new())));
        let (addr, log) = (listener.local_addr().expect("an address"), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, answer, to, Arc::clone(&log)));
            }
        });
        Self { addr, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

async fn tunnel(
    mut stream: TcpStream,
    answer: &str,
    to: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    log.lock().expect("no panic").push(String::from_utf8_lossy(&head).into_owned());
    stream.write_all(answer.as_bytes()).await?;
    if answer.contains(" 200 ") {
        let mut upstream = TcpStream::connect(to).await?;
        copy_bidirectional(&mut stream, &mut upstream).await?;
    }
    Ok(())
}

const TUNNEL: &str = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 Connection established\r\n\r\n";

/// These variables as shell exports.
fn exported(env: &[(&str, &str)]) -> String {
    let each = env.iter().map(|(name, value)| format!("export {name}='{value}'"));
    each.collect::<Vec<_>>().join(" && ")
}

async fn serve(config: &Configured, env: &[(&str, &str)]) -> Serve {
    Serve::under(&exported(env), &["--config", config.path()]).await
}

/// The whole log, after checking that it contains no password.
async fn log(serve: Serve) -> String {
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains(&BASE64_STANDARD.encode(PASSWORD)), "{log}");
    log
}

/// The fault that prevents the first grant.
async fn fault(serve: &Serve) -> String {
    found("a fault", async || {
        let (_, page) = serve.page("/readyz").await;
        let (_, fault) =
            page.split_once("refresh retrying, ").or_else(|| page.split_once("rejected, "))?;
        fault.lines().next().map(str::to_owned)
    })
    .await
}

async fn run(command: &[&str], env: &[(&str, &str)]) -> CommandOutput {
    let mut child = Command::new(BINARY);
    child.args(command).env_clear().envs(env.iter().copied()).kill_on_drop(true);
    let output = soon(child.output()).await.expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let ran = CommandOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!format!("{ran:?}").contains(PASSWORD), "{ran:?}");
    ran
}

#[tokio::test]
async fn upstream_is_reached_through_the_environment_proxy() {
    let upstream = SecureUpstream::bind().await;
    let proxy = Proxy::bind(TUNNEL, upstream.addr).await;
    let config = SecureUpstream::proxied();
    let address = format!("http://{}", proxy.addr);
    let secret = format!("http://us%40r:{PASSWORD}@{}/", proxy.addr);
    let basic = BASE64_STANDARD.encode(format!("us@r:{PASSWORD}"));
    let roots = upstream.roots();
    for (variable, value, authorization) in [
        ("HTTPS_PROXY", &secret, Some(format!("proxy-authorization: Basic {basic}\r\n"))),
        ("https_proxy", &address, None),
        ("ALL_PROXY", &secret, Some(format!("proxy-authorization: Basic {basic}\r\n"))),
        ("all_proxy", &address, None),
    ] {
        proxy.heads.lock().expect("no panic").clear();
        let env = [(variable, value.as_str()), ("SSL_CERT_FILE", &roots)];
        let serve = serve(&config, &env).await;
        serve.first_token().await;
        let head = proxy.heads().remove(0);
        let authorization = authorization.unwrap_or_default();
        let place = format!("{HOST}:443");
        assert_eq!(
            head,
            format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{authorization}\r\n")
        );
        let (_, metrics) = serve.page("/metrics").await;
        assert!(!metrics.contains(PASSWORD) && !metrics.contains(&basic));

        let log = log(serve).await;
        let line = log.lines().find(|line| line.contains("upstream route"));
        let line = line.expect("a line about the proxy");
        let way = format!("through the proxy {address}, set by {variable}");
        assert!(line.contains(&way) && line.contains("SSL_CERT_FILE"), "{line}");
        assert!(!log.contains(&basic), "{log}");
        let check = run(&["check", config.path()], &env).await;
        assert!(check.stdout.contains(&way) && check.stdout.contains(&roots), "{check:?}");
    }
}

#[tokio::test]
async fn shared_credential_uses_the_profiles_ca_file() {
    let demo = forward::presets().remove(0);
    let config = sandbox::Config::new(vec![demo.endpoint().expect("an upstream")]);
    let upstream = SecureUpstream::before(config, false).await;
    let secret = demo.secret.as_ref().expect("a secret").value.clone();
    let address = format!("upstream = \"https://{}\"", upstream.addr);
    let trusting = format!("{address}\nca_file = \"{}\"", upstream.roots());
    for (lines, trusts) in [(address, false), (trusting, true)] {
        let (_dir, config) = forward::configured(&demo, &secret, &lines);
        let serve = Serve::start(&["--config", &config]).await;
        if trusts {
            assert_eq!(serve.first_token().await.token.split('.').count(), 3);
        } else {
            assert_eq!(fault(&serve).await, "TLS_CERTIFICATE_UNTRUSTED (misconfigured)");
        }
    }
    assert_eq!(upstream.sandbox.counters().granted, 1);
}

#[tokio::test]
async fn https_proxy_is_reached_over_tls() {
    let upstream = SecureUpstream::bind().await;
    let proxy = Proxy::bind(TUNNEL, upstream.addr).await;
    let secure = secured(upstream.tls.clone(), proxy.addr).await;
    let (address, roots) = (format!("https://{secure}"), upstream.roots());
    let env = [("HTTPS_PROXY", address.as_str()), ("SSL_CERT_FILE", &roots)];
    let serve = serve(&SecureUpstream::proxied(), &env).await;
    serve.first_token().await;
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn no_proxy_and_profile_setting_bypass_the_proxy() {
    let upstream = SecureUpstream::bind().await;
    let proxy = Proxy::bind(TUNNEL, upstream.addr).await;
    let (roots, address) = (upstream.roots(), format!("http://{}", proxy.addr));
    let env = [("HTTPS_PROXY", address.as_str()), ("SSL_CERT_FILE", &roots)];
    let exempt = [&env[..], &[("NO_PROXY", "127.0.0.0/8")]].concat();
    let none = format!("upstream = \"https://{}\"\nproxy = \"none\"", upstream.addr);
    for (config, env, way) in [
        (upstream.direct(), &exempt[..], "directly: NO_PROXY exempts it"),
        (Configured::profile(&none), &env, "directly: proxy disabled by the profile"),
    ] {
        let serve = serve(&config, env).await;
        serve.first_token().await;
        assert!(log(serve).await.contains(way));
    }
    assert_eq!(proxy.heads().len(), 0);

    let own = format!("upstream = \"https://{HOST}\"\nproxy = \"{address}\"");
    let other =
        [("HTTPS_PROXY", "http://127.0.0.1:1"), ("SSL_CERT_FILE", &roots), ("NO_PROXY", "*")];
    let serve = serve(&Configured::profile(&own), &other).await;
    serve.first_token().await;
    assert_eq!(proxy.heads().len(), 1);
    drop(serve);

    // The sandbox is on loopback and needs no proxy.
    let env = [("ALL_PROXY", address.as_str()), ("HTTP_PROXY", &address)];
    let own = Configured::profile(&own);
    for more in [vec![], vec!["--config", own.path()]] {
        let serve = Serve::under(&exported(&env), &[vec!["--sandbox"], more].concat()).await;
        serve.first_token().await;
    }
    assert_eq!(proxy.heads().len(), 1);
    assert!(upstream.sandbox.counters().granted >= 3);
}

#[tokio::test]
async fn proxy_failures_differ_from_upstream_failures() {
    let upstream = SecureUpstream::bind().await;
    let config = SecureUpstream::proxied();
    let roots = upstream.roots();
    for (answer, expected) in [
        (
            "HTTP/1.1 407 Who\r\nproxy-authenticate: Basic\r\n\r\n",
            "PROXY_AUTHENTICATION_REFUSED (misconfigured)",
        ),
        ("HTTP/1.1 403 No\r\n\r\n", "PROXY_REFUSED (misconfigured)"),
        ("HTTP/1.1 302 There\r\nlocation: http://x\r\n\r\n", "PROXY_REFUSED (misconfigured)"),
        ("HTTP/1.1 502 Bad\r\n\r\n", "PROXY_FAILED (transient)"),
        ("HTTP/1.1 503 Busy\r\nretry-after: 9\r\n\r\n", "PROXY_FAILED (transient)"),
        ("HTTP/1.1 504 Late\r\n\r\n", "PROXY_FAILED (transient)"),
        ("SSH-2.0-x\r\n", "PROXY_ANSWER_MALFORMED (transient)"),
        ("", "PROXY_CONNECTION_LOST (transient)"),
        ("HTTP/1.1 200 OK\r\n\r\nno TLS", "TLS_NOT_SPOKEN (misconfigured)"),
    ] {
        let proxy = Proxy::bind(answer, upstream.addr).await;
        let address = format!("http://u:{PASSWORD}@{}", proxy.addr);
        let env = [("HTTPS_PROXY", address.as_str()), ("SSL_CERT_FILE", &roots)];
        let serve = serve(&config, &env).await;
        assert_eq!(fault(&serve).await, expected);
        log(serve).await;
    }

    // Bound, so that nothing else listens there, but not listening.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let closed = format!("http://{}", closed.local_addr().expect("an address"));
    let plain = format!("https://{}", upstream.sandbox.addr());
    let lost = format!("http://{HOST}:3128");
    for (address, expected) in [
        (closed, "PROXY_CONNECT_FAILED (transient)"),
        (lost, "PROXY_DNS_FAILED (transient)"),
        (plain, "PROXY_TLS_REFUSED (misconfigured)"),
    ] {
        let env = [("HTTPS_PROXY", address.as_str()), ("SSL_CERT_FILE", &roots)];
        let serve = serve(&config, &env).await;
        assert_eq!(fault(&serve).await, expected, "{address}");
    }
}

#[tokio::test]
async fn invalid_proxy_variable_is_named_at_startup() {
    let config = SecureUpstream::proxied();
    let missing = "/nonexistent/roots.pem";
    let socks = format!("socks5://u:{PASSWORD}@127.0.0.1:1080");
    let odd = format!("http://u:{PASSWORD}/@proxy:3128");
    let empty = config.dir.path().join("empty.pem").display().to_string();
    fs::write(&empty, "").expect("written");
    for (env, expected) in [
        (
            ("HTTPS_PROXY", socks.as_str()),
            "HTTPS_PROXY names a proxy that cannot be used: it is a SOCKS",
        ),
        (("all_proxy", &odd), "all_proxy names a proxy that cannot be used"),
        (("SSL_CERT_FILE", missing), "SSL_CERT_FILE: /nonexistent/roots.pem cannot be read"),
        (("SSL_CERT_FILE", &empty), "holds no certificate"),
        (("SSL_CERT_DIR", missing), "SSL_CERT_DIR: /nonexistent/roots.pem cannot be read"),
    ] {
        let log = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let log = [&log[..], &["--config", config.path()]].concat();
        for command in [&["check", config.path()][..], &["check", "--json", config.path()], &log] {
            let ran = run(command, &[env]).await;
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
        }
    }

    // Unusable parts are reported with a warning; usable parts apply.
    let upstream = SecureUpstream::bind().await;
    let (config, roots) = (upstream.direct(), upstream.roots());
    let env =
        [("SSL_CERT_FILE", roots.as_str()), ("SSL_CERT_DIR", missing), ("HTTP_PROXY", "http://p")];
    let serve = serve(&config, &env).await;
    serve.first_token().await;
    let log = log(serve).await;
    let check = run(&["check", config.path()], &env).await;
    for expected in
        ["SSL_CERT_DIR: /nonexistent/roots.pem cannot be read", "HTTP_PROXY is set but not used"]
    {
        assert!(check.stdout.contains(&format!("warning: profile demo: {expected}")), "{check:?}");
        let line = log.lines().find(|line| line.contains(expected)).expect("a line");
        assert!(line.contains("part of the environment is not used"), "{line}");
    }

    let secret = format!("proxy = \"http://u:{PASSWORD}@proxy:3128\"");
    let plain = "upstream = \"http://127.0.0.1:1\"\nproxy = \"http://proxy:3128\"";
    for (lines, expected) in
        [(secret.as_str(), "must not hold a user name"), (plain, "is not used")]
    {
        let ran = run(&["check", Configured::profile(lines).path()], &[]).await;
        assert_eq!(ran.code, Some(1));
        assert!(
            ran.stderr.contains("profiles.demo.proxy") && ran.stderr.contains(expected),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn ca_used_as_server_certificate_has_its_own_reason() {
    let upstream = SecureUpstream::presenting(true).await;
    let roots = upstream.roots();
    let serve = serve(&upstream.direct(), &[("SSL_CERT_FILE", &roots)]).await;
    assert!(fault(&serve).await.contains("TLS_CERTIFICATE_IS_A_CA"));
}
