//! Slow signatures: the pool compared with bare signatures, calls next to a bulk of them, and
//! shared tokens.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use super::{Programs, Size, calls::Calls, latency::Latency};
use crate::{
    configuration::Configuration,
    load::{self, Target},
    process::Cores,
    report::{Goal, Report, ratios},
    signing::{self, Slow, key},
};

/// Concurrent bulks, so that the pool always has work, and the tokens of each.
const BULKS: usize = 3;
const TOKENS: u32 = 400;

/// The sandbox's own profile, and one of each algorithm.
const PROFILES: &str = r#"
default_profile = "demo"

[profiles.demo]
kind = "twilio-live"
account_sid = "AC0123456789abcdef0123456789abcdef"
api_key_sid = "SK0123456789abcdef0123456789abcdef"
api_key_secret_env = "API_KEY"
resources = ["VJ0123456789abcdef0123456789abcdef"]

[profiles.hs256]
kind = "jwt"
alg = "HS256"
key_env = "HMAC"
claims = { sub = { from = "identity" }, iat = { from = "now" }, exp = { from = "exp" }, jti = { from = "token_id" } }

[profiles.rs256]
kind = "jwt"
alg = "RS256"
private_key_env = "RSA"
claims = { sub = { from = "identity" }, iat = { from = "now" }, exp = { from = "exp" }, jti = { from = "token_id" } }

[profiles.es384]
kind = "jwt"
alg = "ES384"
private_key_env = "P384"
claims = { sub = { from = "identity" }, iat = { from = "now" }, exp = { from = "exp" }, jti = { from = "token_id" } }

[profiles.mux]
kind = "mux"
signing_key_id = "bench"
private_key_env = "RSA"
resources = ["bench"]
unique = false
"#;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let one = cores.of_server();
    let keys = [("RSA", key("rsa_pkcs1")?), ("P384", key("p384_pkcs8")?)];
    let configuration = Configuration::with(PROFILES.to_owned(), &keys)?;
    let on_one = programs.serve_configured(&configuration, &one, cores)?;
    let on_all = programs.serve_configured(&configuration, cores, cores)?;

    for (slow, profile) in [(Slow::rs256()?, "rs256"), (Slow::es384()?, "es384")] {
        let (mut pool, mut bare, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
        let mut bulk = Vec::new();
        for _ in 0..size.rounds {
            pool.push(slow.by_pool(&one, cores, size.unary).await?);
            bare.push(slow.by_aws_lc(&one, size.unary)?);
            encoded.push(slow.by_jsonwebtoken(&one, size.unary)?);
            let target = Target::of_profile(on_one.addr, profile);
            let bulks = (0..BULKS).map(|_| load::bulk(target.clone(), TOKENS));
            let longest = try_join_all(bulks).await?.into_iter().map(|it| it.seconds);
            bulk.push(BULKS as f64 * f64::from(TOKENS) / longest.fold(0.0, f64::max));
        }
        let algorithm = format!("{:?}", slow.algorithm);
        for (what, rates) in [
            ("in the pool", &pool),
            ("by aws-lc-rs alone", &bare),
            ("by jsonwebtoken", &encoded),
            ("in a bulk over gRPC", &bulk),
        ] {
            report.series(format!("{algorithm} {what}"), "a second", rates);
        }
        let figure = |name: &str| format!("{profile}_{name}");
        let vs = |ours: &[f64], theirs: &[f64]| ratios(ours, theirs);
        report.figure(figure("pool_vs_aws_lc"), Goal::AtLeast(0.95), &vs(&pool, &bare));
        report.figure(figure("bulk_vs_aws_lc"), Goal::AtLeast(0.9), &vs(&bulk, &bare));
        report.figure(figure("pool_vs_jsonwebtoken"), Goal::AtLeast(1.5), &vs(&pool, &encoded));
    }

    let many = Target::of_profile(on_all.addr, "rs256");
    for profile in ["hs256", "rs256"] {
        let (one, mut latency) = (Target::of_profile(on_all.addr, profile), Latency::default());
        for _ in 0..size.rounds {
            latency.measure_of(&one, &many, TOKENS, cores, size.unary).await?;
        }
        report.series(format!("{profile} p99 alone"), "µs", &latency.alone);
        report.series(format!("{profile} p99 next to a bulk of RS256"), "µs", &latency.with_bulk);
        let name = format!("{profile}_p99_beside_rs256_bulk_vs_alone");
        report.figure(name, Goal::AtMost(3.0), &latency.ratios());
    }

    let (mut shared, mut live) = (Calls::default(), Calls::default());
    for _ in 0..size.rounds {
        let target = Target::of_profile(on_one.addr, "mux");
        shared.measure_at(&on_one, target, size.unary).await?;
        live.measure(&on_one, size.unary).await?;
    }
    shared.report("shared mux", report);
    live.report("twilio-live", report);
    let ratios = ratios(&shared.rate, &live.rate);
    report.figure("shared_mux_calls_vs_twilio_live", Goal::AtLeast(0.9), &ratios);
    agora(&one, cores, size, report)
}

/// An Agora token in process, compared with Agora's own library in Node.
fn agora(on: &Cores, all: &Cores, size: Size, report: &mut Report) -> Result<()> {
    const FIGURE: &str = "agora_vs_agora_token_in_node";
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..size.peer_rounds {
        on.bind()?;
        let rates = signing::agora(size.peer).and_then(|rate| Ok((rate, in_node(size.peer)?)));
        all.of_clients().bind()?;
        match rates {
            Ok((rate, in_node)) => {
                ours.push(rate);
                theirs.push(in_node);
            }
            Err(error) => {
                report.skip(FIGURE.to_owned(), &error);
                return Ok(());
            }
        }
    }
    report.series("agora in process", "a second", &ours);
    report.series("agora-token in Node", "a second", &theirs);
    report.figure(FIGURE, Goal::AtLeast(10.0), &ratios(&ours, &theirs));
    Ok(())
}

fn in_node(time: Duration) -> Result<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new("node")
        .arg(root.join("benches/peers/agora/rate.js"))
        .arg(time.as_millis().to_string())
        .env("NODE_PATH", root.join("target/libraries/node/node_modules"))
        .output()
        .context("Node.js is needed")?;
    ensure!(ran.status.success(), "agora-token is needed: make library-tools");
    Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
}
