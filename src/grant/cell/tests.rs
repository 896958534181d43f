//! What the write end lets through.

use super::*;
use crate::{
    clock::{Anchor, Clock},
    name::{ProfileName, Resource},
};

/// Prepares a grant as its own text, unless that says otherwise.
struct Texts;

impl Prepare for Texts {
    type Ready = String;
    type Error = &'static str;

    fn prepare(&self, grant: &Grant) -> Result<String, &'static str> {
        let text = grant.content().as_str();
        if text == "null" { Err("unusable") } else { Ok(text.to_owned()) }
    }
}

fn publisher() -> (Publisher<Texts>, Reader<String>) {
    let profile = ProfileName::parse("live").unwrap();
    let name = GrantName { profile, resource: Resource::parse("a").unwrap() };
    cell(name, Duration::from_secs(2), Texts, Arc::new(watch::Sender::new(())))
}

fn grant(text: &str, anchor: Anchor, generation: i64) -> Grant {
    Grant::new(text.into(), anchor, Duration::from_secs(60), Generation::from_caller(generation))
}

fn present(reader: &Reader<String>) -> Option<String> {
    reader.load().as_ref().map(|published| published.ready.clone())
}

#[test]
fn a_late_answer_never_replaces_a_newer_grant() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let later = Duration::from_millis(1);
    let late = Anchor { boot: early.boot + later, wall: early.wall + later };
    assert_eq!(present(&reader), None);
    let newer = publisher.publish(grant("2", late, 2));
    assert_eq!(newer, Publication::Published(Generation::from_caller(2)));
    // Asked for earlier, answered later; its label counts for nothing here.
    assert_eq!(publisher.publish(grant("1", early, 9)), Publication::Late);
    assert_eq!(publisher.publish(grant("1", late, 9)), Publication::Late);
    assert_eq!(present(&reader).as_deref(), Some("2"));
    assert_eq!(publisher.generation(), Generation::from_caller(2));
}

#[test]
fn a_later_request_replaces_the_grant_even_after_the_wall_clock_was_set_back() {
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
    assert_eq!(present(&reader).as_deref(), Some("2"));
}

#[test]
fn the_same_grant_may_be_published_again_with_another_life_and_its_generation() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let _ = publisher.publish(grant("1", early, 7));
    let late = Anchor { boot: early.boot + Duration::from_secs(50), wall: early.wall };
    let again = publisher.publish(grant("1", late, 7));
    assert_eq!(again, Publication::Published(Generation::from_caller(7)));
    assert_eq!(publisher.life(), Some(grant("1", late, 7).life()));
    // A late answer takes nothing back.
    assert_eq!(publisher.publish(grant("1", early, 7)), Publication::Late);
    assert_eq!(reader.load().as_ref().map(|it| it.grant.life().anchor), Some(late));
}

#[test]
fn what_cannot_be_prepared_leaves_the_present_grant() {
    let (mut publisher, reader) = publisher();
    let early = Clock::system().now();
    let _ = publisher.publish(grant("1", early, 1));
    let late = Anchor { boot: early.boot + Duration::from_secs(50), wall: early.wall };
    assert_eq!(publisher.publish(grant("null", late, 2)), Publication::Unprepared("unusable"));
    assert_eq!(present(&reader).as_deref(), Some("1"));
}

#[test]
fn the_life_told_is_always_the_published_grants() {
    let (mut publisher, reader) = publisher();
    let anchor = Clock::system().now();
    publisher.tell(Status { life: Some(grant("1", anchor, 1).life()), ..Status::unknown() });
    assert_eq!(reader.view().status().life, None);
    let _ = publisher.publish(grant("2", anchor, 2));
    publisher.tell(Status::unknown());
    assert_eq!(reader.view().status().life, publisher.life());
}
