//! Changes without a restart: keys rotated under load the way Kubernetes updates a volume, and
//! invalid files.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use grantmint::{
    clock::Clock,
    config::Config,
    provider::{
        Upstream,
        twilio_live::{DEMO_ACCOUNT_SID, DEMO_RESOURCE},
    },
    sandbox::{self, Endpoint, Sandbox},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Status;

use super::metrics::page;
use crate::support::{Serve, emulated, found, mint, series, soon, until};

fn sid(key: usize) -> String {
    format!("SK{key:032x}")
}

fn secret(key: usize) -> String {
    format!("{key:08}abcdefghijklmnopqrstuvwxyz")
}

/// The number of the only key that matches the whole token.
fn key_of(token: &str) -> usize {
    let part = |at: usize| token.split('.').nth(at).expect("a JWT").to_owned();
    let claims = crate::support::payload(token);
    let claims: Value = serde_json::from_str(&claims).expect("JSON");
    let named = claims["iss"].as_str().expect("an issuer").trim_start_matches("SK").to_owned();
    let key = usize::from_str_radix(&named, 16).expect("a number");
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    let decoding = DecodingKey::from_secret(secret(key).as_bytes());
    let decoded = jsonwebtoken::decode::<Value>(token, &decoding, &validation);
    assert!(decoded.is_ok(), "key {key} signed no token that begins with {}", part(0));
    key
}

/// A mounted key id and secret, and a server with a profile that reads them.
struct Fixture {
    dir: TempDir,
    _upstream: Sandbox,
    serve: Serve,
}

impl Fixture {
    /// The upstream knows the keys below `known`.
    async fn new(known: usize) -> Self {
        let dir = TempDir::new().expect("a directory");
        let upstream = upstream(known).await;
        fs::write(dir.path().join("grantmint.toml"), configuration(&dir, &upstream, "1h"))
            .expect("written");
        put_key(&dir, &sid(0), &secret(0));
        for name in ["sid", "secret"] {
            symlink(format!("..data/{name}"), dir.path().join(name)).expect("a link");
        }
        let file = dir.path().join("grantmint.toml");
        let serve = Serve::start(&["--config", file.to_str().expect("text")]).await;
        Self { dir, _upstream: upstream, serve }
    }

    fn put_key(&self, key: usize) {
        put_key(&self.dir, &sid(key), &secret(key));
    }

    async fn figure(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        page(&self.serve).await.figure(name, labels)
    }

    /// The number of key changes applied.
    async fn reloads(&self) -> usize {
        let of_key = [("what", "profiles/demo"), ("result", "ok")];
        let figure = self.figure("grantmint_reloads_total", &of_key).await;
        figure.to_string().parse().expect("a whole number")
    }

    async fn is_failing(&self, what: &str) -> bool {
        self.figure("grantmint_reload_failing", &[("what", what)]).await > 0.5
    }

    /// The server's whole log.
    async fn log(self) -> String {
        self.serve.signal("TERM");
        soon(self.serve.ended()).await.1
    }

    async fn key_in_use(&self) -> usize {
        let mut tokens = self.serve.tokens().await;
        key_of(&soon(tokens.mint_token(mint("v", None))).await.expect("a token").into_inner().token)
    }
}

/// As Kubernetes does: a new directory, and one link replaced.
fn put_key(dir: &TempDir, sid: &str, secret: &str) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let version = dir.path().join(format!("..{number}"));
    fs::create_dir(&version).expect("a directory");
    fs::write(version.join("sid"), sid).expect("written");
    fs::write(version.join("secret"), secret).expect("written");
    let next: PathBuf = dir.path().join("..data_tmp");
    symlink(&version, &next).expect("a link");
    fs::rename(next, dir.path().join("..data")).expect("swapped");
}

