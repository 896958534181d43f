//! The commands over TLS.

use std::path::Path;

use super::pki::{CALLER_ID, Entity, Pki, SERVER_ID, dns, uris};
use crate::support::{CommandOutput, Serve, found, run};

struct Caller<'a> {
    serve: &'a Serve,
    ca: &'a Path,
    pair: Option<(&'a Path, &'a Path)>,
}

impl Caller<'_> {
    async fn mint(&self, more: &[&str]) -> CommandOutput {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let mut all = vec!["mint".to_owned(), "alice".to_owned()];
        all.extend(["--server".to_owned(), self.serve.server.clone()]);
        all.extend(["--ca".to_owned(), text(self.ca)]);
        if let Some((cert, key)) = self.pair {
            all.extend(["--cert".to_owned(), text(cert), "--key".to_owned(), text(key)]);
        }
        all.extend(more.iter().map(|it| (*it).to_owned()));
        run(&all.iter().map(String::as_str).collect::<Vec<_>>()).await
    }
}

#[tokio::test]
async fn command_and_server_verify_each_other() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let write = |name: &str, entity: &Entity| pki.write_pair(name, &[entity]);
    let spiffe = write("spiffe", &pki.prod.issue(uris(&[CALLER_ID])));
    let named = write("named", &pki.dns_ca.issue(dns(&["api.media.svc"])));
    let ca = pki.path("server-ca.pem");
    let caller = |pair: &'_ (std::path::PathBuf, std::path::PathBuf)| {
        let pair = pair.clone();
        let (serve, ca) = (&serve, &ca);
        async move |more: &[&str]| {
            let pair = Some((&*pair.0, &*pair.1));
            Caller { serve, ca, pair }.mint(more).await
        }
    };
    found("a token", async || {
        let ran = caller(&spiffe)(&["--server-name", SERVER_ID]).await;
        (ran.code == Some(0)).then_some(())
    })
    .await;
    for more in [&[][..], &["--server-name", "localhost"], &["--server-name", SERVER_ID]] {
        let ran = caller(&named)(more).await;
        assert_eq!(ran.code, Some(0), "{more:?}: {}", ran.stderr);
        assert_eq!(ran.stdout.matches('.').count(), 2, "a token");
    }

    for (name, reported) in [
        ("mint.example.org", "the server's certificate was refused"),
        (CALLER_ID, "its name is spiffe://prod.example.org/ns/media/sa/mint, not"),
    ] {
        let ran = caller(&named)(&["--server-name", name]).await;
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(reported) && ran.stderr.contains("--server-name"),
            "{}",
            ran.stderr
        );
    }
    let ran = run(&["mint", "a", "--server", &serve.server, "--server-name", SERVER_ID]).await;
    assert_eq!(ran.code, Some(1), "no public authority issues SPIFFE IDs");
    assert!(ran.stderr.contains("name the bundle"), "{}", ran.stderr);
    let ran = Caller { serve: &serve, ca: &ca, pair: None }.mint(&[]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("certificate_required"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--cert and --key"), "{}", ran.stderr);
    let other = pki.path("dev.pem");
    let pair = Some((&*named.0, &*named.1));
    let ran = Caller { serve: &serve, ca: &other, pair }.mint(&[]).await;
    assert!(ran.stderr.contains("no trusted authority issued it"), "{}", ran.stderr);
    let mixed = Some((&*named.0, &*spiffe.1));
    let ran = Caller { serve: &serve, ca: &ca, pair: mixed }.mint(&[]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("does not match the certificate"), "{}", ran.stderr);
}

#[tokio::test]
async fn plaintext_to_another_machine_needs_a_flag() {
    let ran = run(&["mint", "alice", "--server", "http://mint.invalid:50051"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for reported in ["plain http is allowed only to this machine", "https://", "--plaintext"] {
        assert!(ran.stderr.contains(reported), "{reported}: {}", ran.stderr);
    }
    let ran = run(&["mint", "alice", "--server", "http://mint.invalid:1", "--plaintext"]).await;
    assert!(ran.stderr.contains("cannot connect"), "{}", ran.stderr);
}

#[tokio::test]
async fn tls_flags_require_https() {
    for flag in [&["--ca", "ca.pem"][..], &["--cert", "a", "--key", "b"], &["--server-name", "a"]] {
        for command in [&["mint", "alice"][..], &["bulk", "--count", "1"], &["grants", "--watch"]] {
            let ran = run(&[command, &["--server", "http://127.0.0.1:50051"], flag].concat()).await;
            assert_eq!(ran.code, Some(1), "{command:?} {flag:?}: {}", ran.stderr);
            let reported = format!("{} has no effect in plain http", flag[0]);
            assert!(ran.stderr.contains(&reported), "{command:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("use https://host:port"), "{}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn public_listener_requires_tls_and_callers() {
    let pki = Pki::new();
    let listening = |section: &str| {
        let top = format!("[server]\nlisten = \"0.0.0.0:0\"\n{section}");
        let secret = grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
        crate::support::Configured::with_secret(&top, "", secret)
    };
    for (section, reported) in [
        (
            String::new(),
            "server.listen: must be on loopback (127.0.0.1 or [::1]) without [server.tls]",
        ),
        (
            pki.section(""),
            "server.listen: must be on loopback (127.0.0.1 or [::1]) without [callers]",
        ),
        ("plaintext = true\n".to_owned(), "server.plaintext: requires [callers]"),
        (pki.section("").replace("server.key", "spiffe.key"), "server.tls.key: cannot be read"),
        (pki.section("").replace("ca.pem", "server.key"), "server.tls.client_ca: "),
    ] {
        let config = listening(&section);
        for command in ["check", "serve"] {
            let ran = run(&[command, "--config", config.path()]).await;
            assert_eq!(ran.code, Some(1), "{command} {section}: {}", ran.stderr);
            assert!(ran.stderr.contains(reported), "{command}: {reported}: {}", ran.stderr);
        }
    }
    let local = crate::support::Configured::profile("");
    let ran = run(&["serve", "--config", local.path(), "--listen", "0.0.0.0:0"]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("[server.tls]"), "{}", ran.stderr);

    // Its keys are public.
    let anywhere = ["--sandbox", "--listen", "0.0.0.0:0"];
    let serve = Serve::start(&anywhere).await;
    serve.signal("INT");
    let log = serve.ended().await.1;
    assert!(log.contains("any client that reaches this address may call"), "{log}");
}
