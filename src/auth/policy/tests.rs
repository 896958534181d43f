//! Which entry, and what its rows allow: against a model that is written apart.

use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::{
    auth::{
        method::Methods,
        row::{Allowed, Profiles, Resources, Whose},
        text::{Text, Texts},
    },
    name::ProfileName,
};

fn name(text: &str) -> CallerName {
    CallerName::parse(text).unwrap()
}

fn entry(number: usize, matches: &[&str]) -> Entry {
    Entry {
        name: EntryName::parse(&format!("e{number}")).unwrap(),
        matches: matches.iter().map(|text| CallerPattern::parse(text).unwrap()).collect(),
        rows: Vec::new(),
        limits: Limits::default(),
    }
}

fn entries(all: &[&[&str]]) -> Entries {
    Entries::new(all.iter().enumerate().map(|(number, matches)| entry(number, matches)).collect())
}

#[test]
fn the_most_specific_entry_decides_wherever_it_stands() {
    let all = entries(&[
        &["spiffe://a.org/ns/*", "dns:*.media.svc"],
        &["spiffe://a.org/ns/media/*"],
        &["spiffe://a.org/ns/media/sa/api", "dns:api.media.svc", "loopback"],
        &["dns:*.eu.media.svc"],
    ]);
    for (names, meant) in [
        (&["spiffe://a.org/ns/media/sa/api"][..], Ok(2)),
        (&["spiffe://a.org/ns/media/sa/other"], Ok(1)),
        (&["spiffe://a.org/ns/web/sa/api"], Ok(0)),
        (&["spiffe://b.org/ns/web/sa/api"], Err(Denied::Unknown)),
        (&["loopback"], Ok(2)),
        (&["plaintext"], Err(Denied::Unknown)),
        (&["dns:web.media.svc"], Ok(0)),
        (&["dns:nowhere.example", "dns:api.media.svc"], Ok(2)),
        (&["dns:web.eu.media.svc"], Ok(3)),
        // All that are in one must be in the same.
        (&["dns:api.media.svc", "dns:web.media.svc"], Err(Denied::Unknown)),
        (&["dns:a.media.svc", "dns:b.media.svc"], Ok(0)),
        (&[], Err(Denied::Unknown)),
    ] {
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        assert_eq!(all.find(&names).map(|it| it.entry), meant, "{names:?}");
    }
}

#[test]
fn the_name_that_matches_most_exactly_is_the_callers() {
    let all = entries(&[&["dns:*.media.svc", "dns:*.eu.media.svc", "dns:api.media.svc"]]);
    for (names, meant) in [
        (&["dns:nowhere.example", "dns:a.media.svc"][..], 1),
        (&["dns:a.media.svc", "dns:b.media.svc"], 0),
        (&["dns:a.media.svc", "dns:a.eu.media.svc"], 1),
        (&["dns:a.eu.media.svc", "dns:api.media.svc", "dns:a.media.svc"], 1),
    ] {
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        assert_eq!(all.find(&names).map(|it| it.name), Ok(meant), "{names:?}");
    }
}

/// A row as it is written, and a call: all of few words, so that they meet.
#[derive(Clone, Debug)]
struct Written {
    methods: Option<Vec<Method>>,
    profiles: Vec<&'static str>,
    resources: Option<Vec<&'static str>>,
    identities: Option<Vec<&'static str>>,
    params: Option<Vec<&'static str>>,
    max_ttl: Option<u64>,
}

