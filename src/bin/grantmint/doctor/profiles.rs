//! The profiles: their keys, the route to each upstream, one grant and one token.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use grantmint::{
    app::trial::{Budgets, Trial},
    config::{Config, Profile, Supply},
    egress::{Egress, Route},
    provider::Upstream,
    settings::shown,
    source::{Granted, SKEW_TOLERANCE_SECONDS, dns::Resolver},
};
use http::uri::Authority;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Context, fix,
    row::{Row, Subject},
};

/// The time limit of a name lookup, and of a connection to a proxy.
const PATIENCE: Duration = Duration::from_secs(5);

/// The key that accepts a secret too weak for its algorithm.
const ALLOW_WEAK: &str = "allow_weak_secret";

/// How many grants are requested: one for each profile with an upstream.
pub(super) fn requests(config: &Config) -> usize {
    config.profiles.iter().filter(|profile| profile.provider.upstream().is_some()).count()
}

fn subject(profile: &Profile, check: &str) -> Subject {
    Subject::new(format!("profile {}", profile.name), check)
}

/// The strength of each key, and a token of each profile that needs only a key.
pub(super) fn keys(context: &Context) -> Vec<Row> {
    let mut rows = Vec::new();
    for profile in &context.config.profiles {
        let is_weak = profile.provider.shown().contains(&(ALLOW_WEAK, Value::Bool(true)));
        let format = profile.token_format();
        rows.push(match format.algorithm() {
            _ if is_weak => subject(profile, "key").warning(
                format!("{ALLOW_WEAK} accepts a secret that is too weak"),
                format!("use a secret of at least 32 bytes, and remove {ALLOW_WEAK}"),
            ),
            Some(algorithm) => subject(profile, "key").ok(format!("strong enough for {algorithm}")),
            None => subject(profile, "key").ok("well formed"),
        });
        if let Supply::Key(_) = &profile.supply {
            let prepared = format.prepare(None, context.clock.now()).map(drop);
            rows.push(token(profile, prepared.map_err(|error| error.to_string())));
        }
    }
    rows
}

/// The row of a token that was signed and verified.
fn token(profile: &Profile, result: Result<(), String>) -> Row {
    let subject = subject(profile, "token");
    match (result, profile.token_format().algorithm()) {
        (Ok(()), Some(algorithm)) => subject.ok(format!("signed and verified with {algorithm}")),
        (Ok(()), None) => subject.ok("the credential is returned unchanged"),
        (Err(error), _) => subject.failed(error, "check the profile's key and claims"),
    }
}

/// Tries every upstream: its route, its name, a grant, and a token around it.
pub(super) async fn upstreams(context: &Context) -> Vec<Row> {
    let budgets = Budgets::new(&context.config.profiles, &context.clock);
    let profiles = context.config.profiles.iter();
    let trials = profiles.filter_map(|profile| {
        let upstream = profile.provider.upstream()?;
        Some(try_upstream(profile, upstream, &budgets, context))
    });
    join_all(trials).await.into_iter().flatten().collect()
}

async fn try_upstream(
    profile: &Profile,
    upstream: &dyn Upstream,
    budgets: &Budgets,
    context: &Context,
) -> Vec<Row> {
    let egress = match upstream.egress() {
        Ok(egress) => egress,
        Err(error) => {
            let fix = "correct the variable in the server's environment";
            return vec![subject(profile, "route").failed(error.to_string(), fix)];
        }
    };
    let mut rows = try_route(profile, &egress).await;
    let (name, is_reachable) = try_name(profile, &egress).await;
    rows.extend(name);
    if !is_reachable {
        rows.push(subject(profile, "grant").skipped("its upstream's name has no address"));
        return rows;
    }
    rows.extend(try_grant(profile, &egress, budgets, context).await);
    rows
}

/// The route, and variables of the environment that have no effect.
async fn try_route(profile: &Profile, egress: &Egress) -> Vec<Row> {
    let subject = |check| subject(profile, check);
    let mut rows = vec![subject("route").ok(egress.route.to_string())];
    rows.extend(egress.warnings.iter().map(|warning| {
        subject("environment").warning(warning.clone(), "correct or unset the variable")
    }));
    if let Some(proxy) = egress.route.proxy() {
        let address = proxy.uri().authority().map(Authority::as_str).unwrap_or_default();
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        let why = match connected {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no connection within {} s", PATIENCE.as_secs())),
        };
        rows.push(match why {
            None => subject("proxy").ok(format!("{proxy} accepts connections")),
            Some(why) => subject("proxy").failed_for_now(
                format!("{proxy}: {why}"),
                "check the proxy, and the setting that names it",
            ),
        });
    }
    rows
}

/// The row of the upstream's name, and whether it can be reached. A proxy looks names up itself.
async fn try_name(profile: &Profile, egress: &Egress) -> (Option<Row>, bool) {
    let host = egress.upstream.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() || matches!(egress.route, Route::Through { .. }) {
        return (None, true);
    }
    let subject = subject(profile, "name");
    let fix = "check the resolver, and the host in upstream";
    match timeout(PATIENCE, Resolver::system().resolve(host)).await {
        Ok(Ok(found)) => {
            let found: Vec<_> = found.iter().map(SocketAddr::ip).map(|ip| ip.to_string()).collect();
            (Some(subject.ok(format!("{host} is {}", found.join(", ")))), true)
        }
        Ok(Err(_)) => (Some(subject.failed_for_now(format!("{host} has no address"), fix)), false),
        Err(_) => {
            let detail = format!("{host}: no response within {} s", PATIENCE.as_secs());
            (Some(subject.failed_for_now(detail, fix)), false)
        }
    }
}

/// One grant, a token around it, and the upstream's clock.
async fn try_grant(
    profile: &Profile,
    egress: &Egress,
    budgets: &Budgets,
    context: &Context,
) -> Vec<Row> {
    let resource = profile.default_resource.as_ref();
    let resource = resource.or_else(|| profile.grants()?.resources.first());
    let trial = Trial::new(profile, egress, budgets, &context.clock);
    let (Some(resource), Some(trial)) = (resource, trial) else { return Vec::new() };
    let subject = |check| subject(profile, check);
    let mut rows = Vec::new();
    match trial.grant(resource).await {
        Ok(fetched) => {
            let life = match fetched.granted {
                Granted::Stated(ttl) => shown(ttl),
                Granted::Assumed(ttl) => format!("{}, as requested", shown(ttl)),
            };
            rows.push(subject("grant").ok(format!("received for {resource}; valid for {life}")));
            rows.push(token(profile, trial.token(fetched).map_err(|error| error.to_string())));
        }
        Err(error) => {
            let detail = format!("none received for {resource}: {error}");
            let fix = fix::of_fetch(&error);
            rows.push(if fix::may_pass(&error) {
                subject("grant").failed_for_now(detail, fix)
            } else {
                subject("grant").failed(detail, fix)
            });
            rows.push(subject("token").skipped("needs a grant"));
        }
    }
    rows.push(match trial.clock_skew() {
        None => subject("clock").skipped("no response of the upstream states its time"),
        Some(seconds) if seconds.abs() > SKEW_TOLERANCE_SECONDS => {
            let side = if seconds > 0.0 { "ahead of" } else { "behind" };
            let seconds = seconds.abs();
            subject("clock").warning(
                format!("the upstream's clock is {seconds:.0} s {side} this host's"),
                "synchronize this host's clock: check timedatectl or chronyc tracking",
            )
        }
        Some(_) => {
            subject("clock").ok(format!("within {SKEW_TOLERANCE_SECONDS:.0} s of the upstream's"))
        }
    });
    rows
}
