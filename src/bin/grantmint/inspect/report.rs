//! A token in words.

use grantmint::{
    clock::WallTime,
    reading::{
        End, Jwt, Reading, Signature,
        words::{length, plain},
    },
};

use crate::client::{stamp, utc, wall};

/// What it says, from when to when, what dies first, who signed it, and what is odd.
pub(super) fn lines(
    token: &Jwt,
    reading: &Reading,
    signature: Signature,
    now: WallTime,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |what: &str, said: &str| lines.push(format!("{what:<12}{said}"));

    for told in &reading.lines {
        line(told.label, &told.text);
    }
    for (word, claim) in [("issued", "iat"), ("starts", "nbf"), ("ends", "exp")] {
        if let Some(at) = token.time(claim) {
            line(word, &when(at, now));
        }
    }
    line("dies first", &valid_until(reading, now));
    let algorithm = token.header.get("alg").map_or_else(|| "no alg".to_owned(), plain);
    line("signature", &format!("{algorithm}, {}", signature_text(signature)));
    for odd in &reading.oddities {
        line("odd", &format!("{}: {}", odd.about, odd.message));
    }
    lines
}

/// The same of a credential that is no JWT, with what stands for its id, and its signature where
/// that was checked.
pub(super) fn credential_lines(
    reading: &Reading,
    id: &str,
    signature: Option<Signature>,
    now: WallTime,
) -> Vec<String> {
    let said = reading.lines.iter().map(|told| (told.label, told.text.clone()));
    let id = ("token id", id.to_owned());
    let validity = reading.validity;
    let times = [("issued", validity.issued), ("ends", validity.ends)].into_iter();
    let times = times.filter_map(|(word, at)| Some((word, when(at?, now))));
    let ends = ("dies first", valid_until(reading, now));
    let signature = signature.map(|it| ("signature", signature_text(it).to_owned()));
    let odd = reading.oddities.iter().map(|it| ("odd", format!("{}: {}", it.about, it.message)));
    let lines = said.chain([id]).chain(times).chain([ends]).chain(signature).chain(odd);
    lines.map(|(what, said)| format!("{what:<12}{said}")).collect()
}

fn valid_until(reading: &Reading, now: WallTime) -> String {
    match reading.ends[..] {
        [] => "nothing in it says when it ends".to_owned(),
        [End { words, at, .. }, ..] => format!("{}, {words}", when(at, now)),
    }
}

const fn signature_text(signature: Signature) -> &'static str {
    match signature {
        Signature::None => "none: anybody can make such a token",
        Signature::NotChecked => "not checked; give the secret or the key with --key-file FILE",
        Signature::OtherKey => "not checked: such a key makes no signatures of this alg",
        Signature::Right => "right: the key's, and nothing was changed since",
        Signature::Wrong => "WRONG: not this key's, or the token was changed",
    }
}

/// A signature's name for machines.
pub(super) const fn signature_name(signature: Signature) -> &'static str {
    match signature {
        Signature::None => "none",
        Signature::NotChecked => "not_checked",
        Signature::OtherKey => "other_key",
        Signature::Right => "right",
        Signature::Wrong => "wrong",
    }
}

/// A time, and how far from now it lies.
fn when(at: i64, now: WallTime) -> String {
    let at = stamp(at);
    let (told, then) = (utc(Some(&at)), wall(&at));
    if then >= now {
        format!("{told} (in {})", length(then.since(now).as_secs()))
    } else {
        format!("{told} ({} ago)", length(now.since(then).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample::sample, *};

    #[test]
    fn a_token_is_told_line_by_line() {
        let token = Jwt::decode(&sample()).unwrap();
        let mut reading = Reading::of(&token);
        reading.tell("whose", "alice");
        reading.ends.insert(0, End { name: "grant", words: "the grant", at: 1_700_000_060 });
        reading.note("jti", "is missing");
        let now = WallTime::from_unix_seconds(1_700_000_010);
        assert_eq!(
            lines(&token, &reading, Signature::NotChecked, now),
            [
                "whose       alice",
                "issued      2023-11-14T22:13:20.000Z (10 s ago)",
                "ends        2023-11-14T23:13:20.000Z (in 59 min)",
                "dies first  2023-11-14T22:14:20.000Z (in 50 s), the grant",
                "signature   HS256, not checked; give the secret or the key with --key-file FILE",
                "odd         jti: is missing",
            ]
        );
        let told = credential_lines(&reading, "x", Some(Signature::Wrong), now);
        assert_eq!(
            told,
            [
                "whose       alice",
                "token id    x",
                "issued      2023-11-14T22:13:20.000Z (10 s ago)",
                "ends        2023-11-14T23:13:20.000Z (in 59 min)",
                "dies first  2023-11-14T22:14:20.000Z (in 50 s), the grant",
                "signature   WRONG: not this key's, or the token was changed",
                "odd         jti: is missing",
            ]
        );
        reading.ends.clear();
        let told = lines(&token, &reading, Signature::Right, now).join("\n");
        assert!(told.contains("dies first  nothing in it says when it ends"), "{told}");
    }
}
