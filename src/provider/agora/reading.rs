//! Describes Agora tokens, including those from other issuers.

use super::{
    MAX_TOKEN_TTL,
    packed::VERSION,
    parsed::Parsed,
    services::{CHAT_APP, Product, RIGHT, Service},
};
use crate::{
    reading::{
        End, Reading, Signature,
        words::{length, length_after},
    },
    settings::SigningSecret,
};

/// The prefix of tokens in the previous format; the app ID follows.
const PREVIOUS: &str = "006";

/// The length of an app ID.
const ID_CHARS: usize = 32;

/// Above this, a number of seconds is probably a timestamp: it is thirty years after the issue.
const INSTANT: u32 = 1_000_000_000;

/// Describes a token; `None` for any other string.
pub(super) fn read(text: &str, now: i64) -> Option<Reading> {
    let text = text.trim();
    if let Some(app_id) = previous(text) {
        let mut reading = Reading::opaque();
        reading.add_line("what", "an Agora access token in the previous format 006");
        reading.add_line("key", app_id);
        let old = "has a format that Agora's libraries no longer make; it is not read here";
        reading.warn("token", old);
        return Some(reading);
    }
    Some(of(&Parsed::parse(text)?, now))
}

/// Whether the app's certificate signed a token; `None` for any other string.
pub(super) fn check(text: &str, certificate: &SigningSecret) -> Option<Signature> {
    let is_signed = Parsed::parse(text.trim())?.is_signed_by(certificate);
    Some(if is_signed { Signature::Valid } else { Signature::Invalid })
}

/// The app ID in a token of the previous format.
fn previous(text: &str) -> Option<&str> {
    let (app_id, rest) = text.strip_prefix(PREVIOUS)?.split_at_checked(ID_CHARS)?;
    let is_one = app_id.bytes().all(|it| it.is_ascii_hexdigit())
        && !rest.is_empty()
        && rest.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/' | b'='));
    is_one.then_some(app_id)
}

fn of(token: &Parsed, now: i64) -> Reading {
    let mut reading = Reading::opaque();
    let issue = i64::from(token.issue);
    let end = issue + i64::from(token.life);
    reading.validity.issued = Some(issue);
    reading.validity.ends = Some(end);
    reading.ends.push(End { name: "token", words: "the token", at: end });
    reading.add_line("what", format!("an Agora access token, format {VERSION}"));
    let mut users: Vec<_> = token.services.iter().map(|service| service.user.as_str()).collect();
    users.dedup();
    for user in &users {
        let user =
            if user.is_empty() { "any user".into() } else { user.escape_debug().to_string() };
        reading.add_line("identity", user);
    }
    for service in &token.services {
        reading.add_line("for", place(service));
        let rights =
            service.privileges.iter().map(|(number, expire)| right(service, *number, *expire));
        let rights: Vec<_> = rights.collect();
        if !rights.is_empty() {
            reading.add_line("rights", rights.join(", "));
        }
        let ending =
            service.privileges.iter().filter(|(_, expire)| (1..token.life).contains(*expire));
        reading.ends.extend(ending.map(|(number, expire)| End {
            name: "privilege",
            words: service.product.privilege(*number).unwrap_or("a privilege"),
            at: issue + i64::from(*expire),
        }));
    }
    reading.add_line("key", token.app_id.escape_debug().to_string());
    // The token comes before what expires in the same second.
    reading.ends.sort_by_key(|end| end.at);
    note_times(token, now, &mut reading);
    if users.len() > 1 {
        reading.warn("user", "differs between services");
    }
    for service in &token.services {
        note_service(service, token.life, &mut reading);
    }
    if let Some(number) = token.unknown {
        let other = format!("{number} is not known here; it and those behind it were not read");
        reading.warn("service", other);
    } else if token.services.is_empty() {
        reading.warn("service", "is missing: the token grants nothing");
    }
    reading
}

fn place(service: &Service) -> String {
    match (service.product, service.channel.as_deref()) {
        (Product::Rtc, Some("") | None) => "any channel".to_owned(),
        (Product::Rtc, Some(channel)) => format!("the channel {}", channel.escape_debug()),
        (Product::Rtm, _) => "Signaling".to_owned(),
        (Product::Chat, _) => "Chat".to_owned(),
    }
}

/// A privilege and its duration, if stated.
fn right(service: &Service, number: u16, expire: u32) -> String {
    let words = service.product.privilege(number).and_then(|right| right.strip_prefix(RIGHT));
    let words = words.map_or_else(|| format!("privilege {number}"), str::to_owned);
    match expire {
        0 => words,
        seconds => format!("{words} for {}", length(seconds.into())),
    }
}

fn note_times(token: &Parsed, now: i64, reading: &mut Reading) {
    let most = MAX_TOKEN_TTL.as_secs();
    if token.life >= INSTANT {
        let why = "looks like a timestamp; Agora treats it as seconds from the issue";
        reading.warn("expire", why);
    } else if u64::from(token.life) > most {
        let (life, most) = (length(token.life.into()), length(most));
        reading.warn("expire", format!("is {life} after the issue; Agora allows at most {most}"));
    } else if token.life == 0 {
        reading.warn("expire", "equals the issue time: the token was never valid");
    }
    let issue = i64::from(token.issue);
    if issue > now {
        let ahead = length_after(now, issue);
        reading.warn(
            "issue",
            format!("is {ahead} in the future; a clock is wrong, here or at the issuer"),
        );
    }
}

