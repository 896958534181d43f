//! Profiles and environments, with the resulting routes and roots.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;

/// Part of values that must not be repeated.
const PASSWORD: &str = "q1W2e3R4";

fn route_to(upstream: &str, setting: &str, env: &[(&str, &str)]) -> Result<Route, EgressError> {
    let setting = ProxySetting::parse(setting).unwrap();
    let env = |name: &str| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Route::of(&upstream.parse().unwrap(), &setting, &env)
}

fn described(upstream: &str, setting: &str, env: &[(&str, &str)]) -> String {
    match route_to(upstream, setting, env) {
        Ok(route) => route.to_string(),
        Err(error) => error.to_string(),
    }
}

const HTTPS: &str = "https://media.example";

#[test]
fn first_non_empty_variable_sets_the_proxy() {
    let through = |variable| format!("through the proxy http://p:3128, set by {variable}");
    for variable in PROXY {
        let env = [(variable, "http://p:3128")];
        assert_eq!(described(HTTPS, "environment", &env), through(variable));
    }
    let env = [("HTTPS_PROXY", " "), ("https_proxy", "p:3128/"), ("ALL_PROXY", "http://q:1")];
    assert_eq!(described(HTTPS, "environment", &env), through("https_proxy"));
    assert_eq!(described(HTTPS, "none", &env), "directly: proxy disabled by the profile");
    assert_eq!(described(HTTPS, "HTTP://Q", &env), "through the proxy http://q:80, set by proxy");
    assert_eq!(
        described("http://127.0.0.1:8765", "environment", &env),
        "directly: plain http on this machine"
    );
    for env in [vec![], vec![("HTTP_PROXY", "http://p:3128")], vec![("HTTPS_PROXY", "")]] {
        assert_eq!(described(HTTPS, "environment", &env), "directly: no proxy is configured");
    }
}

#[test]
fn no_proxy_exempts_names_addresses_and_networks() {
    let cases = [
        ("*", HTTPS, true),
        ("*", "https://10.1.2.3", true),
        ("a.example, media.example", HTTPS, true),
        ("a.example media.example", HTTPS, true),
        ("MEDIA.example", HTTPS, true),
        ("example", HTTPS, true),
        (".example", HTTPS, true),
        ("*.example", HTTPS, true),
        ("edia.example", HTTPS, false),
        ("a.media.example", HTTPS, false),
        ("media.example:443", HTTPS, true),
        ("media.example:8443", HTTPS, false),
        ("media.example:8443", "https://media.example:8443", true),
        ("10.1.2.3", "https://10.1.2.3:8443", true),
        ("10.1.0.0/16", "https://10.1.2.3", true),
        ("10.2.0.0/16", "https://10.1.2.3", false),
        ("10.1.2.3:8443", "https://10.1.2.3:8443", true),
        ("::1", "https://[::1]:8443", true),
        ("[::1]", "https://[::1]:8443", true),
        ("[::1]:8443", "https://[::1]:8443", true),
        ("[::1]:8444", "https://[::1]:8443", false),
        ("fd00::/8", "https://[fd00::7]", true),
        (",, ,", HTTPS, false),
    ];
    for (list, upstream, exempt) in cases {
        for variable in NO_PROXY {
            let env = [("HTTPS_PROXY", "http://p:1"), (variable, list)];
            let route = route_to(upstream, "environment", &env).unwrap();
            let direct = matches!(route, Route::Direct(DirectReason::Exempt(by)) if by == variable);
            assert_eq!(direct, exempt, "{list:?} {upstream}");
        }
    }
    // For an exempt host, the proxy need not be valid.
    let env = [("HTTPS_PROXY", "socks5://p:1"), ("NO_PROXY", "media.example")];
    assert_eq!(described(HTTPS, "environment", &env), "directly: NO_PROXY exempts it");
}

