//! What to do about a problem.

use std::io::{self, ErrorKind};

use grantmint::{
    grant::{Fault, FaultClass},
    source::FetchError,
};

/// The page whose table of faults says what to do about each.
const FAULTS: &str = include_str!("../../../../docs/operations.md");

/// Parts of messages about the configuration and its files, and what to do.
const MESSAGES: &[(&str, &str)] = &[
    ("does not exist", "create the file, or correct its path in the configuration"),
    ("No such file", "create the file, or correct its path in the configuration"),
    (
        "Permission denied",
        "let the server's user read it: chgrp the file to its group and chmod 640",
    ),
    ("Is a directory", "name a file in this directory"),
    ("readable by every user", "run chmod o-r on the file"),
    ("can read the key in", "run chmod o-r on the file"),
    ("the environment variable", "set the variable in the server's environment, or use a file"),
    (
        "prefer a file",
        "write the secret to a file of mode 0600, and name it with the key that ends in _file",
    ),
    ("has expired", "renew the certificate and write it to this file; a running server reloads it"),
    ("not valid yet", "set this host's clock, or issue the certificate again"),
    (
        "does not match the certificate",
        "use the key that this certificate was issued for, or issue a certificate for this key",
    ),
    (
        "holds no private key",
        "write the certificate's private key to this file, as PEM without a password",
    ),
    (
        "fewer than 2048 bits",
        "create an RSA key of at least 2048 bits, and replace the old one at the provider",
    ),
    ("is shorter than", "copy the whole secret; to create one: openssl rand -base64 48"),
    ("is one repeated character", "copy the whole secret; to create one: openssl rand -base64 48"),
    (
        "the secret in the",
        "copy only the secret, as the provider issued it, into the file or variable",
    ),
    ("client_crl has no list", "add the revocation list of this CA to client_crl"),
    ("no DNS name or IP address", "issue the certificate with the DNS name that callers use"),
    ("has no effect", "remove the setting"),
    ("unknown key", "correct the key's name; grantmint.toml has every key"),
    ("needs at least one profile", "print one to start from: grantmint init"),
    ("cannot be read", "check that the path names a readable file"),
];

/// What to do about a problem of the configuration.
pub(super) fn of_message(message: &str) -> &'static str {
    let known = MESSAGES.iter().find(|(part, _)| message.contains(part));
    known.map_or("correct this line; grantmint.toml describes every key", |(_, fix)| fix)
}

/// What to do if no grant was received.
pub(super) fn of_fetch(error: &FetchError) -> String {
    match error {
        FetchError::Failed { fault, .. } | FetchError::NothingNew(fault) => of_fault(fault),
        FetchError::Held { class, .. } => of_class(*class).to_owned(),
    }
}

/// What to do about a fault: as its row in the documentation says, or by its class.
pub(super) fn of_fault(fault: &Fault) -> String {
    documented(&fault.reason).unwrap_or_else(|| of_class(fault.class).to_owned())
}

/// Whether a retry may succeed without a change here.
pub(super) const fn may_pass(error: &FetchError) -> bool {
    match error {
        FetchError::Failed { fault, .. } | FetchError::NothingNew(fault) => fault.class.recovers(),
        FetchError::Held { class, .. } => class.recovers(),
    }
}

const fn of_class(class: FaultClass) -> &'static str {
    match class {
        FaultClass::Transient => "check the network from this host and the provider's status page",
        FaultClass::Throttled => "wait and run it again; check what else uses this account's limit",
        FaultClass::Credential => {
            "the upstream refuses the key: check that the key's id and secret belong together and \
             are active, and replace the secret's file"
        }
        FaultClass::Resource => "check this resource in the provider's console",
        FaultClass::Misconfigured => "check the profile's upstream and keys",
    }
}

/// The last cell of a reason's row in the table of faults, without links.
fn documented(reason: &str) -> Option<String> {
    let start = format!("| `{reason}` | ");
    let row = FAULTS.lines().find_map(|line| line.strip_prefix(&start))?;
    let cell = row.strip_suffix(" |")?.rsplit(" | ").next()?;
    Some(without_links(cell).replace('`', ""))
}

/// Markdown with the texts of its links only.
fn without_links(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        shown.push_str(before);
        if let Some((label, target)) = after.split_once("](") {
            shown.push_str(label);
            rest = target.split_once(')').map_or("", |(_, rest)| rest);
        } else {
            shown.push('[');
            rest = after;
        }
    }
    shown + rest
}

/// What to do about a file that cannot be used.
pub(super) fn of_io(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "create the directory or the file, or correct its path",
        ErrorKind::PermissionDenied => {
            "let the server's user write there, or run this as that user"
        }
        ErrorKind::ReadOnlyFilesystem => "name a path on a writable file system",
        _ => "check that the path names a file that the server's user can write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixes_of_faults_are_those_of_the_documentation() {
        let fault = |class, reason| of_fault(&Fault::new(class, reason));
        let dns = fault(FaultClass::Transient, "DNS_FAILED");
        assert!(dns.starts_with("check the resolver and upstream"), "{dns}");
        assert!(!dns.contains(['[', '`']), "{dns}");
        let status = fault(FaultClass::Credential, "HTTP_STATUS_401");
        assert!(status.starts_with("the upstream refuses the key"), "{status}");
        assert_eq!(without_links("a [b](c) d [e"), "a b d [e");
    }
}
