//! The sample file tells the truth.

use super::*;
use crate::refresh::schedule::Point;

const SAMPLE: &str = include_str!("../../../grantmint.toml");

fn sample() -> String {
    SAMPLE.replace(
        "api_key_secret_file = \"/run/secrets/twilio\"",
        "api_key_secret_env = \"API_SECRET\"",
    )
}

/// The sample with each line turned that begins so.
fn uncommented(start: &str) -> String {
    let lines = sample();
    let lines = lines.lines().map(|line| match line.strip_prefix(start) {
        Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            key
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn its_commented_keys_are_the_defaults() {
    let (plain, written) = (sample(), uncommented("#"));
    assert!(written.lines().filter(|line| line.contains(" = ")).count() > 20);
    let (mut plain, mut written) = (parse(&plain).unwrap(), parse(&written).unwrap());
    // The point is a share of the life where it is left out, and may be written as a duration.
    let point = |config: &mut Config| match &mut config.profiles[0].supply {
        Supply::Grants(grants, _) => {
            let point = grants.policy.usual_point();
            grants.policy.point = Point::Share(1.0);
            point
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(point(&mut plain), point(&mut written));
    assert_eq!(format!("{plain:?}"), format!("{written:?}"));
}

#[test]
fn its_examples_are_good() {
    let examples =
        uncommented("#     ").replace("\napi_key_secret_env = \"TWILIO_API_SECRET\"", "");
    let config = parse(&examples).unwrap();
    let live = &config.profiles[0];
    assert_eq!(live.grants().unwrap().policy.usual_point(), Some(Duration::from_secs(34)));
    let shown = live.provider.shown().into_iter().chain(live.shown_tokens());
    let shown: Vec<_> = shown.map(|(key, _)| key).collect();
    for key in ["allow_origin", "region", "nbf_backdate", "grants"] {
        assert!(shown.contains(&key), "{key}");
    }
}

#[test]
fn it_has_every_key() {
    // A key unlike any other is answered with all that there are.
    const UNLIKE: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1\n";
    let text = format!(
        "{UNLIKE}[server]\n{UNLIKE}[admin]\n{UNLIKE}[limits]\n{UNLIKE}{LIVE}{UNLIKE}\
         [profiles.live.budget]\n{UNLIKE}"
    );
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.list().len(), 6);
    for problem in problems.list() {
        let (_, known) = problem.message.split_once("known here: ").unwrap();
        for key in known.split(", ") {
            let written = format!("{key} = ");
            let table = [format!("\n[{key}"), format!(".{key}.")];
            let there =
                SAMPLE.contains(&written) || table.iter().any(|table| SAMPLE.contains(table));
            assert!(there, "{key} is not in the sample");
        }
    }
}
