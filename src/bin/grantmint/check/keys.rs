//! The effective keys of a configuration, without secrets.

use std::path::Path;

use grantmint::{
    audit,
    config::{Config, Grants, Profile, Supply},
    listen::unix::Unix,
    name::{Pattern, Resource},
    otlp,
    refresh::schedule::Point,
    settings::shown,
    source::budget,
    tls,
};
use serde_json::{Value, json};

/// Keys with their values.
pub(super) type Keys = Vec<(&'static str, Value)>;

/// The keys of the top level and of every table except profiles, issuers and callers.
pub(super) fn sections(config: &Config) -> (Keys, Vec<(&'static str, Keys)>) {
    let Config { server, tls, admin, limits, default_profile, .. } = config;
    let default = default_profile.iter().map(|name| ("default_profile", json!(name.as_str())));
    let listen = server.listen.tcp().map(|listen| ("listen", json!(listen.to_string())));
    let unix = server.listen.unix().map(|unix| ("unix", unix_keys(unix)));
    let mut of_server: Keys = listen.into_iter().chain(unix).collect();
    of_server.extend([
        ("plaintext", json!(server.plaintext)),
        ("drain_delay", json!(shown(server.drain_delay))),
        ("drain_grace", json!(shown(server.drain_grace))),
        ("authorize", json!(config.authorize.as_str())),
    ]);
    let mut of_admin =
        vec![("listen", json!(admin.listen.to_string())), ("details", json!(admin.has_details()))];
    of_admin.extend(admin.names_key.iter().map(|_| ("names_key", json!("(set)"))));
    of_admin.push(("hosts", json!(admin.hosts)));
    let connections = &config.server.limits;
    let limits = vec![
        ("identities", json!(limits.mint.identities)),
        ("indices", json!(limits.mint.indices)),
        ("slow_indices", json!(limits.mint.slow_indices)),
        ("chunk_tokens", json!(limits.mint.chunk_tokens)),
        ("request_bytes", json!(limits.rpc.request_bytes)),
        ("bulk_request_bytes", json!(limits.rpc.bulk_request_bytes)),
        ("waiting_calls", json!(limits.mint.waiting_calls)),
        ("streaming_calls", json!(limits.rpc.streaming_calls)),
        ("connections", json!(connections.connections)),
        ("connections_per_caller", json!(connections.connections_per_caller)),
        ("streams_per_connection", json!(connections.streams_per_connection)),
        ("handshakes", json!(connections.handshakes)),
        ("stall", json!(shown(connections.stall))),
        ("connection_age", json!(shown(connections.connection_age))),
    ];
    let tls = tls.iter().map(|loaded| ("server.tls", tls_keys(&loaded.config)));
    let mut sections = vec![("server", of_server)];
    sections.extend(tls);
    let signing =
        vec![("threads", json!(config.signing.threads)), ("queue", json!(config.signing.queue))];
    sections.push(("admin", of_admin));
    sections.extend(config.audit.iter().map(|audit| ("audit", audit_keys(audit))));
    sections.extend([("limits", limits), ("signing", signing)]);
    sections.extend(config.traces.iter().map(|traces| ("telemetry", trace_keys(traces))));
    let filter = config.log_filter.iter();
    sections.extend(filter.map(|it| ("log", vec![("filter", json!(it.to_string()))])));
    (default.collect(), sections)
}

fn unix_keys(unix: &Unix) -> Value {
    let mut keys = json!({
        "path": unix.path.as_path().display().to_string(),
        "mode": unix.mode.to_string(),
    });
    if let Some(group) = &unix.group {
        keys["group"] = json!(group.to_string());
    }
    keys
}

fn trace_keys(traces: &otlp::Config) -> Keys {
    let mut keys = vec![
        ("otlp_endpoint", json!(traces.endpoint.to_string())),
        ("sample", json!(traces.sample.share())),
    ];
    keys.extend(traces.ca.iter().map(|file| ("otlp_ca", json!(file.display().to_string()))));
    keys
}

fn audit_keys(audit: &audit::Config) -> Keys {
    let mut keys = vec![
        ("file", json!(audit.target.to_string())),
        ("identities", json!(audit.identities.as_str())),
        ("when_full", json!(audit.when_full.as_str())),
    ];
    let origin = audit.key_origin.iter().map(|origin| format!("(set, {origin})"));
    keys.extend(origin.map(|origin| ("identity_key", json!(origin))));
    keys
}

fn tls_keys(tls: &tls::Config) -> Keys {
    let path = |path: &Path| json!(path.display().to_string());
    let mut keys = match &tls.certificate {
        tls::Certificate::Files(pair) => vec![("cert", path(&pair.cert)), ("key", path(&pair.key))],
        tls::Certificate::WorkloadApi(config) => {
            let mut keys = vec![("workload_api", json!(config.address.to_string()))];
            keys.extend(config.spiffe_id.iter().map(|id| ("spiffe_id", json!(id.as_str()))));
            keys
        }
    };
    keys.extend(tls.authorities.client_ca.iter().map(|file| ("client_ca", path(file))));
    if let Some(file) = &tls.authorities.client_crl {
        keys.push(("client_crl", path(file)));
        keys.push(("client_crl_expired", json!(tls.authorities.crl_expired.as_str())));
    }
    if !tls.authorities.trust_domains.is_empty() {
        let bundles = tls.authorities.trust_domains.iter().map(|(domain, origin)| {
            let origin = match origin {
                tls::BundleOrigin::File(file) => path(file),
                tls::BundleOrigin::WorkloadApi => json!("workload-api"),
            };
            (domain.clone(), origin)
        });
        keys.push(("trust_domains", Value::Object(bundles.collect())));
    }
    keys.push(("client_auth", json!(tls.client_auth.as_str())));
    keys.push(("min_version", json!(tls.min_version.as_str())));
    keys
}

pub(super) fn profile_keys(profile: &Profile) -> Keys {
    let resources: Vec<_> = profile.supply.listed().iter().map(Resource::as_str).collect();
    let mut keys = vec![("kind", json!(profile.kind))];
    keys.extend(profile.provider.shown());
    keys.extend(profile.shown_tokens());
    keys.push(("resources", json!(resources)));
    if let Some(resource) = &profile.default_resource {
        keys.push(("default_resource", json!(resource.as_str())));
    }
    let margin = ("margin", json!(shown(profile.margin)));
    let token_ttl = ("token_ttl", json!(shown(profile.token_ttl)));
    match &profile.supply {
        Supply::Grants(grants, expiry) => {
            keys.extend(schedule_keys(grants));
            keys.extend([margin, token_ttl]);
            keys.push(("expiry_policy", json!(expiry.policy.as_str())));
            keys.push(("allow_independent", json!(expiry.allow_independent)));
            keys.push(budget_key(grants));
        }
        Supply::Forwarded(grants) => {
            keys.push(("shareable", json!(true)));
            keys.extend(schedule_keys(grants));
            keys.extend([margin, budget_key(grants)]);
        }
        Supply::Key(allowed) => {
            let patterns: Vec<_> = allowed.patterns.iter().map(Pattern::as_str).collect();
            keys.push(("allow_resources", json!(patterns)));
            keys.extend([margin, token_ttl]);
            keys.push(("max_ttl", json!(shown(profile.max_token_ttl))));
        }
    }
    keys
}

/// The lifetime of grants and the point of refresh, if known.
fn schedule_keys(grants: &Grants) -> Keys {
    let policy = &grants.policy;
    let mut keys = Vec::new();
    if let (Some(grant_ttl), Some(point)) = (policy.grant_ttl(), policy.usual_point()) {
        keys.push(("grant_ttl", json!(shown(grant_ttl))));
        keys.push(("refresh_after", json!(shown(point))));
        return keys;
    }
    match policy.point {
        Point::Share(_) => {}
        Point::After(after) => keys.push(("refresh_after", json!(shown(after)))),
        Point::Promise(promise) => keys.push(("promise", json!(shown(promise)))),
    }
    keys
}

fn budget_key(grants: &Grants) -> (&'static str, Value) {
    let budget::Limits { rate, burst, concurrent } = grants.budget;
    ("budget", json!({"rate": rate, "burst": burst, "concurrent": concurrent}))
}