#[derive(Clone, Debug)]
enum Wanted {
    One(&'static str),
    Series(&'static str),
    List(Vec<&'static str>),
}

#[derive(Clone, Debug)]
struct Call {
    method: Method,
    profile: &'static str,
    resource: &'static str,
    whose: Wanted,
    params: Vec<&'static str>,
    ttl: Option<u64>,
}

const PROFILES: [&str; 3] = ["live", "room", "speech"];
const TEXTS: [&str; 8] = ["", "a", "ab", "abc", "abd", "b", "room-1", "viewer-"];
const WRITTEN: [&str; 8] = ["*", "a", "a*", "ab*", "abc", "b", "room-*", "viewer-*"];
const PARAMS: [&str; 3] = ["name", "role", "grants"];

fn some<T: Clone>(rng: &mut Rng, of: &[T]) -> Vec<T> {
    of.iter().filter(|_| rng.u8(..3) == 0).cloned().collect()
}

fn written(rng: &mut Rng) -> Written {
    let profiles = if rng.u8(..4) == 0 { vec!["*"] } else { some(rng, &PROFILES) };
    Written {
        methods: rng.bool().then(|| some(rng, &Method::ALL)),
        profiles,
        resources: rng.bool().then(|| some(rng, &WRITTEN)),
        identities: rng.bool().then(|| some(rng, &WRITTEN)),
        params: rng.bool().then(|| some(rng, &PARAMS)),
        max_ttl: rng.bool().then(|| rng.u64(1..5) * 60),
    }
}

fn call(rng: &mut Rng) -> Call {
    let mut text = || *rng.choice(&TEXTS).unwrap();
    let (resource, whose, second, third) = (text(), text(), text(), text());
    Call {
        method: *rng.choice(&[Method::MintToken, Method::MintTokens, Method::GetGrant]).unwrap(),
        profile: rng.choice(&PROFILES).unwrap(),
        resource,
        whose: match rng.u8(..3) {
            0 => Wanted::One(whose),
            1 => Wanted::Series(whose),
            _ => Wanted::List(vec![whose, second, third]),
        },
        params: some(rng, &PARAMS),
        ttl: rng.bool().then(|| rng.u64(1..6) * 60),
    }
}

/// What the row is to the server.
fn row(written: &Written) -> Row {
    let texts = |list: &Option<Vec<&str>>| match list {
        None => Texts::Any,
        Some(list) => list.iter().map(|text| Text::parse(text).unwrap()).collect(),
    };
    let methods = written.methods.as_ref();
    Row {
        methods: methods.map_or(Methods::MINTING, |list| list.iter().copied().collect()),
        profiles: if written.profiles == ["*"] {
            Profiles::Any
        } else {
            let names = written.profiles.iter();
            Profiles::Named(names.map(|name| ProfileName::parse(name).unwrap()).collect())
        },
        resources: Resources { written: texts(&written.resources), known: Vec::new() },
        identities: texts(&written.identities),
        params: written.params.as_ref().map(|list| list.iter().map(|&it| it.into()).collect()),
        max_ttl: written.max_ttl.map(Duration::from_secs),
    }
}

/// What comes of a call, told from what is written alone: how far each row gets, and the first
/// that gets to the end.
fn model(rows: &[Written], call: &Call) -> Result<(usize, Option<u64>), (u8, Option<u64>)> {
    let covers = |list: &Option<Vec<&str>>, text: &str, open_ended: bool| {
        let Some(list) = list else { return true };
        list.iter().any(|written| match written.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => !open_ended && text == *written,
        })
    };
    // 0: the method is not named, 1: the profile, 2: the resource, 3: the identity at this
    // index, 4: a parameter, 5: the life, of which there may be so much.
    let steps = rows.iter().map(|row| {
        let minting = [Method::MintToken, Method::MintTokens];
        let method = match &row.methods {
            Some(methods) => methods.contains(&call.method),
            None => minting.contains(&call.method),
        };
        let identity = match &call.whose {
            Wanted::One(identity) => (!covers(&row.identities, identity, false)).then_some(0),
            Wanted::Series(prefix) => (!covers(&row.identities, prefix, true)).then_some(0),
            Wanted::List(list) => list.iter().position(|it| !covers(&row.identities, it, false)),
        };
        let is_list = matches!(call.whose, Wanted::List(_));
        let listed = |index| if is_list { u64::try_from(index).ok() } else { None };
        let closed = |name: &&str| row.params.as_ref().is_some_and(|open| !open.contains(name));
        if !method {
            Err((0, None))
        } else if row.profiles != ["*"] && !row.profiles.contains(&call.profile) {
            Err((1, None))
        } else if !covers(&row.resources, call.resource, false) {
            Err((2, None))
        } else if let Some(index) = identity {
            Err((3, listed(index)))
        } else if call.params.iter().any(closed) {
            Err((4, None))
        } else if call.ttl > row.max_ttl && row.max_ttl.is_some() {
            Err((5, row.max_ttl))
        } else {
            Ok(row.max_ttl)
        }
    });
    let steps: Vec<_> = steps.collect();
    match steps.iter().position(Result::is_ok) {
        Some(first) => Ok((first, steps[first].unwrap())),
        None => Err(steps.into_iter().filter_map(Result::err).max().unwrap_or((0, None))),
    }
}

fn judged(entry: &Entry, call: &Call) -> Result<Allowed, Denied> {
    let reach = entry.reach(call.method, call.profile, call.resource)?;
    let (params, ttl) = (call.params.iter().copied(), call.ttl.map(Duration::from_secs));
    match &call.whose {
        Wanted::One(identity) => reach.judge(Whose::One(identity), &params, ttl),
        Wanted::Series(prefix) => reach.judge(Whose::Series(prefix), &params, ttl),
        Wanted::List(list) => {
            let mut sieve = reach.sieve();
            list.iter().enumerate().for_each(|(index, identity)| sieve.admit(index, identity));
            sieve.judge(&params, ttl)
        }
    }
}

#[test]
fn thousands_of_rows_allow_what_a_model_of_them_does() {
    const ENTRIES: usize = 2_000;
    const CALLS: usize = 50;
    let mut rng = Rng::with_seed(0x726f_7773);
    let (mut rows, mut ends) = (0, [0; 7]);
    for number in 0..ENTRIES {
        let written: Vec<_> = (0..rng.usize(..5)).map(|_| written(&mut rng)).collect();
        rows += written.len();
        let entry = Entry { rows: written.iter().map(row).collect(), ..entry(number, &[]) };
        for _ in 0..CALLS {
            let call = call(&mut rng);
            let meant = model(&written, &call);
            let seconds = |life: Duration| life.as_secs();
            let found = match judged(&entry, &call) {
                Ok(Allowed { row, max_ttl }) => Ok((row, max_ttl.map(seconds))),
                Err(Denied::Method) => Err((0, None)),
                Err(Denied::Profile) => Err((1, None)),
                Err(Denied::Resource) => Err((2, None)),
                Err(Denied::Identity { index }) => Err((3, index.map(|it| it as u64))),
                Err(Denied::Param { .. }) => Err((4, None)),
                Err(Denied::Ttl { attainable_max }) => Err((5, Some(seconds(attainable_max)))),
                Err(denied) => panic!("{denied:?}"),
            };
            assert_eq!(found, meant, "{call:?} of {written:#?}");
            ends[found.map_or_else(|(step, _)| usize::from(step), |_| 6)] += 1;
        }
    }
    assert!(rows > 2_000, "{rows}");
    assert!(ends.iter().all(|times| *times > 500), "they are not varied enough: {ends:?}");
}

#[test]
fn a_call_is_allowed_by_one_row_or_not_at_all() {
    let half = |profile: &'static str, identity: &'static str| Written {
        methods: None,
        profiles: vec![profile],
        resources: None,
        identities: Some(vec![identity]),
        params: None,
        max_ttl: None,
    };
    let written = [half("live", "a*"), half("room", "b*")];
    let entry = Entry { rows: written.iter().map(row).collect(), ..entry(0, &[]) };
    let mint = |profile, identity| {
        let reach = entry.reach(Method::MintToken, profile, "r")?;
        reach.judge(Whose::One(identity), &[].into_iter(), None)
    };
    assert_eq!(mint("live", "b1"), Err(Denied::Identity { index: None }));
    assert_eq!(mint("room", "b1").map(|allowed| allowed.row), Ok(1));
}

#[test]
fn an_empty_list_allows_nothing() {
    let all = Written {
        methods: None,
        profiles: vec!["*"],
        resources: None,
        identities: None,
        params: None,
        max_ttl: None,
    };
    let none = || Some(Vec::new());
    for (written, denied) in [
        (Written { methods: Some(Vec::new()), ..all.clone() }, Denied::Method),
        (Written { profiles: Vec::new(), ..all.clone() }, Denied::Profile),
        (Written { resources: none(), ..all.clone() }, Denied::Resource),
        (Written { identities: none(), ..all.clone() }, Denied::Identity { index: None }),
        (Written { params: none(), ..all }, Denied::Param { name: "name".to_owned() }),
    ] {
        let entry = Entry { rows: vec![row(&written)], ..entry(0, &[]) };
        let reach = entry.reach(Method::MintToken, "live", "r");
        let judged = reach.and_then(|it| it.judge(Whose::One("a"), &["name"].into_iter(), None));
        assert_eq!(judged, Err(denied));
    }
}
