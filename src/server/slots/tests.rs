//! Tests of the limits per entry, name and network.

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

/// Entries for `a.example` and for names below `team.example`.
fn known_entries(team_limit: Option<usize>) -> Entries {
    let team = entry("team", &["dns:*.team.example"], team_limit);
    entries(vec![entry("a", &["dns:a.example"], None), team])
}

fn slots(connections: usize, connections_per_caller: usize, policy: Policy, mode: Mode) -> Slots {
    let limits = Limits { connections, connections_per_caller, ..Limits::default() };
    Slots::new(&limits, Arc::new(Callers::new(policy, mode, &Metrics::default())))
}

fn with_known(connections: usize, per_caller: usize, team_limit: Option<usize>) -> Slots {
    slots(connections, per_caller, Policy::Entries(known_entries(team_limit)), Mode::Enforce)
}

/// Takes slots for these peers in turn until all are denied.
fn fill(slots: &Slots, peers: &[Peer]) -> Vec<Slot> {
    let mut all = Vec::new();
    for round in 0.. {
        let before = all.len();
        all.extend(peers.iter().filter_map(|peer| slots.take(peer).ok()));
        if all.len() == before || round > 1_000 {
            break;
        }
    }
    all
}

fn assert_all_are_free(slots: &Slots) {
    let usage = slots.lock();
    assert_eq!((usage.all, usage.unknown), (0, 0));
    assert!(usage.names.is_empty() && usage.entries.is_empty());
    assert!(usage.unknown_by_network.is_empty());
}

#[test]
fn one_name_cannot_use_more_than_its_limit_and_share() {
    for (per_caller, max) in [(2, 2), (100, 6)] {
        let slots = with_known(8, per_caller, None);
        let a = peer(&["a.example"], 1);
        let mut all = fill(&slots, std::slice::from_ref(&a));
        assert_eq!(all.len(), max);
        assert_eq!(slots.take(&a).err(), Some(Denied::Caller));
        all.push(slots.take(&peer(&["x.team.example"], 1)).ok().unwrap());
        all.remove(0);
        all.push(slots.take(&a).ok().unwrap());
        drop(all);
        assert_all_are_free(&slots);
    }
}

#[test]
fn names_of_an_entry_share_its_limit_and_the_maximum_share() {
    let team = [peer(&["x.team.example"], 1), peer(&["y.team.example"], 2)];
    for (per_caller, team_limit, max) in
        [(2, None, 4), (100, None, 6), (1, Some(5), 5), (100, Some(7), 6)]
    {
        let slots = with_known(8, per_caller, team_limit);
        let all = fill(&slots, &team);
        assert_eq!(all.len(), max, "{per_caller} {team_limit:?}");
        drop(all);
        assert_all_are_free(&slots);
    }
}

#[test]
fn order_of_names_and_extra_names_give_no_more_slots() {
    let slots = with_known(8, 1, None);
    let one = slots.take(&peer(&["x.team.example", "y.team.example"], 1)).ok().unwrap();
    for names in [&["y.team.example", "x.team.example"][..], &["b.example", "x.team.example"]] {
        assert_eq!(slots.take(&peer(names, 1)).err(), Some(Denied::Caller), "{names:?}");
    }
    drop(one);
}

#[test]
fn unknown_callers_get_half_of_the_slots_and_64_per_network() {
    let slots = with_known(200, 200, None);
    let take = |last| slots.take(&peer(&[], last));
    let mut held: Vec<_> = (0..32).map(|_| take(1).ok().unwrap()).collect();
    // A certificate that matches no entry does not make its client known.
    let unknown = |last| slots.take(&peer(&["b.example"], last));
    held.extend((0..32).map(|_| unknown(1).ok().unwrap()));
    assert!(held.iter().all(Slot::is_unknown));
    assert_eq!(take(1).err(), Some(Denied::Unknown));
    held.extend((0..36).map(|_| unknown(2).ok().unwrap()));
    assert_eq!(unknown(3).err(), Some(Denied::Unknown), "half are in use");
    let named = slots.take(&peer(&["a.example"], 1)).ok().unwrap();
    assert!(!named.is_unknown());
    drop((held, named));
    assert_all_are_free(&slots);
}

