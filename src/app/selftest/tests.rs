//! The self-test finds differences.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::provider::{
    KINDS,
    vectors::{MintRequest, Token},
};

/// A vector whose token is the same, with its only call and its token.
fn good() -> (Vector, Setup, Token) {
    let vectors = KINDS.iter().flat_map(|kind| kind.vectors().unwrap());
    let mut same = vectors.filter(|vector| {
        matches!(check(vector), Verdict::Same { signatures: 1, but: None })
            && matches!(&vector.case, Case::Minted { token, .. } if token.claims.contains_key("sub"))
    });
    let vector = same.next().unwrap();
    let Case::Minted { setups, token } = vector.case.clone() else { panic!("{vector:?}") };
    (vector, setups[0].clone(), *token)
}

/// The differences between our token and a changed library token.
fn changed(change: impl FnOnce(&mut Token)) -> Vec<(String, String, String)> {
    let (vector, setup, mut token) = good();
    change(&mut token);
    let case = Case::Minted { setups: vec![setup], token: Box::new(token) };
    let Verdict::Different(found) = check(&Vector { case, ..vector }) else { return Vec::new() };
    found.into_iter().map(|it| (it.what, it.theirs, it.ours)).collect()
}

fn differs(what: &str, theirs: &str, ours: &str) -> Vec<(String, String, String)> {
    vec![(what.to_owned(), theirs.to_owned(), ours.to_owned())]
}

#[test]
fn changed_extra_and_missing_claims_are_found() {
    assert_eq!(changed(|_| ()), []);
    let (.., token) = good();
    let sub = token.claims["sub"].to_string();
    let other = changed(|token| token.claims["sub"] = json!("another"));
    assert_eq!(other, differs("claim sub", "\"another\"", &sub));
    let fewer = changed(|token| {
        token.claims.remove("sub");
    });
    assert_eq!(fewer, differs("claim sub", "nothing", &sub));
    let more = changed(|token| {
        token.claims.insert("room".to_owned(), json!({"of": 1}));
    });
    assert_eq!(more, differs("claim room", "{\"of\":1}", "nothing"));
}

#[test]
fn nested_claim_is_named_by_its_path() {
    let nested = KINDS.iter().flat_map(|kind| kind.vectors().unwrap()).find_map(|mut vector| {
        let Case::Minted { token, .. } = &mut vector.case else { return None };
        let (name, object) = token.claims.iter_mut().find(|(_, value)| value.is_object())?;
        object.as_object_mut()?.insert("more".to_owned(), json!(true));
        Some((name.clone(), vector))
    });
    let (name, vector) = nested.unwrap();
    let more = Difference::new(format!("claim {name}.more"), "true", "nothing");
    assert_eq!(check(&vector), Verdict::Different(vec![more]));
}

#[test]
fn changed_header_is_found() {
    let other = changed(|token| {
        token.header.insert("kid".to_owned(), json!("another"));
    });
    assert_eq!(other[0].0, "header kid");
    assert_eq!((other.len(), &*other[0].1), (1, "\"another\""));
    // A signature of another algorithm does not verify with this key.
    let other = changed(|token| token.header["alg"] = json!("HS384"));
    assert!(other.iter().all(|(what, ..)| what == "signature"), "{other:?}");
    assert_eq!(other.len(), 2);
}

#[test]
fn changed_signature_is_found_on_either_side() {
    let last = |text: &mut String| {
        // Before the last character, some bits of which encode nothing.
        let at = text.len() - 2;
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        text.replace_range(at..=at, other);
    };
    let theirs = changed(|token| last(&mut token.text));
    assert_eq!(theirs, differs("signature", "not of the test key", "not checked"));
    let (_, setup, token) = good();
    let mut ours = mint(&profile(&setup.profile, &setup.secret).unwrap(), &setup.request).unwrap();
    assert_eq!(compare(&token, &ours, &setup.secret), []);
    last(&mut ours.token);
    let found = compare(&token, &ours, &setup.secret);
    assert_eq!(found, [Difference::new("signature", "of the test key", "not of the test key")]);
}

#[test]
fn id_without_a_claim_is_found() {
    let (_, setup, token) = good();
    let mut ours = mint(&profile(&setup.profile, &setup.secret).unwrap(), &setup.request).unwrap();
    ours.id = Some("of no claim".to_owned());
    let found = compare(&token, &ours, &setup.secret);
    assert!(matches!(&found[..], [only] if only.what == "token id"), "{found:?}");
}

#[test]
fn token_instead_of_refusal_and_the_reverse_are_found() {
    let (vector, setup, token) = good();
    let message = "is empty";
    for ours_only in [None, Some("why")] {
        let case = Case::Refused { setup: setup.clone(), message, ours_only };
        let verdict = check(&Vector { case, ..vector.clone() });
        let meant = Difference::new("token", "refused: is empty", "one is made");
        assert_eq!(verdict, Verdict::Different(vec![meant]));
    }
    let refused_call = Setup {
        request: MintRequest { identity: Some(String::new()), ..setup.request.clone() },
        ..setup
    };
    let refused =
        |message, ours_only| Case::Refused { setup: refused_call.clone(), message, ours_only };
    let check = |case| check(&Vector { case, ..vector.clone() });
    assert_eq!(check(refused(message, None)), Verdict::Refused);
    let ours_only = Verdict::LeftOut { why: "why", refused: true };
    assert_eq!(check(refused(message, Some("why"))), ours_only);
    assert!(matches!(check(refused("is too long", None)), Verdict::Different(_)));
    let case = Case::Minted { setups: vec![refused_call.clone()], token: Box::new(token) };
    let meant = Difference::new("token", "one is made", "refused: identity is empty");
    assert_eq!(check(case), Verdict::Different(vec![meant]));
}

#[test]
fn every_sample_signs() {
    let samples: Vec<_> = KINDS.iter().flat_map(|kind| kind.samples().unwrap()).collect();
    for (algorithm, setup) in &samples {
        let rate = rate(setup, Duration::ZERO).unwrap_or_else(|why| panic!("{algorithm}: {why}"));
        assert!(rate > 0.0, "{algorithm}");
    }
    let algorithms: Vec<_> = samples.iter().map(|(algorithm, _)| *algorithm).collect();
    for algorithm in ["HS256", "EdDSA", "ES256", "ES384", "RS256"] {
        assert!(algorithms.contains(&algorithm), "{algorithms:?}");
    }
}
