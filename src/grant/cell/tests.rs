//! What the write end accepts.

use super::*;
use crate::{
    clock::{Anchor, Clock},
    name::{ProfileName, Resource},
};

/// Prepares a grant as its own text; fails for `null`.
struct PlainText;

impl Prepare for PlainText {
    type Ready = String;
    type Error = &'static str;

    fn prepare(&self, grant: &Grant) -> Result<String, &'static str> {
        let text = grant.content().as_str();
        if text == "null" { Err("unusable") } else { Ok(text.to_owned()) }
    }
}

fn publisher() -> (Publisher<PlainText>, Reader<String>) {
    let profile = ProfileName::parse("live").unwrap();
    let name = GrantName { profile, resource: Resource::parse("a").unwrap() };
    cell(name, Duration::from_secs(2), PlainText, Arc::new(watch::Sender::new(())))
}

fn grant(text: &str, anchor: Anchor, generation: i64) -> Grant {
    Grant::new(text.into(), anchor, Duration::from_secs(60), Generation::from_caller(generation))
}

fn current(reader: &Reader<String>) -> Option<String> {
    reader.load().as_ref().map(|published| published.ready.clone())
}

#[test]
fn late_response_never_replaces_a_newer_grant() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let later = Duration::from_millis(1);
    let late = Anchor { boot: early.boot + later, wall: early.wall + later };
    assert_eq!(current(&reader), None);
    let newer = publisher.publish(grant("2", late, 2));
    assert_eq!(newer, Publication::Published(Generation::from_caller(2)));
    // Requested earlier, received later; its label does not matter here.
    assert_eq!(publisher.publish(grant("1", early, 9)), Publication::Late);
    assert_eq!(publisher.publish(grant("1", late, 9)), Publication::Late);
    assert_eq!(current(&reader).as_deref(), Some("2"));
    assert_eq!(publisher.generation(), Generation::from_caller(2));
}

#[test]
fn later_request_wins_after_wall_clock_was_set_back() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let late = Anchor {
        boot: early.boot + Duration::from_secs(50),
        wall: early.wall - Duration::from_secs(3_600),
    };
    let _ = publisher.publish(grant("1", early, 7));
    let generation = Generation::after(publisher.generation(), late.wall - Duration::MAX);
    assert_eq!(generation.get(), 8);
    let _ = publisher.publish(grant("2", late, generation.get()));
    assert_eq!(current(&reader).as_deref(), Some("2"));
}

#[test]
fn same_grant_is_republished_under_its_generation() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let _ = publisher.publish(grant("1", early, 7));
    let late = Anchor { boot: early.boot + Duration::from_secs(50), wall: early.wall };
    let again = publisher.publish(grant("1", late, 7));
    assert_eq!(again, Publication::Published(Generation::from_caller(7)));
    assert_eq!(publisher.life(), Some(grant("1", late, 7).life()));
    // A late response reverts nothing.
    assert_eq!(publisher.publish(grant("1", early, 7)), Publication::Late);
    assert_eq!(reader.load().as_ref().map(|it| it.grant.life().anchor), Some(late));
}

#[test]
fn unprepared_grant_leaves_the_current_one() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let _ = publisher.publish(grant("1", early, 1));
    let late = Anchor { boot: early.boot + Duration::from_secs(50), wall: early.wall };
    assert_eq!(publisher.publish(grant("null", late, 2)), Publication::Unprepared("unusable"));
    assert_eq!(current(&reader).as_deref(), Some("1"));
}

#[test]
fn reported_life_is_that_of_the_published_grant() {
    let (mut publisher, reader) = publisher();
    let anchor = Clock::system().now();
    publisher.report(Status { life: Some(grant("1", anchor, 1).life()), ..Status::unknown() });
    assert_eq!(reader.view().status().life, None);
    let _ = publisher.publish(grant("2", anchor, 2));
    publisher.report(Status::unknown());
    assert_eq!(reader.view().status().life, publisher.life());
}
