//! Sections of a file, and the problems reported for them.

use std::time::Duration;

use super::*;

fn none(_: &str) -> Option<String> {
    None
}

fn problems_of(text: &str, read: impl FnOnce(&mut Section<'_>)) -> String {
    let document = Document::parse("f.toml", text, &none).unwrap();
    let mut root = document.root();
    read(&mut root);
    root.finish();
    document.conclude(Some(())).map_or_else(|problems| problems.to_string(), |()| String::new())
}

#[test]
fn unknown_key_suggests_the_nearest() {
    let text = "port = 1\nhots = 'a'\nzebra = 2\n";
    let problems = problems_of(text, |root| {
        assert_eq!(root.integer("port", 1..=9), Some(1_u32));
        assert_eq!(root.text("host"), None);
    });
    assert_eq!(
        problems,
        "f.toml:2: hots: unknown key; did you mean host?\n\
         f.toml:3: zebra: unknown key; expected one of port, host"
    );
}

#[test]
fn reading_continues_after_a_problem() {
    let text = "a = 1\n\n[b]\nc = 'x'\nd = '5 minutes'\n";
    let problems = problems_of(text, |root| {
        assert_eq!(root.text("a"), None);
        let mut b = root.section("b");
        assert_eq!(b.flag("c"), None);
        assert_eq!(b.duration("d"), Some(Duration::from_secs(300)));
        assert_eq!(b.required("e", str::parse::<u8>), None);
        b.finish();
        let mut absent = root.section("absent");
        assert_eq!(absent.text("x"), None);
        absent.finish();
    });
    assert_eq!(
        problems,
        "f.toml:1: a: must be a string in quotes, not a whole number\n\
         f.toml:3: b.e: is missing\n\
         f.toml:4: b.c: must be true or false, without quotes, not a string"
    );
}

#[test]
fn refused_key_is_never_suggested() {
    let problems = problems_of("secret = 1\nsecrets = 2\n", |root| {
        assert!(root.refuse("secret", "no"));
        assert!(!root.refuse("absent", "no"));
        assert_eq!(root.text("file"), None);
    });
    assert_eq!(
        problems,
        "f.toml:1: secret: no\nf.toml:2: secrets: unknown key; expected one of file"
    );
}

#[test]
fn affirmed_key_does_not_become_known() {
    let problems = problems_of("[a]\nb = true\nc = false\nd = 'true'\n", |root| {
        let affirms = [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e"), ("b", "b")];
        let affirms = affirms.map(|(table, key)| root.affirms(table, key));
        assert_eq!(affirms, [true, false, false, false, false]);
    });
    assert!(problems.starts_with("f.toml:1: a: unknown key"), "{problems}");
}

#[test]
fn key_with_a_line_break_stays_on_one_line() {
    let problems = problems_of("\"a\\nb\" = 1\n", |root| assert!(!root.has("c")));
    assert_eq!(problems.lines().count(), 1, "{problems}");
}
