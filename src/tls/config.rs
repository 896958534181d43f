//! The `[server.tls]` section.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    agent::{Address, Agent, VARIABLE},
    revocation::WhenExpired,
};
use crate::{
    auth::name::{SpiffeId, is_trust_domain},
    settings::Section,
};

/// The TLS settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The source of the server's certificate.
    pub certificate: Certificate,
    /// The trusted authorities.
    pub authorities: Authorities,
    /// Whether clients need a certificate.
    pub client_auth: ClientAuth,
    /// The minimum TLS version.
    pub min_version: MinVersion,
}

/// The source of the server's certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// From files.
    Files(Pair),
    /// From the Workload API.
    WorkloadApi(Agent),
}

/// The files of the server's certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The server's certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The trusted authorities and their revocation lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The authorities for DNS names, PEM.
    pub client_ca: Option<PathBuf>,
    /// The revocation lists of those authorities, PEM.
    pub client_crl: Option<PathBuf>,
    /// What happens when a list is past its next update.
    pub crl_expired: WhenExpired,
    /// The bundle of each trust domain, trusted only for that domain's SPIFFE IDs.
    pub trust_domains: BTreeMap<String, BundleOrigin>,
}

/// The source of a trust domain's bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleOrigin {
    /// A PEM file.
    File(PathBuf),
    /// The Workload API.
    WorkloadApi,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Clients without a certificate are refused.
    Required,
    /// Clients without a certificate have no name.
    Optional,
}

/// The minimum TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 or 1.3.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl ClientAuth {
    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

impl MinVersion {
    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

impl Config {
    /// Reads `[server.tls]`; `None` if a value is invalid, which the section records.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let certificate = Certificate::read(section);
        let client_auth = section.parsed("client_auth", client_auth);
        let client_auth = client_auth.unwrap_or(ClientAuth::Required);
        let authorities = Authorities::read(section, client_auth);
        let min_version = section.parsed("min_version", min_version);
        section.finish();
        Some(Self {
            certificate: certificate?,
            authorities: authorities?,
            client_auth,
            min_version: min_version.unwrap_or(MinVersion::Tls13),
        })
    }
}

/// The value that selects the Workload API as a bundle's source, and the key of its address.
const WORKLOAD_API: (&str, &str) = ("workload-api", "workload_api");

impl Certificate {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        if !section.has(WORKLOAD_API.1) {
            if section.has("spiffe_id") {
                section.problem(
                    "spiffe_id",
                    "needs workload_api: it selects one of the SVIDs from there",
                );
            }
            return Pair::read(section).map(Self::Files);
        }
        for key in Pair::SETTINGS {
            if section.has(key) {
                let other =
                    "cannot be combined with workload_api: the certificate comes from there";
                section.problem(key, other);
            }
        }
        let address = section.env(VARIABLE);
        let address = section.parsed(WORKLOAD_API.1, |text| match (text, &address) {
            ("env", Some(address)) => {
                Address::parse(address).map_err(|why| format!("the variable {VARIABLE} {why}"))
            }
            ("env", None) => Err(format!("the variable {VARIABLE} is not set")),
            (address, _) => Address::parse(address).map_err(str::to_owned),
        });
        let spiffe_id = section.parsed("spiffe_id", SpiffeId::parse);
        Some(Self::WorkloadApi(Agent { address: address?, spiffe_id }))
    }
}

impl Pair {
    /// The settings that it reads.
    pub const SETTINGS: [&str; 2] = ["cert", "key"];

    /// Reads these settings of `[server.tls]`; `None` if one is invalid, which the section records.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let cert = section.required("cert", path);
        let key = section.required("key", path);
        Some(Self { cert: cert?, key: key? })
    }
}

impl Authorities {
    /// The settings that it reads.
    pub const SETTINGS: [&str; 4] =
        ["client_ca", "client_crl", "client_crl_expired", "trust_domains"];

    /// Reads these settings of `[server.tls]`; `None` if one is invalid, which the section records.
    pub fn read(section: &mut Section<'_>, client_auth: ClientAuth) -> Option<Self> {
        let client_ca = section.parsed("client_ca", path);
        let client_crl = section.parsed("client_crl", path);
        let crl_expired = section.parsed("client_crl_expired", when_expired);
        let trust_domains = read_trust_domains(section);
        if client_crl.is_some() && client_ca.is_none() {
            section
                .problem("client_crl", "needs client_ca: it lists what those authorities revoked");
        }
        if client_auth == ClientAuth::Required
            && !section.has("client_ca")
            && !section.has("trust_domains")
            && !section.mentions(WORKLOAD_API.1)
        {
            section.problem_here(
                "needs client_ca or trust_domains: without them, no client certificate can \
                 be verified",
            );
        }
        Some(Self {
            client_ca,
            client_crl,
            crl_expired: crl_expired.unwrap_or(WhenExpired::Keep),
            trust_domains: trust_domains?,
        })
    }
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.contains("-----BEGIN") {
        return Err("must be the path of a file, not its content");
    }
    if text.is_empty() { Err("is empty: write the path of a file") } else { Ok(text.into()) }
}

