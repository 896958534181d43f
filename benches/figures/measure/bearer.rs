//! The cost of a bearer token in each call, compared with a caller that is known by its
//! certificate.

use std::fs;

use anyhow::Result;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Programs, Size, calls::Calls};
use crate::{
    load::{Connection, Target},
    process::Cores,
    report::{Goal, Report, ratios},
    secure::Secure,
};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const SUBJECT: &str = "system:serviceaccount:media:api";
const KEY_ID: &str = "1";

/// Tokens that the server has not seen, to measure verification.
const UNSEEN: u32 = 1_000;

/// An issuer and its key.
struct Issuer {
    dir: TempDir,
    key: KeyPair,
}

impl Issuer {
    fn new() -> Result<Self> {
        let (dir, key) = (TempDir::new()?, KeyPair::generate()?);
        // An uncompressed point: one byte, and two coordinates of P-256.
        let coordinates = key.public_key_raw().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "kid": KEY_ID, "x": encode(x), "y": encode(y)});
        fs::write(dir.path().join("jwks.json"), json!({"keys": [jwk]}).to_string())?;
        Ok(Self { dir, key })
    }

    /// The part of a configuration for a caller of this issuer.
    fn caller(&self) -> String {
        format!(
            "[issuers.cluster]\nkind = \"jwt\"\nissuer = \"{ISSUER}\"\naudience = \"grantmint\"\n\
             jwks_file = \"{}\"\n[limits]\nconnections_per_caller = 1024\n\
             [callers.bench]\nmatch = [\"cluster:{SUBJECT}\"]\n\
             tokens = {{ rate = 10000000, burst = 10000000 }}\n\
             allow = [{{ profiles = [\"demo\"], identities = [\"viewer-*\"], max_ttl = \"10m\" }}]\n",
            self.dir.path().join("jwks.json").display()
        )
    }

    /// A token as a cluster issues it to a pod.
    fn token(&self, id: u32) -> Result<String> {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "aud": ["grantmint"],
            "exp": now + 3_600,
            "iat": now,
            "iss": ISSUER,
            "jti": format!("0f3c2a4e-6d1b-4c55-9a4e-{id:012}"),
            "kubernetes.io": {
                "namespace": "media",
                "node": {"name": "worker-17", "uid": "5d2f6a1e-9a0c-4b60-8a55-2f8b1f9f7c11"},
                "pod": {"name": "api-7c9f6d5b8-x2x7q", "uid": "a3a1d9a4-3f0c-4a52-bb0b-7f2c9e1d6f42"},
                "serviceaccount": {"name": "api", "uid": "e7b1c2d3-4f5a-4b6c-8d7e-9f0a1b2c3d4e"}
            },
            "nbf": now,
            "sub": SUBJECT,
        });
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    }
}

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (secure, issuer) = (Secure::new()?, Issuer::new()?);
    let (stranger, caller) = (secure.stranger()?, secure.caller()?);
    let certificates = programs.serve_demo(&secure.known_caller("demo"), cores)?;
    let tokens = programs.serve_demo(&(secure.tls() + &issuer.caller()), cores)?;
    let token = issuer.token(0)?;
    let by_certificate = || Target::over_tls(certificates.addr, &caller);
    let by_token = |token: &str| Target::over_tls(tokens.addr, &stranger).bearing(token);

    let (mut by_certificate_calls, mut by_token_calls) = (Calls::default(), Calls::default());
    for _ in 0..size.rounds {
        by_certificate_calls.measure_at(&certificates, by_certificate(), size.unary).await?;
        by_token_calls.measure_at(&tokens, by_token(&token)?, size.unary).await?;
    }
    by_certificate_calls.report("known by certificate:", report);
    by_token_calls.report("known by token:", report);
    report.series("length of the token", "bytes", &[f64::from(u32::try_from(token.len())?)]);
    let shares = ratios(&by_token_calls.rate, &by_certificate_calls.rate);
    report.figure("bearer_calls_vs_mtls", Goal::AtLeast(0.8), &shares);

    // All on one connection, to exclude handshakes.
    let connection = Connection::open(by_token(&token)?).await?;
    let (before, start) = (tokens.cpu_seconds()?, Instant::now());
    for id in 1..=UNSEEN {
        connection.bearing(&issuer.token(id)?)?.mint().await?;
    }
    let each = (tokens.cpu_seconds()? - before) / f64::from(UNSEEN) * 1e6;
    report.series("server CPU of a call with a token not seen before", "µs", &[each]);
    report.series(
        "calls with a token not seen before, sequential",
        "a second",
        &[f64::from(UNSEEN) / start.elapsed().as_secs_f64()],
    );
    Ok(())
}
