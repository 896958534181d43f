//! The text report of a token.

use grantmint::{
    clock::WallTime,
    reading::{
        End, Jwt, Reading, Signature,
        words::{length, plain},
    },
};

use crate::client::{stamp, utc, wall};

/// The content of a token, its times, its first expiry, its signature and warnings.
pub(super) fn lines(
    token: &Jwt,
    reading: &Reading,
    signature: Signature,
    now: WallTime,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |label: &str, value: &str| lines.push(format!("{label:<12}{value}"));

    for content in &reading.lines {
        line(content.label, &content.text);
    }
    for (label, claim) in [("issued", "iat"), ("not before", "nbf"), ("expires", "exp")] {
        if let Some(at) = token.time(claim) {
            line(label, &when(at, now));
        }
    }
    line("valid until", &valid_until(reading, now));
    let algorithm = token.header.get("alg").map_or_else(|| "no alg".to_owned(), plain);
    line("signature", &format!("{algorithm}, {}", signature_text(signature)));
    for warning in &reading.warnings {
        line("warning", &format!("{}: {}", warning.about, warning.message));
    }
    lines
}

/// The same for a credential that is not a JWT, with its fingerprint as the id, and its signature
/// if that was checked.
pub(super) fn credential_lines(
    reading: &Reading,
    id: &str,
    signature: Option<Signature>,
    now: WallTime,
) -> Vec<String> {
    let content = reading.lines.iter().map(|it| (it.label, it.text.clone()));
    let id = ("token id", id.to_owned());
    let validity = reading.validity;
    let times = [("issued", validity.issued), ("expires", validity.ends)].into_iter();
    let times = times.filter_map(|(label, at)| Some((label, when(at?, now))));
    let until = ("valid until", valid_until(reading, now));
    let signature = signature.map(|it| ("signature", signature_text(it).to_owned()));
    let warnings = reading.warnings.iter();
    let warnings = warnings.map(|it| ("warning", format!("{}: {}", it.about, it.message)));
    let lines = content.chain([id]).chain(times).chain([until]).chain(signature).chain(warnings);
    lines.map(|(label, value)| format!("{label:<12}{value}")).collect()
}

fn valid_until(reading: &Reading, now: WallTime) -> String {
    match reading.ends[..] {
        [] => "unknown: the token has no expiry".to_owned(),
        [End { words, at, .. }, ..] => format!("{}, {words}", when(at, now)),
    }
}

const fn signature_text(signature: Signature) -> &'static str {
    match signature {
        Signature::None => "none: anyone can make such a token",
        Signature::NotChecked => "not checked; name the secret or key with --key-file FILE",
        Signature::OtherKey => "not checked: this kind of key does not sign with this alg",
        Signature::Valid => "valid",
        Signature::Invalid => "INVALID: made with another key, or the token was changed",
    }
}

/// The result of the check in JSON.
pub(super) const fn signature_name(signature: Signature) -> &'static str {
    match signature {
        Signature::None => "none",
        Signature::NotChecked => "not_checked",
        Signature::OtherKey => "other_key",
        Signature::Valid => "valid",
        Signature::Invalid => "invalid",
    }
}

/// A time, and its distance from now.
fn when(at: i64, now: WallTime) -> String {
    let at = stamp(at);
    let (shown, then) = (utc(Some(&at)), wall(&at));
    if then >= now {
        format!("{shown} (in {})", length(then.since(now).as_secs()))
    } else {
        format!("{shown} ({} ago)", length(now.since(then).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample::sample, *};

    #[test]
    fn report_has_a_line_for_each_part_of_a_token() {
        let token = Jwt::decode(&sample()).unwrap();
        let mut reading = Reading::of(&token);
        reading.add_line("identity", "alice");
        reading.ends.insert(0, End { name: "grant", words: "the grant", at: 1_700_000_060 });
        reading.warn("jti", "is missing");
        let now = WallTime::from_unix_seconds(1_700_000_010);
        assert_eq!(
            lines(&token, &reading, Signature::NotChecked, now),
            [
                "identity    alice",
                "issued      2023-11-14T22:13:20.000Z (10 s ago)",
                "expires     2023-11-14T23:13:20.000Z (in 59 min)",
                "valid until 2023-11-14T22:14:20.000Z (in 50 s), the grant",
                "signature   HS256, not checked; name the secret or key with --key-file FILE",
                "warning     jti: is missing",
            ]
        );
        assert_eq!(
            credential_lines(&reading, "x", Some(Signature::Invalid), now),
            [
                "identity    alice",
                "token id    x",
                "issued      2023-11-14T22:13:20.000Z (10 s ago)",
                "expires     2023-11-14T23:13:20.000Z (in 59 min)",
                "valid until 2023-11-14T22:14:20.000Z (in 50 s), the grant",
                "signature   INVALID: made with another key, or the token was changed",
                "warning     jti: is missing",
            ]
        );
        reading.ends.clear();
        let text = lines(&token, &reading, Signature::Valid, now).join("\n");
        assert!(text.contains("valid until unknown: the token has no expiry"), "{text}");
    }
}
