//! `grantmint inspect`: the content of a token, its first expiry, and warnings about it.

mod pasted;
mod report;
#[cfg(test)]
mod sample;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use grantmint::{
    clock::{Clock, WallTime},
    provider,
    reading::{Jwt, Key, Reading, Signature, View, is_hmac},
    settings::{SigningSecret, read_secret},
    token::{id::fingerprint, private::verifying_key},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    client::{stamp, utc},
    exit::Exit,
    failure::Failure,
    output,
};

/// The replacement of a secret.
const MASK: &str = "(hidden; show it with --show-grant)";

/// Show the content of a token and when each part expires
///
/// Warns of common mistakes in tokens from other issuers. The signature is verified only with --key-file.
#[derive(Debug, Args)]
pub(crate) struct InspectCommand {
    /// The token, or text that contains it; - for standard input
    token: String,
    /// Verify the signature with the secret, private key or public key in this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Also show the secret part of the grant
    #[arg(long)]
    show_grant: bool,
    /// Print one JSON object: header, claims, ends, signature, warnings
    #[arg(long)]
    json: bool,
}

impl InspectCommand {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let text = match self.token.as_str() {
            "-" => standard_input()?,
            token => token.to_owned(),
        };
        let now = Clock::system().now().wall;
        let view = View { now, mask: (!self.show_grant).then_some(MASK) };
        let token = match pasted::find(&text) {
            Ok(token) => token,
            Err(why) => match provider::read_credential(&text, view) {
                Some(reading) => {
                    let key = self.key_file.as_deref().map(secret).transpose()?;
                    let signature = key.and_then(|key| provider::check_credential(&text, &key));
                    self.report_credential(&text, &reading, signature, now)?;
                    return outcome(signature.unwrap_or(Signature::NotChecked));
                }
                None => {
                    return Err(Failure::permanent(why).next("to mint one: grantmint mint alice"));
                }
            },
        };
        let key = self.key_file.as_deref().map(|path| key(path, &token)).transpose()?;
        let signature = token.check(key.as_ref());
        let reading = provider::read_token(&token, view);
        if self.json {
            output::data(&as_json(&token, &reading, signature).to_string())?;
        } else {
            let lines = report::lines(&token, &reading, signature, now);
            lines.iter().try_for_each(|line| output::data(line))?;
        }
        outcome(signature)
    }
}

fn outcome(signature: Signature) -> Result<Exit, Failure> {
    match signature {
        Signature::Invalid => Err(Failure::permanent(
            "the signature does not verify with this key",
        )
        .next("check that the token names this key (iss, kid), and that it was not changed")),
        _ => Ok(Exit::Done),
    }
}

impl InspectCommand {
    /// Reports a credential that is not a JWT, and its signature if that was checked.
    fn report_credential(
        &self,
        text: &str,
        reading: &Reading,
        signature: Option<Signature>,
        now: WallTime,
    ) -> Result<(), Failure> {
        let id = fingerprint(text.trim());
        if self.json {
            let lines = reading.lines.iter().map(|line| json!({line.label: line.text}));
            let content: Vec<_> = lines.collect();
            let signature = signature.map(report::signature_name);
            let whole = json!({
                "credential": content,
                "token_id": id,
                "ends": ends(reading),
                "signature": signature,
                "warnings": warnings(reading),
            });
            output::data(&whole.to_string())?;
        } else {
            let lines = report::credential_lines(reading, &id, signature, now);
            lines.iter().try_for_each(|line| output::data(line))?;
        }
        Ok(())
    }
}

fn ends(reading: &Reading) -> Vec<Value> {
    let ends = reading.ends.iter();
    ends.map(|end| json!({"what": end.name, "time": utc(Some(&stamp(end.at)))})).collect()
}

fn warnings(reading: &Reading) -> Vec<Value> {
    let warnings = reading.warnings.iter();
    warnings.map(|warning| json!({"about": warning.about, "message": warning.message})).collect()
}

fn as_json(token: &Jwt, reading: &Reading, signature: Signature) -> Value {
    json!({
        "header": token.header,
        "claims": reading.claims,
        "ends": ends(reading),
        "signature": report::signature_name(signature),
        "warnings": warnings(reading),
    })
}

/// Reads standard input, of which only the token must be text.
fn standard_input() -> Result<String, Failure> {
    /// More than any page or log line that a token is pasted from.
    const MAX_BYTES: u64 = 1024 * 1024;
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::permanent(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::permanent("standard input exceeds 1 MiB")
            .next("pass only the token, or the lines that contain it"));
    }
    Ok(text_of(&bytes))
}

/// Bytes as text; some shells redirect as UTF-16.
fn text_of(bytes: &[u8]) -> String {
    let units = |of: fn([u8; 2]) -> u16| {
        let units: Vec<_> = bytes.chunks_exact(2).map(|pair| of([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] if bytes.contains(&0) => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] if bytes.contains(&0) => units(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The key in a file, to verify the token's signature with.
fn key(path: &Path, token: &Jwt) -> Result<Key, Failure> {
    match token.signed_with() {
        Some(algorithm) if !is_hmac(algorithm) => verifying_key(&text_in(path)?, algorithm)
            .map(Key::Public)
            .map_err(|error| failed(path, &format!("the key {error}"))),
        _ => secret(path).map(Key::Secret),
    }
}

/// The secret in a file.
fn secret(path: &Path) -> Result<SigningSecret, Failure> {
    SigningSecret::parse_weak(&text_in(path)?)
        .map_err(|error| failed(path, &format!("the secret {error}")))
}

fn text_in(path: &Path) -> Result<Zeroizing<String>, Failure> {
    read_secret(path).map_err(|error| failed(path, &format!("cannot be read: {error}")))
}

fn failed(path: &Path, why: &str) -> Failure {
    Failure::permanent(format!("{}: {why}", path.display()))
}
