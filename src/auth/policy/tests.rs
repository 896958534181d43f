//! Tests of entry matching, and of rows against a separately written model.

use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::{
    auth::{
        method::Methods,
        row::{Allowed, Profiles, RequestedIdentities, Resources},
        string_pattern::{StringPattern, StringPatterns},
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
fn most_specific_entry_wins_in_any_order() {
    let all = entries(&[
        &["spiffe://a.org/ns/*", "dns:*.media.svc"],
        &["spiffe://a.org/ns/media/*"],
        &["spiffe://a.org/ns/media/sa/api", "dns:api.media.svc", "loopback"],
        &["dns:*.eu.media.svc"],
    ]);
    for (names, expected) in [
        (&["spiffe://a.org/ns/media/sa/api"][..], Ok(2)),
        (&["spiffe://a.org/ns/media/sa/other"], Ok(1)),
        (&["spiffe://a.org/ns/web/sa/api"], Ok(0)),
        (&["spiffe://b.org/ns/web/sa/api"], Err(Denied::Unknown)),
        (&["loopback"], Ok(2)),
        (&["plaintext"], Err(Denied::Unknown)),
        (&["dns:web.media.svc"], Ok(0)),
        (&["dns:nowhere.example", "dns:api.media.svc"], Ok(2)),
        (&["dns:web.eu.media.svc"], Ok(3)),
        // All names that have an entry must have the same one.
        (&["dns:api.media.svc", "dns:web.media.svc"], Err(Denied::Unknown)),
        (&["dns:a.media.svc", "dns:b.media.svc"], Ok(0)),
        (&[], Err(Denied::Unknown)),
    ] {
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        assert_eq!(all.find(&names).map(|it| it.entry), expected, "{names:?}");
    }
}

#[test]
fn most_specific_name_is_returned() {
    let all = entries(&[&["dns:*.media.svc", "dns:*.eu.media.svc", "dns:api.media.svc"]]);
    for (names, expected) in [
        (&["dns:nowhere.example", "dns:a.media.svc"][..], 1),
        (&["dns:a.media.svc", "dns:b.media.svc"], 0),
        (&["dns:a.media.svc", "dns:a.eu.media.svc"], 1),
        (&["dns:a.eu.media.svc", "dns:api.media.svc", "dns:a.media.svc"], 1),
    ] {
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        assert_eq!(all.find(&names).map(|it| it.name), Ok(expected), "{names:?}");
    }
}

/// A row as configured. Rows and calls use few different words, so that they often match.
#[derive(Clone, Debug)]
struct RowSpec {
    methods: Option<Vec<Method>>,
    profiles: Vec<&'static str>,
    resources: Option<Vec<&'static str>>,
    identities: Option<Vec<&'static str>>,
    params: Option<Vec<&'static str>>,
    max_ttl: Option<u64>,
}

#[derive(Clone, Debug)]
enum Requested {
    One(&'static str),
    Series(&'static str),
    List(Vec<&'static str>),
}

#[derive(Clone, Debug)]
struct Call {
    method: Method,
    profile: &'static str,
    resource: &'static str,
    identities: Requested,
    params: Vec<&'static str>,
    ttl: Option<u64>,
}

const PROFILES: [&str; 3] = ["live", "room", "speech"];
const TEXTS: [&str; 8] = ["", "a", "ab", "abc", "abd", "b", "room-1", "viewer-"];
const PATTERNS: [&str; 8] = ["*", "a", "a*", "ab*", "abc", "b", "room-*", "viewer-*"];
const PARAMS: [&str; 3] = ["name", "role", "grants"];

fn some<T: Clone>(rng: &mut Rng, of: &[T]) -> Vec<T> {
    of.iter().filter(|_| rng.u8(..3) == 0).cloned().collect()
}

fn row_spec(rng: &mut Rng) -> RowSpec {
    let profiles = if rng.u8(..4) == 0 { vec!["*"] } else { some(rng, &PROFILES) };
    RowSpec {
        methods: rng.bool().then(|| some(rng, &Method::ALL)),
        profiles,
        resources: rng.bool().then(|| some(rng, &PATTERNS)),
        identities: rng.bool().then(|| some(rng, &PATTERNS)),
        params: rng.bool().then(|| some(rng, &PARAMS)),
        max_ttl: rng.bool().then(|| rng.u64(1..5) * 60),
    }
}

fn call(rng: &mut Rng) -> Call {
    let mut text = || *rng.choice(&TEXTS).unwrap();
    let (resource, identity, second, third) = (text(), text(), text(), text());
    Call {
        method: *rng.choice(&[Method::MintToken, Method::MintTokens, Method::GetGrant]).unwrap(),
        profile: rng.choice(&PROFILES).unwrap(),
        resource,
        identities: match rng.u8(..3) {
            0 => Requested::One(identity),
            1 => Requested::Series(identity),
            _ => Requested::List(vec![identity, second, third]),
        },
        params: some(rng, &PARAMS),
        ttl: rng.bool().then(|| rng.u64(1..6) * 60),
    }
}

/// The row that the server evaluates.
fn row(spec: &RowSpec) -> Row {
    let texts = |list: &Option<Vec<&str>>| match list {
        None => StringPatterns::Any,
        Some(list) => list.iter().map(|text| StringPattern::parse(text).unwrap()).collect(),
    };
    let methods = spec.methods.as_ref();
    Row {
        methods: methods.map_or(Methods::MINTING, |list| list.iter().copied().collect()),
        profiles: if spec.profiles == ["*"] {
            Profiles::Any
        } else {
            let names = spec.profiles.iter();
            Profiles::Named(names.map(|name| ProfileName::parse(name).unwrap()).collect())
        },
        resources: Resources { written: texts(&spec.resources), known: Vec::new() },
        identities: texts(&spec.identities),
        params: spec.params.as_ref().map(|list| list.iter().map(|&it| it.into()).collect()),
        max_ttl: spec.max_ttl.map(Duration::from_secs),
    }
}

/// The expected result, computed only from the configured rows: the first row that allows the call,
/// or else how far the best row gets.
fn model(rows: &[RowSpec], call: &Call) -> Result<(usize, Option<u64>), (u8, Option<u64>)> {
    let covers = |list: &Option<Vec<&str>>, text: &str, open_ended: bool| {
        let Some(list) = list else { return true };
        list.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => !open_ended && text == *pattern,
        })
    };
    // The check that fails: 0 method, 1 profile, 2 resource, 3 identity (at this index), 4
    // parameter, 5 lifetime (with the row's maximum).
    let steps = rows.iter().map(|row| {
        let minting = [Method::MintToken, Method::MintTokens];
        let method = match &row.methods {
            Some(methods) => methods.contains(&call.method),
            None => minting.contains(&call.method),
        };
        let identity = match &call.identities {
            Requested::One(identity) => (!covers(&row.identities, identity, false)).then_some(0),
            Requested::Series(prefix) => (!covers(&row.identities, prefix, true)).then_some(0),
            Requested::List(list) => list.iter().position(|it| !covers(&row.identities, it, false)),
        };
        let is_list = matches!(call.identities, Requested::List(_));
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

fn evaluated(entry: &Entry, call: &Call) -> Result<Allowed, Denied> {
    let reach = entry.reach(call.method, call.profile, call.resource)?;
    let (params, ttl) = (call.params.iter().copied(), call.ttl.map(Duration::from_secs));
    match &call.identities {
        Requested::One(identity) => {
            reach.authorize(RequestedIdentities::One(identity), &params, ttl)
        }
        Requested::Series(prefix) => {
            reach.authorize(RequestedIdentities::Series(prefix), &params, ttl)
        }
        Requested::List(list) => {
            let mut check = reach.check_list();
            list.iter().enumerate().for_each(|(index, identity)| check.add(index, identity));
            check.finish(&params, ttl)
        }
    }
}

#[test]
fn random_rows_allow_what_the_model_allows() {
    const ENTRIES: usize = 2_000;
    const CALLS: usize = 50;
    let mut rng = Rng::with_seed(0x726f_7773);
    let (mut rows, mut results) = (0, [0; 7]);
    for number in 0..ENTRIES {
        let specs: Vec<_> = (0..rng.usize(..5)).map(|_| row_spec(&mut rng)).collect();
        rows += specs.len();
        let entry = Entry { rows: specs.iter().map(row).collect(), ..entry(number, &[]) };
        for _ in 0..CALLS {
            let call = call(&mut rng);
            let expected = model(&specs, &call);
            let seconds = |life: Duration| life.as_secs();
            let found = match evaluated(&entry, &call) {
                Ok(Allowed { row, max_ttl }) => Ok((row, max_ttl.map(seconds))),
                Err(Denied::Method) => Err((0, None)),
                Err(Denied::Profile) => Err((1, None)),
                Err(Denied::Resource) => Err((2, None)),
                Err(Denied::Identity { index }) => Err((3, index.map(|it| it as u64))),
                Err(Denied::Param { .. }) => Err((4, None)),
                Err(Denied::Ttl { attainable_max }) => Err((5, Some(seconds(attainable_max)))),
                Err(denied) => panic!("{denied:?}"),
            };
            assert_eq!(found, expected, "{call:?} {specs:#?}");
            results[found.map_or_else(|(step, _)| usize::from(step), |_| 6)] += 1;
        }
    }
    assert!(rows > 2_000, "{rows}");
    assert!(results.iter().all(|times| *times > 500), "too little variation: {results:?}");
}

#[test]
fn call_must_be_allowed_by_a_single_row() {
    let half = |profile: &'static str, identity: &'static str| RowSpec {
        methods: None,
        profiles: vec![profile],
        resources: None,
        identities: Some(vec![identity]),
        params: None,
        max_ttl: None,
    };
    let specs = [half("live", "a*"), half("room", "b*")];
    let entry = Entry { rows: specs.iter().map(row).collect(), ..entry(0, &[]) };
    let mint = |profile, identity| {
        let reach = entry.reach(Method::MintToken, profile, "r")?;
        reach.authorize(RequestedIdentities::One(identity), &[].into_iter(), None)
    };
    assert_eq!(mint("live", "b1"), Err(Denied::Identity { index: None }));
    assert_eq!(mint("room", "b1").map(|allowed| allowed.row), Ok(1));
}

#[test]
fn empty_list_allows_nothing() {
    let all = RowSpec {
        methods: None,
        profiles: vec!["*"],
        resources: None,
        identities: None,
        params: None,
        max_ttl: None,
    };
    let none = || Some(Vec::new());
    for (spec, denied) in [
        (RowSpec { methods: Some(Vec::new()), ..all.clone() }, Denied::Method),
        (RowSpec { profiles: Vec::new(), ..all.clone() }, Denied::Profile),
        (RowSpec { resources: none(), ..all.clone() }, Denied::Resource),
        (RowSpec { identities: none(), ..all.clone() }, Denied::Identity { index: None }),
        (RowSpec { params: none(), ..all }, Denied::Param { name: "name".to_owned() }),
    ] {
        let entry = Entry { rows: vec![row(&spec)], ..entry(0, &[]) };
        let reach = entry.reach(Method::MintToken, "live", "r");
        let result = reach.and_then(|it| {
            it.authorize(RequestedIdentities::One("a"), &["name"].into_iter(), None)
        });
        assert_eq!(result, Err(denied));
    }
}
