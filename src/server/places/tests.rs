//! Who gets how many places.

use std::net::IpAddr;

use crate::{
    auth::{
        name::{DnsName, Uid},
        pattern::CallerPattern,
        policy::{self, Entries, Entry, Policy},
    },
    telemetry::Metrics,
};

use super::*;

fn peer(names: &[&str], last: u8) -> Peer {
    let mut names = names.iter().map(|name| CallerName::Dns(DnsName::parse(name).unwrap()));
    Peer {
        name: names.next(),
        other_names: names.collect(),
        certificate: None,
        from: IpAddr::from([192, 0, 2, last]).into(),
    }
}

fn entry(name: &str, patterns: &[&str], connections: Option<usize>) -> Entry {
    Entry {
        name: EntryName::parse(name).unwrap(),
        matches: patterns.iter().map(|it| CallerPattern::parse(it).unwrap()).collect(),
        rows: Vec::new(),
        limits: policy::Limits { connections, ..policy::Limits::default() },
    }
}

fn entries(all: Vec<Entry>) -> Entries {
    Entries::new(all)
}

/// With one entry for `a.example`, and one for names below `team.example`.
fn known(of_team: Option<usize>) -> Entries {
    let team = entry("team", &["dns:*.team.example"], of_team);
    entries(vec![entry("a", &["dns:a.example"], None), team])
}

fn places(connections: usize, connections_per_caller: usize, policy: Policy, mode: Mode) -> Places {
    let limits = Limits { connections, connections_per_caller, ..Limits::default() };
    Places::new(&limits, Arc::new(Callers::new(policy, mode, &Metrics::default())))
}

fn of_known(connections: usize, of_caller: usize, of_team: Option<usize>) -> Places {
    places(connections, of_caller, Policy::Entries(known(of_team)), Mode::Enforce)
}

/// How many connections each of these peers gets, by turns.
fn held(places: &Places, peers: &[Peer]) -> Vec<Place> {
    let mut held = Vec::new();
    for turn in 0.. {
        let before = held.len();
        held.extend(peers.iter().filter_map(|peer| places.take(peer).ok()));
        if held.len() == before || turn > 1_000 {
            break;
        }
    }
    held
}

fn assert_all_are_free(places: &Places) {
    let taken = places.lock();
    assert_eq!((taken.all, taken.strangers), (0, 0));
    assert!(taken.of_names.is_empty() && taken.of_entries.is_empty());
    assert!(taken.strangers_by_network.is_empty());
}

#[test]
fn a_name_has_its_places_and_its_entry_leaves_a_quarter_to_others() {
    for (of_caller, most) in [(2, 2), (100, 6)] {
        let places = of_known(8, of_caller, None);
        let a = peer(&["a.example"], 1);
        let mut all = held(&places, std::slice::from_ref(&a));
        assert_eq!(all.len(), most);
        assert_eq!(places.take(&a).err(), Some(Denied::OfCaller));
        all.push(places.take(&peer(&["x.team.example"], 1)).ok().unwrap());
        all.remove(0);
        all.push(places.take(&a).ok().unwrap());
        drop(all);
        assert_all_are_free(&places);
    }
}

#[test]
fn the_names_of_an_entry_share_its_limit_and_never_have_more_than_three_quarters() {
    let team = [peer(&["x.team.example"], 1), peer(&["y.team.example"], 2)];
    for (of_caller, of_team, most) in
        [(2, None, 4), (100, None, 6), (1, Some(5), 5), (100, Some(7), 6)]
    {
        let places = of_known(8, of_caller, of_team);
        let all = held(&places, &team);
        assert_eq!(all.len(), most, "{of_caller} {of_team:?}");
        drop(all);
        assert_all_are_free(&places);
    }
}

#[test]
fn the_order_of_names_and_names_in_no_entry_give_nobody_more_places() {
    let places = of_known(8, 1, None);
    let one = places.take(&peer(&["x.team.example", "y.team.example"], 1)).ok().unwrap();
    for names in [&["y.team.example", "x.team.example"][..], &["b.example", "x.team.example"]] {
        assert_eq!(places.take(&peer(names, 1)).err(), Some(Denied::OfCaller), "{names:?}");
    }
    drop(one);
}

