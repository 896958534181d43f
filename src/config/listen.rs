//! `[server] listen` and `unix`: the addresses for calls.

use crate::{
    listen::{
        Listen,
        addresses::Addresses,
        unix::{Group, SocketMode, SocketPath, Unix},
    },
    server,
    settings::Section,
};

/// The addresses of the server; the default if they are invalid, after reporting the problems.
pub(super) fn read(section: &mut Section<'_>) -> Addresses {
    let has_listen = section.has("listen");
    let listen = section.parsed("listen", str::parse::<Listen>);
    let default = server::Config::default().listen;
    let unix = if section.has("unix") { read_unix(section.section("unix")) } else { None };
    match (listen, unix) {
        (Some(listen), Some(unix)) => Addresses::Both(listen, unix),
        (Some(listen), None) => Addresses::Tcp(listen),
        (None, Some(unix)) if !has_listen => Addresses::Unix(unix),
        (None, _) => default,
    }
}

fn read_unix(mut section: Section<'_>) -> Option<Unix> {
    let path = section.required("path", SocketPath::parse);
    let mode = if section.has("mode") {
        section.parsed("mode", SocketMode::parse)
    } else {
        Some(SocketMode::default())
    };
    let group = section.text_or_integer("group").map(|text| Group::parse(&text));
    let group = match group.transpose() {
        Ok(group) => group,
        Err(error) => {
            section.problem("group", error.to_string());
            None
        }
    };
    section.finish();
    Some(Unix { path: path?, mode: mode?, group })
}

/// Warns of settings that are valid but probably not intended.
pub(super) fn add_warnings(section: &Section<'_>, addresses: &Addresses, has_callers: bool) {
    if addresses.unix().is_some_and(|unix| unix.mode.is_open_to_all()) && !has_callers {
        section.warn(
            "unix",
            "is open to every user of this machine, and without [callers] they may call every \
             method",
        );
    }
    if addresses.tcp().is_none() {
        for key in ["tls", "plaintext"] {
            if section.mentions(key) {
                section.warn(key, "has no effect: the server does not listen on TCP");
            }
        }
    }
}