#[test]
fn addresses_of_an_ipv6_network_share_one_limit() {
    let slots = with_known(1_000, 200, None);
    let from = |last: u16| {
        let from = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]).into();
        slots.take(&Peer { from, ..peer(&[], 1) })
    };
    let held: Vec<_> = (0..64).map(|last| from(last).ok().unwrap()).collect();
    assert_eq!(from(64).err(), Some(Denied::Unknown));
    drop(held);
}

#[test]
fn unknown_caller_becomes_known_when_an_entry_is_added() {
    let slots = with_known(8, 1, None);
    let b = peer(&["b.example"], 1);
    let (mut first, mut second) = (slots.take(&b).ok().unwrap(), slots.take(&b).ok().unwrap());
    assert!(first.is_still_unknown(&b));
    slots.callers.replace(entries(vec![entry("b", &["dns:b.example"], None)]));
    assert!(first.is_unknown() && !first.is_still_unknown(&b) && !first.is_unknown());
    assert!(second.is_still_unknown(&b), "the caller's limit is reached");
    assert_eq!(slots.lock().unknown, 1);
    drop((first, second));
    assert_all_are_free(&slots);
}

#[test]
fn served_callers_without_an_entry_are_not_unknown() {
    let observed = slots(8, 2, Policy::Entries(known_entries(None)), Mode::Observe);
    let open = slots(8, 2, Policy::Open, Mode::Enforce);
    for slots in [observed, open] {
        let all = fill(&slots, &[peer(&["b.example"], 1)]);
        assert_eq!(all.len(), 2);
        assert!(!all[0].is_unknown());
    }
}

#[test]
fn clients_can_use_all_slots_if_no_name_is_needed() {
    let slots = slots(300, 1, Policy::Open, Mode::Enforce);
    let loopback = Peer { name: Some(CallerName::Loopback), ..peer(&[], 1) };
    assert_eq!(fill(&slots, &[peer(&[], 1), loopback.clone()]).len(), 300);
    let all = fill(&slots, &[peer(&[], 1), loopback.clone()]);
    assert_eq!(slots.take(&loopback).err(), Some(Denied::Full));
    drop(all);
}

#[test]
fn unix_socket_users_are_limited_separately() {
    let user = |id| {
        let name = Uid::of_peer(id, 65_534).map(CallerName::Uid);
        Peer { name, other_names: Vec::new(), certificate: None, from: Remote::Unix(id) }
    };
    // If any client may call, each user has the limit of a name.
    let open = slots(1_000, 2, Policy::Open, Mode::Enforce);
    let taken: Vec<_> = (0..2).map(|_| open.take(&user(1)).ok().unwrap()).collect();
    assert_eq!(open.take(&user(1)).err(), Some(Denied::Caller));
    assert!(open.take(&user(2)).is_ok());
    drop(taken);
    // If callers need an entry, users without one and the unmapped user are unknown.
    let one = Policy::Entries(entries(vec![entry("one", &["uid:1"], None)]));
    let known = slots(1_000, 200, one, Mode::Enforce);
    for unknown in [2, 65_534] {
        let held: Vec<_> = (0..64).map(|_| known.take(&user(unknown)).ok().unwrap()).collect();
        assert_eq!(known.take(&user(unknown)).err(), Some(Denied::Unknown), "{unknown}");
        assert!(known.take(&user(3)).is_ok_and(|slot| slot.is_unknown()));
        assert!(known.take(&user(1)).is_ok_and(|slot| !slot.is_unknown()));
        drop(held);
    }
    assert_all_are_free(&known);
}