fn configuration(dir: &TempDir, upstream: &Sandbox, token_ttl: &str) -> String {
    format!(
        "[profiles.demo]\nkind = \"twilio-live\"\naccount_sid = \"{DEMO_ACCOUNT_SID}\"\n\
         api_key_sid_file = \"{0}/sid\"\napi_key_secret_file = \"{0}/secret\"\n\
         resources = [\"{DEMO_RESOURCE}\"]\nupstream = \"{1}\"\nbudget = {{ rate = 1000, burst = 1000 }}\ntoken_ttl = \"{token_ttl}\"\n",
        dir.path().display(),
        upstream.base_url(),
    )
}

async fn upstream(known: usize) -> Sandbox {
    let profile = |key: usize| {
        format!(
            "[profiles.p{key}]\nkind = \"twilio-live\"\naccount_sid = \"{DEMO_ACCOUNT_SID}\"\n\
             api_key_sid = \"{}\"\napi_key_secret_env = \"KEY_{key}\"\n\
             resources = [\"{DEMO_RESOURCE}\"]\nbudget = {{ rate = 10000 }}\n",
            sid(key)
        )
    };
    let text: String = (0..known).map(profile).collect();
    let env = |name: &str| Some(secret(name.trim_start_matches("KEY_").parse().ok()?));
    let config = Config::parse_with("known", &text, &env).unwrap_or_else(|e| panic!("{e}"));
    let upstreams = config.profiles.iter().filter_map(|it| it.provider.upstream());
    let endpoints: Vec<Arc<dyn Endpoint>> = upstreams.map(Upstream::endpoint).collect();
    let emulated = sandbox::Config { endpoints, ..emulated() };
    Sandbox::bind("127.0.0.1:0".parse().expect("an address"), emulated, Clock::system())
        .await
        .expect("a sandbox")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_100_keys_under_load_mixes_none_in_a_token() {
    const SWAPS: usize = 100;
    let fixture = Fixture::new(SWAPS + 1).await;
    fixture.serve.first_token().await;
    let done = Arc::new(AtomicBool::new(false));
    let mut loads = Vec::new();
    for bulk in [false, true] {
        let (mut tokens, done) = (fixture.serve.tokens().await, Arc::clone(&done));
        loads.push(tokio::spawn(async move {
            let (mut latest, mut seen) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let minted = if bulk {
                    let mut stream = tokens.mint_tokens(series(0, 200)).await?.into_inner();
                    let mut minted = Vec::new();
                    while let Some(chunk) = stream.message().await? {
                        minted.extend(chunk.tokens);
                    }
                    assert_eq!(minted.len(), 200);
                    minted
                } else {
                    vec![tokens.mint_token(mint("v", None)).await?.into_inner().token]
                };
                for token in minted {
                    let key = key_of(&token);
                    assert!(key >= latest, "key {key} was used after key {latest}");
                    latest = key;
                    seen += 1;
                }
            }
            Ok::<_, Status>(seen)
        }));
    }
    for key in 1..=SWAPS {
        fixture.put_key(key);
        fixture.serve.signal("HUP");
        until("it is counted", async || fixture.reloads().await == key).await;
        assert_eq!(fixture.key_in_use().await, key, "the previous key is still used");
    }
    done.store(true, Ordering::Relaxed);
    for load in loads {
        let seen: usize = soon(load).await.expect("an exit").expect("no call fails");
        assert!(seen > SWAPS, "{seen}");
    }
    let log = fixture.log().await;
    assert!(!log.contains(&secret(1)) && !log.contains(&secret(SWAPS)));
}

#[tokio::test]
async fn refused_key_changes_nothing_and_a_valid_key_applies() {
    let fixture = Fixture::new(3).await;
    fixture.serve.first_token().await;
    // The upstream does not know this secret.
    put_key(&fixture.dir, &sid(1), &secret(2));
    until("it is reported", async || fixture.is_failing("profiles/demo").await).await;
    assert_eq!(fixture.key_in_use().await, 0);
    let ready = fixture.serve.page("/readyz").await;
    assert!(ready.0 == 200 && ready.1.contains("refresh ok"), "{ready:?}");
    // No signal is sent.
    fixture.put_key(2);
    until("it is counted", async || fixture.reloads().await == 1).await;
    assert_eq!(fixture.key_in_use().await, 2);
    until("the reload succeeds", async || !fixture.is_failing("profiles/demo").await).await;
    let log = fixture.log().await;
    assert!(log.contains("reload failed; keeping the previous version"), "{log}");
    assert!(log.contains("CREDENTIAL_REFUSED") || log.contains("401"), "{log}");
    assert!(!log.contains(&secret(2)), "{log}");
}

