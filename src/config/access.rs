//! The addresses that a server may listen on: off loopback only if it authenticates callers.

use crate::listen::Listen;

/// The settings that decide who can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether `[server.tls]` exists.
    pub has_tls: bool,
    /// Whether `[callers]` exists.
    pub has_callers: bool,
    /// Whether TLS is terminated before this server, in a mesh.
    pub plaintext: bool,
}

/// Why a server must not listen on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Both TLS and plain text.
    #[error("excludes [server.tls]: it means that TLS is terminated before this server")]
    PlaintextAndTls,
    /// Plain text without callers.
    #[error("requires [callers]: every connection is the caller plaintext, which needs an entry")]
    PlaintextWithoutCallers,
    /// Off loopback without TLS.
    #[error(
        "must be on loopback (127.0.0.1 or [::1]) without [server.tls]: others on the network \
         could call and read traffic; behind a mesh that terminates TLS, set plaintext = true"
    )]
    NoTls,
    /// Off loopback without callers.
    #[error(
        "must be on loopback (127.0.0.1 or [::1]) without [callers], which define who may call \
         what"
    )]
    NoCallers,
}

impl AccessError {
    /// The key of `[server]` with the error.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::PlaintextAndTls | Self::PlaintextWithoutCallers => "plaintext",
            Self::NoTls | Self::NoCallers => "listen",
        }
    }
}

/// Whether a server may listen on this TCP address. A Unix socket is protected by its file's
/// permissions and needs no check.
pub fn may_listen(listen: Option<Listen>, access: &Access) -> Result<(), AccessError> {
    let Access { has_tls, has_callers, plaintext } = *access;
    let is_local = listen.is_none_or(Listen::is_loopback);
    match (plaintext, has_tls, has_callers) {
        (true, true, _) => Err(AccessError::PlaintextAndTls),
        (true, false, false) => Err(AccessError::PlaintextWithoutCallers),
        (true, false, true) => Ok(()),
        _ if is_local => Ok(()),
        (false, false, _) => Err(AccessError::NoTls),
        (false, true, false) => Err(AccessError::NoCallers),
        (false, true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_off_loopback_needs_tls_and_callers() {
        use AccessError::{NoCallers, NoTls, PlaintextAndTls, PlaintextWithoutCallers};

        for (listen, has_tls, has_callers, plaintext, expected) in [
            ("127.0.0.1:1", false, false, false, Ok(())),
            ("localhost:1", true, false, false, Ok(())),
            ("0.0.0.0:1", false, false, false, Err(NoTls)),
            ("0.0.0.0:1", false, true, false, Err(NoTls)),
            ("[::]:1", true, false, false, Err(NoCallers)),
            ("10.0.0.1:1", true, true, false, Ok(())),
            ("0.0.0.0:1", false, true, true, Ok(())),
            ("0.0.0.0:1", false, false, true, Err(PlaintextWithoutCallers)),
            ("127.0.0.1:1", false, false, true, Err(PlaintextWithoutCallers)),
            ("0.0.0.0:1", true, true, true, Err(PlaintextAndTls)),
        ] {
            let access = Access { has_tls, has_callers, plaintext };
            assert_eq!(
                may_listen(Some(listen.parse().unwrap()), &access),
                expected,
                "{listen} {access:?}"
            );
        }
    }
}
