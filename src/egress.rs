//! How this process reaches an upstream: the proxy, and the roots for its certificate. A profile
//! may set the proxy; otherwise the standard environment variables apply.

mod proxy;
mod roots;

use std::fmt;

use http::{Uri, uri::Scheme};

pub use self::{
    proxy::{Proxy, ProxyError, ProxySetting},
    roots::{ExtraRoots, Roots, RootsError},
};
use crate::settings::Env;

/// The variables that set a proxy, by precedence.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that exempt hosts from the proxy.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Variables that other programs also use for https.
const OTHER_PROXY: [&str; 2] = ["HTTP_PROXY", "http_proxy"];

/// The User-Agent of upstream requests: some upstreams refuse requests without one.
pub const USER_AGENT: &str = concat!("grantmint/", env!("CARGO_PKG_VERSION"));

/// How one upstream is reached.
#[derive(Clone, Debug)]
pub struct Egress {
    /// The upstream's URL.
    pub upstream: Uri,
    /// The route of requests.
    pub route: Route,
    /// The roots that its certificate is verified with; none for plain http.
    pub roots: Option<Roots>,
    /// Warnings about environment variables that are set but not used.
    pub warnings: Vec<String>,
}

/// The route of requests to an upstream.
#[derive(Clone, Debug)]
pub enum Route {
    /// A direct connection.
    Direct(DirectReason),
    /// A tunnel through a proxy.
    Through {
        /// The proxy.
        proxy: Proxy,
        /// Where it is set: an environment variable, or the profile's key.
        set_by: &'static str,
    },
}

/// Why an upstream is reached directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectReason {
    /// It is plain http, which is allowed on this machine only.
    PlainHttp,
    /// The profile disables the proxy.
    Profile,
    /// This variable exempts its host.
    Exempt(&'static str),
    /// No proxy is configured.
    NoProxy,
}

/// Why an upstream cannot be reached. It never holds a variable's value, which may hold a
/// password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The proxy cannot be used.
    #[error("{variable} names a proxy that cannot be used: it {error}")]
    Proxy {
        /// The variable that sets it.
        variable: &'static str,
        /// Why it cannot be used.
        error: ProxyError,
    },
    /// No roots to verify its certificate with were found.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

impl Egress {
    /// The egress to `upstream`, from its profile and this process's environment.
    pub fn of(upstream: &Uri, setting: &ProxySetting) -> Result<Self, EgressError> {
        Self::trusting(upstream, setting, None)
    }

    /// The same, with these additional roots.
    pub fn trusting(
        upstream: &Uri,
        setting: &ProxySetting,
        extra: Option<&ExtraRoots>,
    ) -> Result<Self, EgressError> {
        // A value that is not Unicode is reported as wrong, not treated as absent.
        let env = |name: &str| std::env::var_os(name).map(|it| it.to_string_lossy().into_owned());
        Self::by(upstream, setting, extra, &env)
    }

    /// The same, with these roots only.
    pub fn trusting_only(
        upstream: &Uri,
        setting: &ProxySetting,
        roots: &ExtraRoots,
    ) -> Result<Self, EgressError> {
        let env = |name: &str| std::env::var_os(name).map(|it| it.to_string_lossy().into_owned());
        let route = Route::of(upstream, setting, &env)?;
        let is_https = upstream.scheme() == Some(&Scheme::HTTPS);
        let roots = is_https.then(|| Roots::only(roots)).transpose()?;
        Ok(Self { upstream: upstream.clone(), route, roots, warnings: Vec::new() })
    }

    fn by(
        upstream: &Uri,
        setting: &ProxySetting,
        extra: Option<&ExtraRoots>,
        env: Env<'_>,
    ) -> Result<Self, EgressError> {
        let route = Route::of(upstream, setting, env)?;
        if upstream.scheme() != Some(&Scheme::HTTPS) {
            let upstream = upstream.clone();
            return Ok(Self { upstream, route, roots: None, warnings: Vec::new() });
        }
        let (roots, mut warnings) = Roots::load(extra, env)?;
        if let (ProxySetting::Environment, Route::Through { .. }) = (setting, &route)
            && let Some((variable, hosts)) = set(&NO_PROXY, env)
            && let Some(entry) = proxy::ineffective_entry(&hosts)
        {
            warnings.push(format!(
                "{variable}: entry {entry} is ignored: it is not a name, address or network"
            ));
        }
        if let (Route::Direct(DirectReason::NoProxy), Some((other, _))) =
            (&route, set(&OTHER_PROXY, env))
        {
            let [wanted, ..] = PROXY;
            warnings
                .push(format!("{other} is set but not used: set {wanted} for an https upstream"));
        }
        Ok(Self { upstream: upstream.clone(), route, roots: Some(roots), warnings })
    }
}

impl Route {
    fn of(upstream: &Uri, setting: &ProxySetting, env: Env<'_>) -> Result<Self, EgressError> {
        if upstream.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Self::Direct(DirectReason::PlainHttp));
        }
        match setting {
            ProxySetting::None => return Ok(Self::Direct(DirectReason::Profile)),
            ProxySetting::Own(proxy) => {
                return Ok(Self::Through { proxy: proxy.clone(), set_by: "proxy" });
            }
            ProxySetting::Environment => {}
        }
        let Some((variable, value)) = set(&PROXY, env) else {
            return Ok(Self::Direct(DirectReason::NoProxy));
        };
        // For an exempt host, the proxy need not be valid.
        if let Some((exempting, hosts)) = set(&NO_PROXY, env)
            && proxy::exempts(&hosts, upstream)
        {
            return Ok(Self::Direct(DirectReason::Exempt(exempting)));
        }
        let proxy = Proxy::parse(&value).map_err(|error| EgressError::Proxy { variable, error })?;
        Ok(Self::Through { proxy, set_by: variable })
    }

    /// The proxy; none for a direct connection.
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
            Self::Direct(DirectReason::PlainHttp) => {
                f.write_str("directly: plain http on this machine")
            }
            Self::Direct(DirectReason::Profile) => {
                f.write_str("directly: proxy disabled by the profile")
            }
            Self::Direct(DirectReason::Exempt(variable)) => {
                write!(f, "directly: {variable} exempts it")
            }
            Self::Direct(DirectReason::NoProxy) => f.write_str("directly: no proxy is configured"),
            Self::Through { proxy, set_by } => {
                write!(f, "through the proxy {proxy}, set by {set_by}")
            }
        }
    }
}

/// The first of these variables with a non-empty value, and the value.
fn set(names: &[&'static str], env: Env<'_>) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| {
        let value = env(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| (*name, value.to_owned()))
    })
}

#[cfg(test)]
mod tests;
