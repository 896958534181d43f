//! Notifications to systemd, or to another supervisor that speaks the protocol of `sd_notify(3)`.
//!
//! Written over a datagram socket instead of the crate sd-notify 0.5, which knows no abstract
//! sockets and blocks its thread while the supervisor's queue is full. `NOTIFY_SOCKET` stays in the
//! environment: a server starts no processes that could inherit it.

use std::{
    ffi::{OsStr, OsString},
    fmt::{self, Write},
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

/// The supervisor that started this process.
#[derive(Clone, Debug)]
pub struct Systemd {
    address: SocketAddr,
    watchdog: Option<Duration>,
}

/// A state to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The start or a reload has finished.
    Ready,
    /// A reload has started, at this time of `CLOCK_MONOTONIC` in microseconds.
    Reloading(i64),
    /// The shutdown has started.
    Stopping,
    /// The process runs its event loop.
    Watchdog,
    /// One line for the operator.
    Status(String),
    /// The current phase takes up to this long from now.
    ExtendTimeout(Duration),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading(now) => write!(f, "RELOADING=1\nMONOTONIC_USEC={now}"),
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            Self::Status(line) => write!(f, "STATUS={line}"),
            Self::ExtendTimeout(time) => write!(f, "EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        }
    }
}

/// Why `NOTIFY_SOCKET` is not the address of a socket.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It has another form.
    #[error("NOTIFY_SOCKET is neither an absolute path nor @ and an abstract name")]
    Unknown,
    /// The path or name cannot be an address.
    #[error("NOTIFY_SOCKET: {0}")]
    Invalid(io::Error),
}

impl Systemd {
    /// The supervisor that these environment variables describe; none without `NOTIFY_SOCKET`.
    pub fn from_env(env: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, AddressError> {
        let Some(socket) = env("NOTIFY_SOCKET").filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        let number = |name| env(name).and_then(|it| it.to_str()?.parse::<u64>().ok());
        let is_ours = match env("WATCHDOG_PID") {
            None => true,
            Some(_) => number("WATCHDOG_PID") == Some(process::id().into()),
        };
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        let watchdog = watchdog.map(Duration::from_micros);
        Ok(Some(Self { address: address(&socket)?, watchdog }))
    }

    /// The longest time between two [`State::Watchdog`] before this process is killed; none
    /// without a watchdog.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends these states in one message. Waits while the supervisor's queue is full.
    pub async fn notify(&self, states: &[State]) -> io::Result<()> {
        let mut message = String::new();
        for state in states {
            let _ = writeln!(message, "{state}");
        }
        // A new socket each time, since the supervisor may have replaced its own.
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&self.address)?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixDatagram::from_std(socket)?;
        socket.send(message.as_bytes()).await.map(drop)
    }
}

fn address(socket: &OsStr) -> Result<SocketAddr, AddressError> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => abstract_address(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => return Err(AddressError::Unknown),
    };
    address.map_err(AddressError::Invalid)
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;

    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(variables: &[(&str, &str)]) -> Result<Option<Systemd>, AddressError> {
        Systemd::from_env(|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(value))
        })
    }

    #[test]
    fn only_addresses_of_sockets_are_accepted() {
        assert!(described(&[("WATCHDOG_USEC", "1")]).unwrap().is_none());
        assert!(described(&[("NOTIFY_SOCKET", "")]).unwrap().is_none());
        for socket in ["/run/systemd/notify", "@name"] {
            assert!(described(&[("NOTIFY_SOCKET", socket)]).unwrap().is_some(), "{socket}");
        }
        let long = format!("/{}", "a".repeat(200));
        for socket in ["notify", "./notify", "@", "vsock:2:1", &long] {
            assert!(described(&[("NOTIFY_SOCKET", socket)]).is_err(), "{socket}");
        }
    }

    #[test]
    fn watchdog_is_on_only_for_this_process() {
        let watchdog = |more: &[(&str, &str)]| {
            let variables = [&[("NOTIFY_SOCKET", "/notify")][..], more].concat();
            described(&variables).unwrap().unwrap().watchdog()
        };
        let (own, other) = (process::id().to_string(), (process::id() + 1).to_string());
        let on = ("WATCHDOG_USEC", "30000000");
        assert_eq!(watchdog(&[]), None);
        assert_eq!(watchdog(&[on]), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(&[on, ("WATCHDOG_PID", &own)]), Some(Duration::from_secs(30)));
        for pid in [&other, "", "x"] {
            assert_eq!(watchdog(&[on, ("WATCHDOG_PID", pid)]), None, "{pid}");
        }
        for micros in ["0", "-1", "", "soon"] {
            assert_eq!(watchdog(&[("WATCHDOG_USEC", micros)]), None, "{micros}");
        }
    }
}