#[tokio::test]
async fn invalid_toml_blocks_no_key_reload_and_restart_keys_warn() {
    let fixture = Fixture::new(4).await;
    fixture.serve.first_token().await;
    let file = fixture.dir.path().join("grantmint.toml");
    let good = fs::read_to_string(&file).expect("text");
    fs::write(&file, "[profiles.demo\n").expect("written");
    until("it is reported", async || fixture.is_failing("configuration").await).await;
    fixture.put_key(1);
    until("the new key signs", async || fixture.key_in_use().await == 1).await;

    fs::write(
        &file,
        good.replace("\"1h\"", "\"2h\"")
            .replace("[profiles", "default_profile = \"demo\"\n[profiles"),
    )
    .expect("written");
    until("the TOML is valid again", async || !fixture.is_failing("configuration").await).await;
    fixture.put_key(2);
    until("the new key signs", async || fixture.key_in_use().await == 2).await;

    // The secret's location belongs to the key and changes with it.
    let place = fixture.dir.path().join("other");
    fs::write(&place, secret(3)).expect("written");
    let moved = good
        .replace("api_key_sid_file", &format!("api_key_sid = \"{}\"\n#", sid(3)))
        .replace("/secret\"", "/other\"");
    fs::write(&file, moved).expect("written");
    until("the new key signs", async || fixture.key_in_use().await == 3).await;
    let log = fixture.log().await;
    let named = log.lines().find(|line| line.contains("at the next restart")).expect("a line");
    assert!(named.contains("default_profile, profiles.demo.token_ttl"), "{named}");
    assert_eq!(log.matches("at the next restart").count(), 1, "{log}");
}

#[tokio::test]
async fn signing_only_key_is_rotated_too() {
    let dir = TempDir::new().expect("a directory");
    put_key(&dir, "APIone", &secret(1));
    let file = dir.path().join("grantmint.toml");
    let text = format!(
        "[profiles.room]\nkind = \"livekit\"\napi_key_file = \"{0}/..data/sid\"\n\
         api_secret_file = \"{0}/..data/secret\"\nresources = [\"lobby\"]\n",
        dir.path().display()
    );
    fs::write(&file, text).expect("written");
    let serve = Serve::start(&["--config", file.to_str().expect("text")]).await;
    let mut tokens = serve.tokens().await;
    let mut minted = async || {
        let token = soon(tokens.mint_token(mint("v", None))).await.expect("a token");
        let token = token.into_inner().token;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let signed_by = |key: usize| {
            let secret = DecodingKey::from_secret(secret(key).as_bytes());
            jsonwebtoken::decode::<Value>(&token, &secret, &validation).ok()
        };
        [1, 2].into_iter().find_map(|key| Some((key, signed_by(key)?.claims["iss"].clone())))
    };
    assert_eq!(minted().await, Some((1, "APIone".into())));
    // A weak key is refused, as at startup.
    put_key(&dir, "APItwo", "weak");
    serve.signal("HUP");
    let failing = async || {
        let labels = [("what", "profiles/room")];
        page(&serve).await.figure("grantmint_reload_failing", &labels) > 0.5
    };
    until("it is reported", failing).await;
    assert_eq!(minted().await, Some((1, "APIone".into())));
    put_key(&dir, "APItwo", &secret(2));
    serve.signal("HUP");
    let two = found("the new key", async || minted().await.filter(|(key, _)| *key == 2)).await;
    assert_eq!(two.1, "APItwo");
}
