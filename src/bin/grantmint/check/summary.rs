//! What a valid configuration guarantees, its warnings, and the result in the last line.

use std::io::{self, Write};

use grantmint::{
    config::{Profile, Supply},
    egress::Egress,
    refresh::schedule::{Point, Policy},
    settings::{Problem, shown},
    tls,
};

use super::{Checked, Part, callers, issuers, rates::Rate};

/// Writes the summary. `next` is what to do next.
pub(super) fn write(out: &mut impl Write, checked: &Checked, next: &str) -> io::Result<()> {
    for Part { title, lines } in parts(checked) {
        writeln!(out, "{title}")?;
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        writeln!(out)?;
    }
    let warnings = warnings(checked);
    warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
    let profiles = match checked.config.profiles.len() {
        1 => "one profile".to_owned(),
        more => format!("{more} profiles"),
    };
    let count = match warnings.len() {
        0 => "no warnings".to_owned(),
        1 => "one warning".to_owned(),
        more => format!("{more} warnings"),
    };
    let file = &checked.file;
    writeln!(out, "{file} is valid: {profiles}, {count}{next}")
}

fn parts(checked: &Checked) -> Vec<Part> {
    let mut parts: Vec<_> = checked
        .profiles()
        .map(|(profile, egress)| Part {
            title: format!("profile {} ({})", profile.name, profile.kind),
            lines: profile_lines(checked, profile, egress),
        })
        .collect();
    if checked.config.tls.iter().any(tls::Loaded::awaits_certificate) {
        parts.push(Part {
            title: "server.tls".to_owned(),
            lines: AWAITED.map(str::to_owned).into(),
        });
    }
    parts.extend(issuers::parts(&checked.config));
    parts.extend(callers::parts(&checked.config));
    parts
}

fn warnings(checked: &Checked) -> Vec<String> {
    let file = &checked.file;
    let settings = checked.config.warnings.iter().map(|Problem { line, message, .. }| match line {
        Some(line) => format!("{file}:{line}: {message}"),
        None => format!("{file}: {message}"),
    });
    let of_tls = checked.config.tls.iter().flat_map(|loaded| &loaded.warnings);
    let of_tls = of_tls.map(|warning| format!("server.tls: {warning}"));
    let egress = checked.profiles().flat_map(|(profile, egress)| {
        let warnings = egress.into_iter().flat_map(|egress| &egress.warnings);
        warnings.map(|warning| format!("profile {}: {warning}", profile.name))
    });
    settings.chain(of_tls).chain(egress).collect()
}

/// The note on a certificate from the Workload API.
const AWAITED: [&str; 2] = [
    "the certificate and the bundle come from the Workload API, which check does not call",
    "/readyz of the running server shows whether they were received",
];

/// The note on shared credentials.
const SHARED: [&str; 2] = [
    "one credential is shared unchanged by all callers of a resource; it cannot tell them apart",
    "no single caller can be revoked before the credential expires",
];

fn profile_lines(checked: &Checked, profile: &Profile, egress: Option<&Egress>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(egress) = egress {
        lines.push(format!("from this host the upstream is reached {}", egress.route));
        let roots = egress.roots.as_ref();
        lines.extend(roots.map(|roots| format!("its certificate is verified with {roots}")));
    }
    lines.extend(guarantees(profile));
    let rate = Rate::of(profile, &checked.config);
    lines.extend(rate.into_iter().flat_map(|rate| rate.lines(profile)));
    lines.extend(profile.provider.notes());
    lines
}

/// What a profile guarantees while its upstream is healthy.
fn guarantees(profile: &Profile) -> Vec<String> {
    let least = profile.shortest_validity().map(shown);
    let Some(grants) = profile.grants() else {
        let least = least.unwrap_or_default();
        return vec![
            "tokens are signed with the key alone, without an upstream or grants".to_owned(),
            format!("shortest validity issued: {least}"),
        ];
    };
    let mut lines = Vec::new();
    if let Supply::Forwarded(_) = profile.supply {
        lines.extend(SHARED.map(str::to_owned));
    }
    let policy = &grants.policy;
    let (Some(grant_ttl), Some(point), Some(least), Some(requests), Some(capacity)) = (
        policy.grant_ttl(),
        policy.usual_point(),
        least,
        policy.requests_per_minute(),
        grants.capacity(),
    ) else {
        lines.extend(unknown_lifetime(policy));
        return lines;
    };
    let (grant_ttl, refresh_after) = (shown(grant_ttl), shown(point));
    let resources = grants.resources.len();
    lines.extend([
        format!("a grant of {grant_ttl} is refreshed after at most {refresh_after}"),
        format!("shortest validity issued while the upstream is healthy: {least}"),
        format!("upstream requests a minute: {requests:.1} for each of {resources} resource(s)"),
        format!("the account's budget can refresh {capacity} resources"),
    ]);
    lines
}

/// The schedule of grants whose lifetime only the responses state.
fn unknown_lifetime(policy: &Policy) -> [String; 2] {
    let schedule = match policy.point {
        Point::Share(share) => {
            let percent = share * 100.0;
            format!("a grant is refreshed after at most {percent:.0} % of its lifetime")
        }
        Point::After(after) => format!("a grant is refreshed after at most {}", shown(after)),
        Point::Promise(promise) => {
            let promise = shown(promise);
            format!("shortest validity issued: {promise}, if the grant's lifetime allows it")
        }
    };
    let depends = "the shortest validity and the upstream requests a minute depend on the lifetime \
                   that the upstream grants";
    [schedule, depends.to_owned()]
}