#[test]
fn ineffective_no_proxy_entry_is_reported_by_position() {
    for list in ["*", "a.example,.b,*.c:443", "10.0.0.0/8 fd00::/8", "[::1]:443,::1,localhost"] {
        assert_eq!(proxy::ineffective_entry(list), None, "{list}");
    }
    for entry in ["http://a.example", "10.0.0.0/33", "10.*", "*example", "\"b\"", "b;c", "a/b"] {
        assert_eq!(proxy::ineffective_entry(&format!("a, {entry}")), Some(2), "{entry}");
    }
    let env = |name: &str| match name {
        "HTTPS_PROXY" => Some("http://p:3128".to_owned()),
        "no_proxy" => Some(format!("http://u:{PASSWORD}@p")),
        _ => None,
    };
    let upstream = Uri::from_static(HTTPS);
    let egress = Egress::by(&upstream, &ProxySetting::Environment, None, &env).unwrap();
    let warning = "no_proxy: entry 1 is ignored: it is not a name, address or network";
    assert_eq!(egress.warnings, [warning]);
}

#[test]
fn invalid_proxy_is_refused_without_an_echo() {
    let cases = [
        (format!("http://{PASSWORD}"), None),
        (format!("http://u:{PASSWORD}@p:3128"), None),
        (format!("u:{PASSWORD}@p:3128"), None),
        (format!("https://u:{PASSWORD}@[::1]"), None),
        (format!("\"http://u:{PASSWORD}@p:3128\""), Some(ProxyError::Quoted)),
        (format!("socks5h://u:{PASSWORD}@p:1080"), Some(ProxyError::Socks)),
        (format!("SOCKS4://{PASSWORD}:1080"), Some(ProxyError::Socks)),
        (format!("ftp://u:{PASSWORD}@p"), Some(ProxyError::Scheme)),
        (format!("http://p:{PASSWORD}"), Some(ProxyError::NotAUrl)),
        (format!("http://p:3128/{PASSWORD}"), Some(ProxyError::NotAUrl)),
        (format!("http://p:3128?{PASSWORD}"), Some(ProxyError::NotAUrl)),
        (format!("http://u:{PASSWORD}@x@p:3128"), Some(ProxyError::NotAUrl)),
        (format!("http://u:{PASSWORD}/x@p:3128"), Some(ProxyError::NotAUrl)),
        (format!("http://u:{PASSWORD}#x@p:3128"), Some(ProxyError::NotAUrl)),
        (format!("http:{PASSWORD}"), Some(ProxyError::NotAUrl)),
        (format!("http://u:{PASSWORD}@:3128"), Some(ProxyError::NotAUrl)),
        (format!("http://u:{PASSWORD}@p:"), Some(ProxyError::NotAUrl)),
        (format!("http://u:{PASSWORD}@p:99999"), Some(ProxyError::NotAUrl)),
        (format!("{PASSWORD} \n x"), Some(ProxyError::NotAUrl)),
        ("http://".into(), Some(ProxyError::NotAUrl)),
    ];
    for (text, refused) in cases {
        let parsed = Proxy::parse(&text);
        assert_eq!(parsed.as_ref().err(), refused.as_ref(), "{text}");
        if !text.ends_with(&format!("//{PASSWORD}")) {
            let printed = parsed.map_or_else(
                |error| format!("{error} {error:?}"),
                |proxy| format!("{proxy} {proxy:?} {:?}", proxy.authorization()),
            );
            assert!(!printed.contains(PASSWORD), "{printed}");
            let env = [("HTTPS_PROXY", text.as_str())];
            let route = format!(
                "{:?} {}",
                route_to(HTTPS, "environment", &env),
                described(HTTPS, "environment", &env)
            );
            assert!(!route.contains(PASSWORD), "{route}");
            assert!(route.contains("HTTPS_PROXY"), "{route}");
        }
    }
}