fn read_trust_domains(section: &mut Section<'_>) -> Option<BTreeMap<String, BundleOrigin>> {
    if !section.has("trust_domains") {
        return Some(BTreeMap::new());
    }
    let has_workload_api = section.mentions(WORKLOAD_API.1);
    let configured: BTreeMap<String, String> = section.deserialized("trust_domains")?;
    let mut read = BTreeMap::new();
    for (domain, origin) in configured {
        let origin = if !is_trust_domain(&domain) {
            Err("is not a trust domain: write it like prod.example.org, without spiffe://")
        } else if origin != WORKLOAD_API.0 {
            path(&origin).map(BundleOrigin::File)
        } else if has_workload_api {
            Ok(BundleOrigin::WorkloadApi)
        } else {
            Err("needs workload_api; a file of this name is \"./workload-api\"")
        };
        match origin {
            Ok(origin) => drop(read.insert(domain, origin)),
            Err(why) => {
                section.problem("trust_domains", format!("{}: {why}", domain.escape_debug()));
                return None;
            }
        }
    }
    Some(read)
}

fn client_auth(text: &str) -> Result<ClientAuth, &'static str> {
    match text {
        "required" => Ok(ClientAuth::Required),
        "optional" => Ok(ClientAuth::Optional),
        _ => Err(r#"must be "required" or "optional""#),
    }
}

fn min_version(text: &str) -> Result<MinVersion, &'static str> {
    match text {
        "1.2" => Ok(MinVersion::Tls12),
        "1.3" => Ok(MinVersion::Tls13),
        _ => Err(r#"must be "1.3" or "1.2""#),
    }
}

fn when_expired(text: &str) -> Result<WhenExpired, &'static str> {
    match text {
        "keep" => Ok(WhenExpired::Keep),
        "refuse" => Ok(WhenExpired::Refuse),
        _ => Err(r#"must be "keep" or "refuse""#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Document, Env};

    fn read(text: &str) -> Result<Config, String> {
        let env: Env<'_> = &|name| (name == VARIABLE).then(|| "unix:/run/agent.sock".to_owned());
        let document = Document::parse("f.toml", text, env).map_err(|it| it.to_string())?;
        let read = Config::read(&mut document.root());
        document.conclude(read).map_err(|it| it.to_string())
    }

    const PAIR: &str = "cert = \"c\"\nkey = \"k\"\n";

    #[test]
    fn defaults_are_strict() {
        let config = read(&format!("{PAIR}client_ca = \"ca\"\n")).unwrap();
        assert_eq!(config.client_auth, ClientAuth::Required);
        assert_eq!(config.min_version, MinVersion::Tls13);
        assert_eq!(config.authorities.crl_expired, WhenExpired::Keep);
    }

    #[test]
    fn invalid_settings_are_refused() {
        for (more, expected) in [
            ("", "needs client_ca or trust_domains"),
            ("client_auth = \"optional\"\nclient_crl = \"crl\"\n", "client_crl: needs client_ca"),
            ("client_ca = \"\"\n", "client_ca: is empty"),
            ("client_ca = \"-----BEGIN CERTIFICATE-----\"\n", "not its content"),
            ("trust_domains = { \"spiffe://a\" = \"f\" }\n", "is not a trust domain"),
            ("client_ca = \"ca\"\nmin_version = \"1.1\"\n", "must be \"1.3\" or \"1.2\""),
            ("client_ca = \"ca\"\nclient_auth = \"none\"\n", "\"required\" or \"optional\""),
            ("client_ca = \"ca\"\nclient_crl_expired = \"x\"\n", "\"keep\" or \"refuse\""),
        ] {
            let error = read(&format!("{PAIR}{more}")).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        }
        assert!(read("client_ca = \"ca\"\n").unwrap_err().contains("cert: is missing"));
    }

    #[test]
    fn workload_api_replaces_certificate_and_key() {
        let partner = "trust_domains = { \"partner.example.net\" = \"workload-api\" }\n";
        let text = "workload_api = \"unix:///run/a.sock\"\nspiffe_id = \"spiffe://a/b\"\n";
        let config = read(&format!("{text}{partner}")).unwrap();
        let Certificate::WorkloadApi(Agent { address, spiffe_id }) = config.certificate else {
            panic!("not from the Workload API");
        };
        assert_eq!(address, Address::Unix("/run/a.sock".to_owned()));
        assert_eq!(spiffe_id, SpiffeId::parse("spiffe://a/b").ok());
        let origin = config.authorities.trust_domains.values().next();
        assert_eq!(origin, Some(&BundleOrigin::WorkloadApi));
        let config = read("workload_api = \"env\"\n").unwrap();
        let address = Address::Unix("/run/agent.sock".to_owned());
        let from_variable = Agent { address, spiffe_id: None };
        assert_eq!(config.certificate, Certificate::WorkloadApi(from_variable));

        for (text, error) in [
            (format!("{PAIR}workload_api = \"env\"\n"), "cert: cannot be combined"),
            (format!("{PAIR}spiffe_id = \"spiffe://a/b\"\n"), "spiffe_id: needs workload_api"),
            (format!("{PAIR}{partner}"), "partner.example.net: needs workload_api"),
            ("workload_api = \"agent.sock\"\n".to_owned(), "workload_api: must be like"),
            (
                "workload_api = \"env\"\nspiffe_id = \"spiffe://a\"\n".to_owned(),
                "spiffe_id: is not a SPIFFE ID",
            ),
        ] {
            let message = read(&text).unwrap_err();
            assert!(message.contains(error), "{text}: {message}");
        }
    }
}
