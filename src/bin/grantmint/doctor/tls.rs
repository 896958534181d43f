//! The server's certificate, its trusted authorities, and the Workload API.

use std::{sync::Arc, time::Duration};

use grantmint::{
    clock::WallTime,
    telemetry::Metrics,
    tls::{Certificate, LoadedIdentity, Remaining, Tls, Validity, WhenExpired, WorkloadApi},
};
use tokio::time::timeout;

use super::{
    Context, fix,
    row::{Row, Subject},
};

const GROUP: &str = "tls";

/// How long to wait for the first SVID.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows the certificate's names and chain, and when certificates and lists expire.
pub(super) fn certificates(context: &Context) -> Vec<Row> {
    let Some(loaded) = &context.config.tls else { return Vec::new() };
    let mut rows = Vec::new();
    if let LoadedIdentity::Files(identity, _) = &loaded.identity {
        let names = identity.names().join(", ");
        rows.push(Subject::new(GROUP, "certificate").ok(format!("matches its key; for {names}")));
        let chain = Subject::new(GROUP, "chain");
        rows.push(match identity.misplaced() {
            None => chain.ok(format!("in order, issued by {}", identity.issuer())),
            Some(number) => chain.warning(
                format!("certificate {number} was not issued by the next one"),
                "write the server's certificate first, then each issuer after the one it issued",
            ),
        });
    }
    let warn = |warning: &String| {
        Subject::new(GROUP, "warning").warning(warning.clone(), fix::of_message(warning))
    };
    rows.extend(loaded.warnings.iter().map(warn));
    let tls = Tls::new(loaded, context.clock.clone(), &Metrics::default(), None);
    let when_expired = loaded.config.authorities.crl_expired;
    let now = context.clock.now().wall;
    let expiry = |(what, validity)| expiry(what, validity, when_expired, now);
    rows.extend(tls.validities().into_iter().map(expiry));
    rows
}

/// The row of what expires.
fn expiry(what: String, validity: Validity, when_expired: WhenExpired, now: WallTime) -> Row {
    let remaining = Remaining::of(validity, now);
    let Some(end) = validity.end else { return Subject::new(GROUP, what).ok("does not expire") };
    let left = humantime::format_duration(rounded(end.since(now)));
    let is_list = what == "crl";
    let subject = Subject::new(GROUP, what);
    match remaining {
        _ if validity.start > now => subject
            .failed("is not valid yet", "set this host's clock, or issue the certificate again"),
        Remaining::None if is_list && when_expired == WhenExpired::Keep => subject.warning(
            "is past its next update; it stays in effect",
            "fetch the current revocation list into client_crl",
        ),
        Remaining::None if is_list => subject.failed(
            "is past its next update; its CA's certificates are refused",
            "fetch the current revocation list into client_crl",
        ),
        Remaining::None => subject.failed(
            "has expired",
            "renew it and write it to the file; a running server reloads it",
        ),
        Remaining::Third | Remaining::Tenth if !is_list => {
            subject.warning(format!("expires in {left}"), "renew it before it expires")
        }
        _ => subject.ok(format!("expires in {left}")),
    }
}

/// Two units of a duration are enough.
fn rounded(left: Duration) -> Duration {
    let unit = match left.as_secs() {
        ..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    Duration::from_secs(left.as_secs() / unit * unit)
}

/// Receives one SVID.
pub(super) async fn workload_api(context: &Context) -> Vec<Row> {
    let Some(loaded) = &context.config.tls else { return Vec::new() };
    let Certificate::WorkloadApi(config) = &loaded.config.certificate else { return Vec::new() };
    let subject = Subject::new(GROUP, "Workload API");
    let metrics = Metrics::default();
    let tls = Arc::new(Tls::new(loaded, context.clock.clone(), &metrics, None));
    let metrics = metrics.reload("workload_api");
    let api = WorkloadApi::new(config.clone(), tls, context.clock.clone(), metrics, None);
    let row = match timeout(PATIENCE, api.receive_once()).await {
        Ok(Ok(id)) => subject.ok(format!("sends the SVID {}", id.as_str())),
        Ok(Err(why)) => subject.failed_for_now(
            format!("{}: {why}", config.address),
            "start the agent, mount its socket, and register this workload",
        ),
        Err(_) => subject.failed_for_now(
            format!("{}: no SVID within {} s", config.address, PATIENCE.as_secs()),
            "check the agent's log, and that this workload is registered",
        ),
    };
    vec![row]
}
