//! How an upstream is reached from here: through which proxy, and verified with which roots.
//! A profile may say the first; what it leaves open, the environment says, in the variables
//! that other programs read too.

mod proxy;
mod roots;

use std::fmt;

use http::{Uri, uri::Scheme};

pub use self::{
    proxy::{Proxy, ProxyError, ProxySetting},
    roots::{ExtraRoots, Roots, RootsError},
};
use crate::settings::Env;

/// The variables that name a proxy, the first that is set before the others.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that exempt hosts from it.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Variables that others take for a proxy of https too.
const OTHER_PROXY: [&str; 2] = ["HTTP_PROXY", "http_proxy"];

/// What asks upstreams: some refuse requests that do not say it.
pub const USER_AGENT: &str = concat!("grantmint/", env!("CARGO_PKG_VERSION"));

/// How one upstream is reached.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Which way requests take.
    pub route: Route,
    /// What its certificate is verified with; none for plain http.
    pub roots: Option<Roots>,
    /// What of the environment is set and not used.
    pub warnings: Vec<String>,
}

/// Which way requests to an upstream take.
#[derive(Clone, Debug)]
pub enum Route {
    /// Straight to it.
    Direct(Why),
    /// Through a tunnel.
    Through {
        /// Whose tunnel.
        proxy: Proxy,
        /// What names it: a variable of the environment, or the profile's key.
        named_by: &'static str,
    },
}

/// Why an upstream is reached directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is spoken to in plain http, which it is on this machine only.
    PlainHttp,
    /// The profile says so.
    Profile,
    /// This variable exempts its host.
    Exempt(&'static str),
    /// Nothing names a proxy.
    NoProxy,
}

/// Why an upstream cannot be reached. It never holds a variable's value: that may hold a
/// password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The proxy cannot be used.
    #[error("{variable} names a proxy that cannot be used: it {error}")]
    Proxy {
        /// What names it.
        variable: &'static str,
        /// Why.
        error: ProxyError,
    },
    /// There are no roots to verify its certificate with.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

impl Egress {
    /// The way to `upstream`, as its profile and this process's environment have it.
    pub fn of(upstream: &Uri, setting: &ProxySetting) -> Result<Self, EgressError> {
        Self::trusting(upstream, setting, None)
    }

    /// The same, its certificate verified with these roots too.
    pub fn trusting(
        upstream: &Uri,
        setting: &ProxySetting,
        extra: Option<&ExtraRoots>,
    ) -> Result<Self, EgressError> {
        // What is no text is reported as wrong, not taken for absent.
        let env = |name: &str| std::env::var_os(name).map(|it| it.to_string_lossy().into_owned());
        Self::by(upstream, setting, extra, &env)
    }

    /// The same, its certificate verified with these roots alone.
    pub fn trusting_only(
        upstream: &Uri,
        setting: &ProxySetting,
        roots: &ExtraRoots,
    ) -> Result<Self, EgressError> {
        let env = |name: &str| std::env::var_os(name).map(|it| it.to_string_lossy().into_owned());
        let route = Route::of(upstream, setting, &env)?;
        let is_https = upstream.scheme() == Some(&Scheme::HTTPS);
        let roots = is_https.then(|| Roots::only(roots)).transpose()?;
        Ok(Self { route, roots, warnings: Vec::new() })
    }

    fn by(
        upstream: &Uri,
        setting: &ProxySetting,
        extra: Option<&ExtraRoots>,
        env: Env<'_>,
    ) -> Result<Self, EgressError> {
        let route = Route::of(upstream, setting, env)?;
        if upstream.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Self { route, roots: None, warnings: Vec::new() });
        }
        let (roots, mut warnings) = Roots::load(extra, env)?;
        if let (ProxySetting::Environment, Route::Through { .. }) = (setting, &route)
            && let Some((variable, hosts)) = set(&NO_PROXY, env)
            && let Some(entry) = proxy::unusable_entry(&hosts)
        {
            warnings.push(format!(
                "{variable}: entry {entry} exempts nothing: it is no name, address or network"
            ));
        }
        if let (Route::Direct(Why::NoProxy), Some((other, _))) = (&route, set(&OTHER_PROXY, env)) {
            let [wanted, ..] = PROXY;
            warnings.push(format!(
                "{other} is set and not read: an https upstream's proxy is named by {wanted}"
            ));
        }
        Ok(Self { route, roots: Some(roots), warnings })
    }
}

impl Route {
    fn of(upstream: &Uri, setting: &ProxySetting, env: Env<'_>) -> Result<Self, EgressError> {
        if upstream.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Self::Direct(Why::PlainHttp));
        }
        match setting {
            ProxySetting::None => return Ok(Self::Direct(Why::Profile)),
            ProxySetting::Own(proxy) => {
                return Ok(Self::Through { proxy: proxy.clone(), named_by: "proxy" });
            }
            ProxySetting::Environment => {}
        }
        let Some((variable, value)) = set(&PROXY, env) else {
            return Ok(Self::Direct(Why::NoProxy));
        };
        // An exempt host does not need the proxy to be a good one.
        if let Some((exempting, hosts)) = set(&NO_PROXY, env)
            && proxy::exempts(&hosts, upstream)
        {
            return Ok(Self::Direct(Why::Exempt(exempting)));
        }
        let proxy = Proxy::parse(&value).map_err(|error| EgressError::Proxy { variable, error })?;
        Ok(Self::Through { proxy, named_by: variable })
    }

    /// The proxy; none for the direct way.
    #[must_use]
    pub const fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Direct(_) => None,
            Self::Through { proxy, .. } => Some(proxy),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(Why::PlainHttp) => f.write_str("directly: it is on this machine"),
            Self::Direct(Why::Profile) => f.write_str("directly: the profile says so"),
            Self::Direct(Why::Exempt(variable)) => write!(f, "directly: {variable} exempts it"),
            Self::Direct(Why::NoProxy) => f.write_str("directly: no proxy is named"),
            Self::Through { proxy, named_by } => {
                write!(f, "through the proxy {proxy}, which {named_by} names")
            }
        }
    }
}

/// The first of these variables that is set to something, and its value.
fn set(names: &[&'static str], env: Env<'_>) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| {
        let value = env(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| (*name, value.to_owned()))
    })
}

#[cfg(test)]
mod tests;
