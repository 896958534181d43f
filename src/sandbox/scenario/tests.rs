//! Valid and invalid scenario files.

use super::*;

fn problems(text: &str) -> String {
    parse("s.toml", text, &["wrong-sid", "nested"]).expect_err(text).to_string()
}

#[test]
fn file_is_equivalent_to_words() {
    let text = r#"
        [[fault]]
        status = 429
        retry-after = 5
        from = "20s"
        until = "1m 20s"

        [[fault]]
        resource = "VJ0123456789abcdef0123456789abcdef"
        hang = true
        requests = "3-5"

        [[fault]]
        body-text = "[1, 2]"
        reset = false
        times = 2
    "#;
    let found: Vec<_> =
        parse("s.toml", text, &[]).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "status=429,retry-after=5,from=20s,until=80s",
            "hang,resource=VJ0123456789abcdef0123456789abcdef,requests=3-5",
            "body-text=\"[1, 2]\",times=2",
        ]
    );
}

#[test]
fn all_problems_are_reported_with_their_lines() {
    let text = r#"title = "x"
[[fault]]
stauts = 503
latency = "1s"
[[fault]]
status = 99
from = "soon"
hang = 1
[[fault]]
status = 503
reset = true
[[fault]]
requests = 5.5
hang = true
[[fault]]
times = 3
[[fault]]
hang = true
from = "20s"
until = "10s"
[[fault]]
body = "nul"
"#;
    let wanted = [
        "s.toml:1: title: unknown key; expected one of fault",
        "s.toml:3: fault[0].stauts: unknown key; did you mean status?",
        "s.toml:6: fault[1].status: must be an HTTP status from 200 to 599, such as 503",
        "s.toml:7: fault[1].from: must be a duration, such as 20s or 1500ms",
        "s.toml:8: fault[1].hang: must be true or false, without quotes, not a whole number",
        "s.toml:11: fault[2].reset: status and reset exclude each other: a fault has one effect",
        "s.toml:13: fault[3].requests: must be a string in quotes or a whole number, not a fraction",
        "s.toml:15: fault[4]: does nothing: it needs a status, a body, hang, reset, latency or \
         another effect",
        "s.toml:17: fault[5]: until must be later than from",
        "s.toml:22: fault[6].body: must be one of wrong-sid, nested, truncated, cut, slow, huge, \
         endless, gzip; body-text takes any string",
    ];
    assert_eq!(problems(text).lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn file_without_faults_is_refused() {
    for (text, says) in [
        ("", "s.toml:1: fault: is missing: a scenario is a list of faults"),
        (
            "[fault]\nhang = true",
            "s.toml:1: fault: must be an array of tables, each under [[fault]]",
        ),
        ("fault = [1]", "s.toml:1: fault[0]: must be a table, not a whole number"),
        ("[[faults]]\nhang = true", "s.toml:1: faults: unknown key; did you mean fault?"),
        ("[[fault]", "s.toml:1: is not TOML"),
    ] {
        let found = problems(text);
        assert!(found.lines().any(|line| line.starts_with(says)), "{text}: {found}");
    }
    let missing = load(Path::new("/nowhere/s.toml"), &[]).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/s.toml: cannot be read: "), "{missing}");
}
