//! Slow signatures in process: in the pool, with bare key pairs of aws-lc-rs, and with
//! `jsonwebtoken::encode`.

use std::{collections::BTreeMap, hint::black_box, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use futures_util::future::try_join_all;
use grantmint::{
    clock::Clock,
    telemetry::Metrics,
    token::{
        Call, CallSigner, Times, TokenFormat,
        claims::{Id, Table, Time, Value},
        id::Serial,
        key::JwtKey,
        pool::{Config, Lane, Pool},
        signed::Signed,
    },
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Serialize;
use serde_json::Map;
use tokio::time::Instant;

use crate::{load::IDENTITY, process::Cores};

/// Test keys, which belong to no account.
const KEYS: &str = include_str!("../../tests/vectors/keys.json");

/// Chunks signed concurrently, and the tokens of each.
const CHUNKS: usize = 4;
const CHUNK: usize = 64;

#[derive(Clone, Serialize)]
struct Claims {
    sub: &'static str,
    iat: i64,
    exp: i64,
    jti: &'static str,
}

const CLAIMS: Claims =
    Claims { sub: IDENTITY, iat: 1_700_000_000, exp: 1_700_003_600, jti: "AAAAAAAAAAAAAAAA" };

/// A test key in PEM.
pub(crate) fn key(name: &str) -> Result<String> {
    let mut keys: BTreeMap<String, String> = serde_json::from_str(KEYS)?;
    keys.remove(name).with_context(|| format!("no key {name}"))
}

/// A key of an algorithm, for each implementation.
pub(crate) struct Slow {
    pub(crate) algorithm: Algorithm,
    pem: String,
    encoding: EncodingKey,
    bare: Bare,
}

enum Bare {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl Slow {
    pub(crate) fn rs256() -> Result<Self> {
        let pem = key("rsa_pkcs1")?;
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
        let der = der.secret_der();
        let pair = RsaKeyPair::from_der(der).map_err(|error| anyhow!("{error}"))?;
        let encoding = EncodingKey::from_rsa_der(der);
        Ok(Self { algorithm: Algorithm::RS256, encoding, bare: Bare::Rsa(pair), pem })
    }

    pub(crate) fn es384() -> Result<Self> {
        let pem = key("p384_pkcs8")?;
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
        let der = der.secret_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der)
            .map_err(|error| anyhow!("{error}"))?;
        let encoding = EncodingKey::from_ec_der(der);
        Ok(Self { algorithm: Algorithm::ES384, encoding, bare: Bare::Ecdsa(pair), pem })
    }

    /// Tokens a second of the pool, with its threads on `on`.
    pub(crate) async fn by_pool(&self, on: &Cores, all: &Cores, time: Duration) -> Result<f64> {
        let call_signer = self.call_signer()?;
        let config = Config { threads: on.count(), queue: 1 };
        on.bind()?;
        let started = Pool::start(config, Clock::system(), Metrics::default().signing());
        all.of_clients().bind()?;
        let (pool, _threads) = started?;
        let start = Instant::now();
        let chunks = (0..CHUNKS).map(|_| async {
            let mut count = 0.0;
            while start.elapsed() < time {
                let call_signer = Arc::clone(&call_signer);
                let sign = move |_| call_signer.sign(IDENTITY, Serial::SELF_TEST).map(String::from);
                let signed = pool.sign(Lane::Chunk, CHUNK, None, sign).await;
                count += signed.map_err(|error| anyhow!("{error:?}"))?.len() as f64;
            }
            anyhow::Ok(count)
        });
        let count: f64 = try_join_all(chunks).await?.into_iter().sum();
        Ok(count / start.elapsed().as_secs_f64())
    }

    /// Signatures a second of bare key pairs, for a message of the same length.
    pub(crate) fn by_aws_lc(&self, on: &Cores, time: Duration) -> Result<f64> {
        let token = self.call_signer()?.sign(IDENTITY, Serial::SELF_TEST).map(String::from)?;
        let (message, _) = token.rsplit_once('.').context("no token")?;
        on_threads(on, time, || {
            let random = SystemRandom::new();
            match &self.bare {
                Bare::Rsa(pair) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)?;
                    black_box(signature);
                }
                Bare::Ecdsa(pair) => {
                    black_box(pair.sign(&random, message.as_bytes())?);
                }
            }
            Ok(())
        })
    }

    /// Tokens a second of `jsonwebtoken::encode`.
    pub(crate) fn by_jsonwebtoken(&self, on: &Cores, time: Duration) -> Result<f64> {
        let header = Header::new(self.algorithm);
        on_threads(on, time, || {
            black_box(jsonwebtoken::encode(&header, black_box(&CLAIMS), &self.encoding)?);
            Ok(())
        })
    }

    fn call_signer(&self) -> Result<Arc<dyn CallSigner>> {
        let mut header = Map::new();
        header.insert("typ".to_owned(), "JWT".into());
        header.insert("alg".to_owned(), format!("{:?}", self.algorithm).into());
        let mut table = Table::new(header);
        table.add(&["sub"], Value::Identity)?;
        table.add(&["iat"], Value::Time(Time::Issue { back: 0 }))?;
        table.add(&["exp"], Value::Time(Time::Expire))?;
        table.add(&["jti"], Value::Id(Id::Serial))?;
        let key = JwtKey::parse_private(&self.pem, self.algorithm)?;
        let signer = Signed::new(Ok(table), key).prepare(None, Clock::system().now())?;
        Ok(signer.at(Times { issue: CLAIMS.iat, expire: CLAIMS.exp }, &Call::NONE)?)
    }
}

const AGORA: &str = r#"
[profiles.viewer]
kind = "agora"
app_id = "022f71ff2bfd535fa74d8035bd7f2a82"
app_certificate_env = "CERTIFICATE"
allow_resources = ["*"]
params = { role = "subscriber" }
"#;

/// Complete Agora tokens a second on this thread.
pub(crate) fn agora(time: Duration) -> Result<f64> {
    let certificate = |_: &str| Some("5cfd2fd1755d40ecb72977518be15d3b".to_owned());
    let config = grantmint::config::Config::parse_with("agora", AGORA, &certificate)?;
    let profile = config.profiles.first().context("no profile")?;
    let signer = profile.token_format().prepare(None, Clock::system().now())?;
    let params = profile.tokens.parameters().for_call(&[]);
    let params = params.map_err(|_| anyhow!("a parameter is required"))?;
    let call = Call { resource: "lobby", params: &params };
    let times = Times { issue: CLAIMS.iat, expire: CLAIMS.exp };
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < time {
        for _ in 0..100 {
            // As each call does.
            let call_signer = signer.at(times, &call)?;
            black_box(String::from(call_signer.sign(black_box("42"), Serial::SELF_TEST)?));
        }
        count += 100.0;
    }
    Ok(count / start.elapsed().as_secs_f64())
}

/// How often a second `work` runs, with a thread on each of these cores.
fn on_threads(on: &Cores, time: Duration, work: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    let start = Instant::now();
    let count = thread::scope(|scope| {
        let threads = (0..on.count()).map(|_| {
            scope.spawn(|| {
                on.bind()?;
                let mut count = 0.0;
                while start.elapsed() < time {
                    work()?;
                    count += 1.0;
                }
                anyhow::Ok(count)
            })
        });
        let threads: Vec<_> = threads.collect();
        let counts = threads.into_iter().map(|it| it.join().map_err(|_| anyhow!("panicked"))?);
        counts.sum::<Result<f64>>()
    })?;
    Ok(count / start.elapsed().as_secs_f64())
}