#[test]
fn proxy_credential_is_decoded_and_never_in_the_file() {
    let proxy = Proxy::parse("http://us%40r:p%3A%2F%20w@p:3128").unwrap();
    let basic = format!("Basic {}", BASE64_STANDARD.encode("us@r:p:/ w"));
    assert_eq!(proxy.authorization().unwrap(), basic.as_str());
    assert_eq!(proxy.to_string(), "http://p:3128");
    let refused = ProxySetting::parse(&format!("http://u:{PASSWORD}@p:3128")).unwrap_err();
    assert_eq!(refused, ProxyError::Credential);
    let own = ProxySetting::parse("p:3128").unwrap();
    assert_eq!(own.check(&Uri::from_static("http://[::1]")), Err(ProxyError::PlainHttp));
    assert_eq!(own.check(&Uri::from_static(HTTPS)), Ok(()));
}

fn root(name: &str) -> String {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let base64 = BASE64_STANDARD.encode(root.der());
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// The roots and the problems, or the error, as text.
fn roots(env: &[(&str, &Path)]) -> String {
    let env = |name: &str| {
        let known = env.iter().find(|(known, _)| *known == name);
        known.map(|(_, path)| path.to_str().unwrap().to_owned())
    };
    match Roots::load(None, &env) {
        Ok((roots, problems)) => format!("{roots}; {problems:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn roots_come_from_variables_and_problems_are_reported() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (file, directory) = (write("a.pem", &root("a")), dir.path().join("more"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("b.pem"), root("b")).unwrap();
    let at = |path: &Path| path.display().to_string();

    let of_file = roots(&[("SSL_CERT_FILE", &file)]);
    assert_eq!(of_file, format!("1 roots of SSL_CERT_FILE {}; []", at(&file)));
    let both = roots(&[("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", &directory)]);
    let of_both = format!("SSL_CERT_FILE {} and SSL_CERT_DIR {}", at(&file), at(&directory));
    assert_eq!(both, format!("2 roots of {of_both}; []"));

    let marked = write("marked.pem", &format!("\u{feff}{}{}", root("a"), root("b")));
    let marked = roots(&[("SSL_CERT_FILE", &marked)]);
    assert!(marked.starts_with("2 roots of ") && marked.ends_with("; []"), "{marked}");

    let missing = dir.path().join("missing");
    let unread = |variable| {
        let error = "cannot be read: No such file or directory (os error 2)";
        format!("{variable}: {} {error}", at(&missing))
    };
    assert_eq!(
        roots(&[("SSL_CERT_FILE", &missing)]),
        format!("no root certificates: {}", unread("SSL_CERT_FILE"))
    );
    let half = roots(&[("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", &missing)]);
    assert!(half.starts_with("1 roots of ") && half.contains(&unread("SSL_CERT_DIR")), "{half}");

    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (text, wanted) in [
        ("", "holds no certificate in PEM form"),
        ("\u{30}\u{82}\u{1}\u{2}", "holds no certificate in PEM form"),
        (broken, "1 of 1 certificates of"),
        (
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "has a part that is not PEM",
        ),
    ] {
        let path = write("bad.pem", text);
        let reported = roots(&[("SSL_CERT_FILE", &path)]);
        assert!(reported.starts_with("no root certificates: SSL_CERT_FILE: "), "{reported}");
        assert!(reported.contains(wanted) && reported.contains(&at(&path)), "{reported}");
        let path = write("half.pem", &(root("a") + text));
        let reported = roots(&[("SSL_CERT_FILE", &path)]);
        assert!(reported.starts_with("1 roots of "), "{reported}");
        assert_eq!(
            reported.contains("BEGIN") || reported.ends_with("[]"),
            !text.contains("BEGIN"),
            "{reported}"
        );
    }

    let none = Path::new("");
    for env in [vec![], vec![("SSL_CERT_FILE", none), ("SSL_CERT_DIR", none)]] {
        let of_system = roots(&env);
        assert!(of_system.contains("roots of the system; []"), "{of_system}");
        let others = [env, vec![("CURL_CA_BUNDLE", file.as_path())]].concat();
        assert!(roots(&others).contains("CURL_CA_BUNDLE is set but not used"));
    }
}