fn note_service(service: &Service, life: u32, reading: &mut Reading) {
    if service.user.is_empty() {
        let (about, any) = match service.product {
            Product::Rtc => ("uid", "is 0 or empty: valid for any user of the channel"),
            // The same holds for Chat's app-wide tokens.
            Product::Chat if service.privileges.contains_key(&CHAT_APP) => {
                ("user", "is empty, with a server's rights over the whole app")
            }
            Product::Rtm | Product::Chat => ("user", "is empty: valid for any user of the app"),
        };
        reading.warn(about, any);
    }
    if service.channel.as_deref() == Some("") {
        reading.warn("channel", "is empty: valid for any channel of the app");
    }
    if service.privileges.is_empty() {
        reading.warn("privileges", "are missing: the service grants nothing");
    }
    let instants = service.privileges.values().filter(|expire| **expire >= INSTANT).count();
    let late = service.privileges.values().filter(|expire| (life + 1..INSTANT).contains(*expire));
    if instants > 0 && life < INSTANT {
        let why = "look like timestamps; Agora treats them as seconds from the issue, so they \
                   expire with the token";
        reading.warn("privileges", why);
    } else if life < INSTANT && late.count() > 0 {
        reading.warn("privileges", "outlive the token, but expire with it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        provider::agora::packed::{Packed, SIGNATURE},
        token::{Token, id::Serial},
    };
    use base64::engine::general_purpose::STANDARD;

    const NOW: i64 = 1_700_000_010;

    fn token(life: u32, services: &[Service]) -> String {
        let user = services[0].user.clone();
        let packed = Packed::new("022f71ff2bfd535fa74d8035bd7f2a82", 1_700_000_000, life, services);
        let salt = 1 + Serial::SELF_TEST.number_below(9);
        let stream = packed.stream(&user, salt, |_| [0; SIGNATURE]);
        Token::encoded(VERSION, &stream, &STANDARD).unwrap().into()
    }

    fn rtc(privileges: &[(u16, u32)]) -> Service {
        Service {
            product: Product::Rtc,
            privileges: privileges.iter().copied().collect(),
            channel: Some("lobby".to_owned()),
            user: "42".to_owned(),
        }
    }

    fn warnings(life: u32, service: Service) -> Vec<(&'static str, String)> {
        let reading = read(&token(life, &[service]), NOW).unwrap();
        reading.warnings.into_iter().map(|warning| (warning.about, warning.message)).collect()
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        assert_eq!(warnings(600, rtc(&[(1, 600), (2, 0)])), []);
        let any_user = Service { user: String::new(), ..rtc(&[(1, 0)]) };
        let anywhere = Service { channel: Some(String::new()), ..rtc(&[(1, 0)]) };
        let server = Service {
            product: Product::Chat,
            channel: None,
            user: String::new(),
            ..rtc(&[(CHAT_APP, 0)])
        };
        for (life, service, about, expected) in [
            (86_401, rtc(&[(1, 0)]), "expire", "at most 24 h"),
            (1_700_000_600, rtc(&[(1, 0)]), "expire", "looks like a timestamp"),
            (0, rtc(&[(1, 0)]), "expire", "never valid"),
            (600, rtc(&[(1, 1_700_000_600)]), "privileges", "look like timestamps"),
            (600, rtc(&[(1, 601)]), "privileges", "outlive the token"),
            (600, rtc(&[]), "privileges", "grants nothing"),
            (600, any_user, "uid", "any user"),
            (600, anywhere, "channel", "any channel"),
            (600, server, "user", "whole app"),
        ] {
            let warnings = warnings(life, service);
            assert!(
                matches!(&warnings[..], [(its, message)] if *its == about && message.contains(expected)),
                "{expected}: {warnings:?}"
            );
        }
        let early = read(&token(600, &[rtc(&[(1, 0)])]), 1_699_999_940).unwrap().warnings;
        assert!(
            matches!(&early[..], [warning] if warning.message.contains("60 s in the future")),
            "{early:?}"
        );
    }

    #[test]
    fn identity_purpose_and_expiry_are_described() {
        let rtm = Service { product: Product::Rtm, channel: None, ..rtc(&[(1, 600)]) };
        let reading = read(&token(600, &[rtc(&[(1, 0), (3, 300), (9, 0)]), rtm]), NOW).unwrap();
        let lines: Vec<_> =
            reading.lines.into_iter().map(|line| format!("{} {}", line.label, line.text)).collect();
        let expected = [
            "what an Agora access token, format 007",
            "identity 42",
            "for the channel lobby",
            "rights join, publish video for 5 min, privilege 9",
            "for Signaling",
            "rights log in to Signaling for 10 min",
            "key 022f71ff2bfd535fa74d8035bd7f2a82",
        ];
        assert_eq!(lines, expected);
        let ends: Vec<_> = reading.ends.iter().map(|end| (end.words, end.at)).collect();
        let expected_ends =
            [("the right to publish video", 1_700_000_300), ("the token", 1_700_000_600)];
        assert_eq!(ends, expected_ends);
    }

    #[test]
    fn other_forms_are_not_read() {
        let good = token(600, &[rtc(&[(1, 0)])]);
        assert!(read(&format!(" {good}\n"), NOW).is_some());
        let cut = &good[..good.len() - 8];
        for other in ["", "007", "007!", "007eJx", "006", "hello", cut, &good[1..]] {
            assert!(read(other, NOW).is_none(), "{other}");
        }
        let former = "006022f71ff2bfd535fa74d8035bd7f2a82IAABCD+/=";
        let reading = read(former, NOW).unwrap();
        assert!(reading.warnings[0].message.contains("no longer make"), "{reading:?}");
    }

    #[test]
    fn unpacking_is_limited() {
        use flate2::{Compression, write::ZlibEncoder};
        use std::io::Write;

        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 10_000_000]).unwrap();
        let bomb = Token::encoded(VERSION, &bomb.finish().unwrap(), &STANDARD);
        assert!(read(&String::from(bomb.unwrap()), NOW).is_none());
    }
}
