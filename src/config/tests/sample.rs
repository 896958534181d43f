//! The sample file is complete and valid.

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use super::*;
use crate::refresh::schedule::Point;

const SAMPLE: &str = include_str!("../../../grantmint.toml");

/// The keys of a row of `allow`, which the sample lists in a comment.
const ROW: [&str; 6] = ["methods", "profiles", "resources", "identities", "params", "max_ttl"];

fn sample() -> String {
    SAMPLE.replace(
        "api_key_secret_file = \"/run/secrets/twilio\"",
        "api_key_secret_env = \"API_SECRET\"",
    )
}

/// The sample, with the lines that start like this uncommented.
fn uncommented(start: &str) -> String {
    let lines = sample();
    let lines = lines.lines().map(|line| match line.strip_prefix(start) {
        Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            key
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn commented_keys_are_the_defaults() {
    let (plain, written) = (sample(), uncommented("#"));
    assert!(written.lines().filter(|line| line.contains(" = ")).count() > 20);
    let (mut plain, mut written) = (parse(&plain).unwrap(), parse(&written).unwrap());
    // The default point is a share of the lifetime; the sample writes it as a duration.
    let point = |config: &mut Config| match &mut config.profiles[0].supply {
        Supply::Grants(grants, _) => {
            let point = grants.policy.usual_point();
            grants.policy.point = Point::Share(1.0);
            point
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(point(&mut plain), point(&mut written));
    // The sample's share of traces has no effect without its endpoint, which has no default.
    written.warnings.retain(|warning| !warning.message.starts_with("telemetry."));
    assert_eq!(format!("{plain:?}"), format!("{written:?}"));
}

#[test]
fn examples_are_valid() {
    let examples = uncommented("#     ")
        .replace("\napi_key_secret_env = \"TWILIO_API_SECRET\"", "")
        .replace("\napi_key_sid_file = \"/run/secrets/twilio-sid\"", "")
        .replace("\njwks_file = \"/etc/grantmint/jwks.json\"", "")
        .replace("\nnames_key_file = \"/run/secrets/names\"", "")
        // The group may not exist on this machine.
        .replace("group = \"media\"", "group = \"1044\"")
        .replace("NAMES_KEY", "API_SECRET")
        .replace("\nidentity_key_file = \"/run/secrets/audit-key\"", "")
        .replace("AUDIT_KEY", "API_SECRET");
    let files = tls_files();
    let examples = examples.replace("/run/tls", files.path().to_str().unwrap());
    // A certificate comes either from files or from the Workload API.
    let without = |start: [&str; 2]| {
        let kept = examples.lines().filter(|line| !start.iter().any(|it| line.starts_with(it)));
        parse(&kept.collect::<Vec<_>>().join("\n")).unwrap()
    };
    assert!(without(["cert = ", "key = "]).tls.unwrap().awaits_certificate());
    let config = without(["workload_api = ", "spiffe_id = "]);
    let tls = &config.tls.unwrap().config;
    assert!(
        tls.authorities.client_crl.is_some()
            && tls.authorities.trust_domains.contains_key("prod.example.org")
    );
    let defaults = (tls.client_auth, tls.min_version, tls.authorities.crl_expired);
    let expected = (tls::ClientAuth::Required, tls::MinVersion::Tls13, tls::WhenExpired::Keep);
    assert_eq!(defaults, expected);
    let live = &config.profiles[0];
    assert_eq!(live.grants().unwrap().policy.usual_point(), Some(Duration::from_secs(34)));
    let shown = live.provider.shown().into_iter().chain(live.shown_tokens());
    let shown: Vec<_> = shown.map(|(key, _)| key).collect();
    for key in ["allow_origin", "region", "nbf_backdate", "grants"] {
        assert!(shown.contains(&key), "{key}");
    }
}

/// The TLS files that the sample names.
fn tls_files() -> TempDir {
    let pem = |label: &str, der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["mint.example.org".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(4026, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::from_params(&params, &key)).unwrap();
    let directory = TempDir::new().unwrap();
    for (file, text) in [
        ("tls.crt", certificate.clone()),
        ("tls.key", pem("PRIVATE KEY", key.serialized_der())),
        ("ca.crt", certificate.clone()),
        ("ca.crl", pem("X509 CRL", list.der())),
        ("bundle.pem", certificate),
    ] {
        std::fs::write(directory.path().join(file), text).unwrap();
    }
    directory
}

#[test]
fn sample_has_every_key() {
    // An error about an unknown key lists all known keys.
    const UNLIKE: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1\n";
    let text = format!(
        "{UNLIKE}[server]\n{UNLIKE}[server.unix]\n{UNLIKE}[server.tls]\n{UNLIKE}[admin]\n{UNLIKE}[audit]\nfile = \"f\"\n{UNLIKE}[limits]\n{UNLIKE}{LIVE}{UNLIKE}\
         [profiles.live.budget]\n{UNLIKE}[issuers.a]\nkind = \"kubernetes\"\n{UNLIKE}\
         [issuers.b]\nkind = \"jwt\"\n{UNLIKE}[callers.a]\n{UNLIKE}match = [\"loopback\"]\n\
         allow = [{{ profiles = [\"live\"], {} }}]\n",
        UNLIKE.trim_end()
    );
    let problems = parse(&text).unwrap_err();
    let unknown = problems.list().iter().filter_map(|it| it.message.split_once("expected one of "));
    let unknown: Vec<_> = unknown.collect();
    assert_eq!(unknown.len(), 13);
    for (_, known) in unknown {
        for key in known.split(", ") {
            let written = format!("{key} = ");
            if ROW.contains(&key) {
                assert!(SAMPLE.contains(&format!("{key},")) || SAMPLE.contains(&format!("{key}.")));
                continue;
            }
            let table = [
                format!("\n[{key}"),
                format!(" [{key}]\n"),
                format!(" [{key}."),
                format!(".{key}."),
                format!(".{key}]\n"),
            ];
            let there =
                SAMPLE.contains(&written) || table.iter().any(|table| SAMPLE.contains(table));
            assert!(there, "{key} is not in the sample");
        }
    }
}