#[test]
fn strangers_have_half_of_the_places_and_a_network_has_64() {
    let places = of_known(200, 200, None);
    let take = |last| places.take(&peer(&[], last));
    let mut held: Vec<_> = (0..32).map(|_| take(1).ok().unwrap()).collect();
    // A certificate that is in no entry makes nobody known.
    let unknown = |last| places.take(&peer(&["b.example"], last));
    held.extend((0..32).map(|_| unknown(1).ok().unwrap()));
    assert!(held.iter().all(Place::is_strangers));
    assert_eq!(take(1).err(), Some(Denied::Strangers));
    held.extend((0..36).map(|_| unknown(2).ok().unwrap()));
    assert_eq!(unknown(3).err(), Some(Denied::Strangers), "half are taken");
    let named = places.take(&peer(&["a.example"], 1)).ok().unwrap();
    assert!(!named.is_strangers());
    drop((held, named));
    assert_all_are_free(&places);
}

#[test]
fn the_addresses_of_an_ipv6_network_are_one() {
    let places = of_known(1_000, 200, None);
    let from = |last: u16| {
        let from = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]).into();
        places.take(&Peer { from, ..peer(&[], 1) })
    };
    let held: Vec<_> = (0..64).map(|last| from(last).ok().unwrap()).collect();
    assert_eq!(from(64).err(), Some(Denied::Strangers));
    drop(held);
}

#[test]
fn a_stranger_whose_name_comes_into_an_entry_is_one_no_longer() {
    let places = of_known(8, 1, None);
    let b = peer(&["b.example"], 1);
    let (mut first, mut second) = (places.take(&b).ok().unwrap(), places.take(&b).ok().unwrap());
    assert!(first.is_still_strangers(&b));
    places.callers.replace(entries(vec![entry("b", &["dns:b.example"], None)]));
    assert!(first.is_strangers() && !first.is_still_strangers(&b) && !first.is_strangers());
    assert!(second.is_still_strangers(&b), "it has no place as a caller");
    assert_eq!(places.lock().strangers, 1);
    drop((first, second));
    assert_all_are_free(&places);
}

#[test]
fn who_is_served_without_an_entry_is_no_stranger() {
    let observed = places(8, 2, Policy::Entries(known(None)), Mode::Observe);
    let open = places(8, 2, Policy::Open, Mode::Enforce);
    for places in [observed, open] {
        let all = held(&places, &[peer(&["b.example"], 1)]);
        assert_eq!(all.len(), 2);
        assert!(!all[0].is_strangers());
    }
}

#[test]
fn anybody_may_hold_all_places_where_nobody_needs_a_name() {
    let places = places(300, 1, Policy::Open, Mode::Enforce);
    let loopback = Peer { name: Some(CallerName::Loopback), ..peer(&[], 1) };
    assert_eq!(held(&places, &[peer(&[], 1), loopback.clone()]).len(), 300);
    let all = held(&places, &[peer(&[], 1), loopback.clone()]);
    assert_eq!(places.take(&loopback).err(), Some(Denied::Full));
    drop(all);
}

#[test]
fn users_of_a_unix_socket_have_places_each_as_their_own() {
    let user = |id| {
        let name = Uid::of_peer(id, 65_534).map(CallerName::Uid);
        Peer { name, other_names: Vec::new(), certificate: None, from: Remote::Unix(id) }
    };
    // Where everybody may call, each user has what a name has.
    let open = places(1_000, 2, Policy::Open, Mode::Enforce);
    let ours: Vec<_> = (0..2).map(|_| open.take(&user(1)).ok().unwrap()).collect();
    assert_eq!(open.take(&user(1)).err(), Some(Denied::OfCaller));
    assert!(open.take(&user(2)).is_ok());
    drop(ours);
    // Where callers are known, users in no entry and the one without a name are strangers.
    let one = Policy::Entries(entries(vec![entry("one", &["uid:1"], None)]));
    let known = places(1_000, 200, one, Mode::Enforce);
    for stranger in [2, 65_534] {
        let held: Vec<_> = (0..64).map(|_| known.take(&user(stranger)).ok().unwrap()).collect();
        assert_eq!(known.take(&user(stranger)).err(), Some(Denied::Strangers), "{stranger}");
        assert!(known.take(&user(3)).is_ok_and(|place| place.is_strangers()));
        assert!(known.take(&user(1)).is_ok_and(|place| !place.is_strangers()));
        drop(held);
    }
    assert_all_are_free(&known);
}
