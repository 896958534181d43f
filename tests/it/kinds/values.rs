//! Random values: each becomes exactly its own claim; and limits on what a call may send.

use std::{cell::Cell, collections::BTreeMap};

use grantmint::{
    config::Profile, provider::Parameter, rpc::proto::MintOptions, token::params::Shape,
};
use proptest::{collection, prelude::*, sample::select, test_runner::TestRunner};
use prost::Message;
use prost_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Value, json};
use tonic::Code::InvalidArgument;

use super::{Inputs, parts, profile};
use crate::{
    support::payload,
    wire::harness::{TestServer, assert_refused},
};

const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

/// Text that would change other claims if it were written without escaping.
const HOSTILE: [&str; 12] = [
    "exp",
    "sub",
    "video",
    "room_admin",
    "video.roomAdmin",
    r#"","exp":1,"x":""#,
    r#""},"video":{"roomAdmin":true},"x":{"y":""#,
    "\\",
    "\\\"",
    "{",
    "\u{0}\u{1f}\u{7f}\u{2028}",
    "\u{10ffff}>?~",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), select(&HOSTILE[..]).prop_map(str::to_owned)]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![list(inner.clone()).prop_map(Value::from), object(inner)]
    })
}

fn list(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Value>> {
    collection::vec(of, 0..4)
}

fn object(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    collection::vec((text(), of), 0..4).prop_map(|members| Map::from_iter(members).into())
}

/// A value that the parameter accepts, most of the time.
fn fitting(parameter: &Parameter) -> BoxedStrategy<Value> {
    match parameter.shape {
        Shape::Flag | Shape::TrueOnly => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Integer(..) => prop_oneof![
            (1..100_i64).prop_map(Value::from),
            any::<i64>().prop_map(|number| Value::from(number.to_string())),
        ]
        .boxed(),
        Shape::Number => any::<i32>().prop_map(|eighths| (f64::from(eighths) / 8.0).into()).boxed(),
        Shape::Text(_) => text().prop_map(Value::from).boxed(),
        Shape::Word(words) => select(words).prop_map(Value::from).boxed(),
        Shape::Named(words) => select(words).prop_map(|(name, _)| Value::from(name)).boxed(),
        Shape::Words(words) => select(words).prop_map(|word| json!([word])).boxed(),
        Shape::Texts(_) => object(text().prop_map(Value::from)).boxed(),
        Shape::List(_) => list(json()).prop_map(Value::from).boxed(),
        Shape::Object(_) => object(json()).boxed(),
        Shape::Own { .. } => match parameter.name.as_str() {
            "agents" => (text(), text())
                .prop_map(|(name, metadata)| json!([{"agentName": name, "metadata": metadata}]))
                .boxed(),
            _ => (any::<bool>(), object(json()))
                .prop_map(|(hp, cr)| json!({"hp": hp, "cr": cr}))
                .boxed(),
        },
    }
}

/// The values of a call: open parameters, closed ones, and unknown names.
fn given(profile: &Profile) -> impl Strategy<Value = BTreeMap<String, Value>> + use<> {
    let each = |is_meant: &dyn Fn(&Parameter) -> bool| {
        let meant = profile.tokens.declared.iter().filter(|it| is_meant(it));
        let of: Vec<_> = meant.map(|it| (Just(it.name.clone()), fitting(it)).boxed()).collect();
        (0..of.len()).prop_flat_map(move |at| of[at].clone()).boxed()
    };
    let good = each(&|it| profile.tokens.open.contains(&it.name));
    let any = prop_oneof![each(&|_| true), (text(), json())];
    // About as many valid calls as invalid ones.
    let given = prop_oneof![4 => good.clone(), 1 => any.boxed()];
    prop_oneof![collection::vec(good, 0..6), collection::vec(given, 0..6)]
        .prop_map(BTreeMap::from_iter)
}

/// Removes the value at a path, and the objects that become empty.
fn take(claims: &mut Value, path: &[&str]) -> Option<Value> {
    let members = claims.as_object_mut()?;
    let [name, rest @ ..] = path else { return None };
    if rest.is_empty() {
        return members.remove(*name);
    }
    let taken = take(members.get_mut(*name)?, rest)?;
    members.retain(|member, value| member != name || *value != json!({}));
    Some(taken)
}

/// The number of members in a value and in everything inside it.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(its) => its.len() + its.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

/// The number of members in JSON text, where a name may occur twice.
fn written_members(json: &str) -> usize {
    let (mut in_text, mut escaped, mut found) = (false, false, 0);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b':' if !in_text => found += 1,
            _ => {}
        }
    }
    found
}

/// Mints with many sets of values: each is refused as a whole or changes only its own claims.
fn values_touch_nothing_else(text: &str) {
    let profile = profile(text, SECRET).unwrap();
    let inputs = Inputs {
        now: 1_700_000_000,
        ttl_seconds: Some(600),
        identity: Some("alice".to_owned()),
        resource: Some("room".to_owned()),
    };
    let plain = inputs.mint(&profile, &[]).unwrap().claims;
    let (served, refused) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    let tried = TestRunner::new(config).run(&given(&profile), |given| {
        let known = |name: &str| {
            let open = profile.tokens.open.iter().any(|open| open == name);
            profile.tokens.declared.iter().find(|it| open && it.name == name)
        };
        let given: Vec<_> = given.into_iter().collect();
        let claims = given.iter().map(|(name, value)| {
            let parameter = known(name)?;
            Some((parameter, parameter.shape.claim(value).ok()?))
        });
        let claims: Option<Vec<_>> = claims.collect();
        let minted = inputs.mint(&profile, &given);
        prop_assert_eq!(minted.is_ok(), claims.is_some());
        let (Ok(minted), Some(claims)) = (minted, claims) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        served.set(served.get() + 1);
        let written = payload(&minted.token);
        prop_assert_eq!(written_members(&written), members(&minted.claims), "{}", written);
        let (mut ours, mut others) = (minted.claims, plain.clone());
        for (parameter, claim) in claims {
            let taken = take(&mut ours, &parameter.path());
            prop_assert_eq!(taken.as_ref(), claim.as_deref(), "{}", written);
            take(&mut others, &parameter.path());
        }
        prop_assert_eq!(&ours, &others, "{}", written);
        Ok(())
    });
    tried.unwrap();
    assert!(served.get() > 50 && refused.get() > 10, "{served:?} served, {refused:?} refused");
}

#[test]
fn livekit_values_change_no_other_claim() {
    values_touch_nothing_else(
        "[profiles.a]\nkind = \"livekit\"\napi_key = \"k\"\napi_secret_env = \"SECRET\"\n\
         resources = [\"room\"]\n\
         params = { can_publish = false, metadata = \"seat\", name = \"nobody\", \
         room_config = { maxParticipants = 4 } }\n\
         caller_params = [\"name\", \"attributes\", \"can_publish\", \"can_publish_sources\", \
         \"agents\", \"hidden\"]",
    );
}

#[test]
fn daily_values_change_no_other_claim() {
    values_touch_nothing_else(
        "[profiles.a]\nkind = \"daily\"\napi_key_env = \"SECRET\"\n\
         domain_id = \"3c475c00-8fa1-4ba0-96f8-4f2ae955cc17\"\nresources = [\"room\"]\n\
         params = { o = false, ss = true, u = \"nobody\" }\n\
         caller_params = [\"u\", \"sro\", \"p\", \"eje\", \"ss\", \"er\"]",
    );
}

#[test]
fn custom_table_values_change_no_other_claim() {
    // Lists and objects at the start and end of their objects, as the only member, and next to
    // variable claims.
    for more in ["unique = false\nno_exp = true\n[profiles.a.claims]", OWN] {
        values_touch_nothing_else(&format!(
            "[profiles.a]\nkind = \"jwt\"\nalg = \"HS256\"\nkey_env = \"SECRET\"\n{more}\n\
             \"user.list\" = {{ from = \"param\", type = \"list\" }}\n\
             \"user.object\" = {{ from = \"param\", type = \"object\" }}\n\
             \"user.more.flag\" = {{ from = \"param\", type = \"bool\" }}\n\
             text = {{ from = \"param\" }}\n\
             number = {{ from = \"param\", type = \"number\" }}\n\
             count = {{ from = \"param\", type = \"integer\" }}\n"
        ));
    }
}

const OWN: &str = "resources = [\"room\"]\n[profiles.a.claims]\nsub = { from = \"identity\" }\n\
                   exp = { from = \"exp\" }\niat = { from = \"now\" }\n\
                   video = { room = { from = \"resource\" }, roomAdmin = false }\n\
                   \"user.id\" = { from = \"identity\" }";

/// A value as a protobuf `Value`.
pub(super) fn wire(value: &Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(wire).collect() })
        }
        Value::Object(members) => {
            let fields = members.iter().map(|(name, value)| (name.clone(), wire(value)));
            Kind::StructValue(Struct { fields: fields.collect() })
        }
    };
    Wire { kind: Some(kind) }
}

/// A parameter with this name and value.
fn one(name: &str, value: Wire) -> Struct {
    Struct { fields: [(name.to_owned(), value)].into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_values_have_limits() {
    let names: Vec<_> = (0..33).map(|number| format!("p{number}")).collect();
    let many: Vec<_> =
        names.iter().map(|name| format!("{name} = {{ from = \"param\" }}\n")).collect();
    let many = many.concat();
    let server = TestServer::of(&format!(
        "[profiles.a]\nkind = \"jwt\"\nalg = \"HS256\"\nkey_env = \"SECRET\"\n\
         [profiles.a.claims]\nsub = {{ from = \"identity\" }}\nexp = {{ from = \"exp\" }}\n\
         text = {{ from = \"param\", max = 8192 }}\n\
         count = {{ from = \"param\", type = \"integer\" }}\n\
         number = {{ from = \"param\", type = \"number\" }}\n\
         list = {{ from = \"param\", type = \"list\" }}\n{many}"
    ))
    .await;
    let mint = async |params: Struct| {
        let options = MintOptions { params: Some(params), ..<_>::default() };
        server.mint("alice", options).await.map(|minted| parts(&minted.token)[1].clone())
    };
    let some = |count: usize| {
        let fields = names.iter().take(count).map(|name| (name.clone(), wire(&json!("x"))));
        Struct { fields: fields.collect() }
    };
    let nested = |levels| (0..levels).fold(json!(true), |inner, _| json!([inner]));
    let deep = |levels: usize| one("list", wire(&nested(levels)));
    let sized = |bytes: usize| {
        let rest = one("text", wire(&json!("x".repeat(8_000)))).encoded_len() - 8_000;
        let sized = one("text", wire(&json!("x".repeat(bytes - rest))));
        assert_eq!(sized.encoded_len(), bytes);
        sized
    };
    let number =
        |name: &str, number: f64| one(name, Wire { kind: Some(Kind::NumberValue(number)) });
    let exact = 2_f64.powi(53);

    for (case, params, taken) in [
        ("32 of them", some(32), ("p31", json!("x"))),
        ("8 deep", deep(7), ("list", nested(7))),
        ("8 KiB", sized(8_192), ("sub", json!("alice"))),
        ("2^53", number("count", exact), ("count", json!(9_007_199_254_740_992_i64))),
        (
            "beyond it as text",
            one("count", wire(&json!("-9007199254740993"))),
            ("count", json!(-9_007_199_254_740_993_i64)),
        ),
        ("any number", number("number", 1e22), ("number", json!(1e22))),
    ] {
        let claims = mint(params).await.unwrap_or_else(|status| panic!("{case}: {status:?}"));
        assert_eq!(claims[taken.0], taken.1, "{case}");
    }
    let (all, count) = ("options.params", "options.params.count");
    for (case, params, field) in [
        ("33 of them", some(33), all),
        ("9 deep", deep(8), all),
        ("over 8 KiB", sized(8_193), all),
        ("not a number", number("number", f64::NAN), all),
        ("infinity", number("count", f64::INFINITY), all),
        ("minus infinity", number("number", f64::NEG_INFINITY), all),
        ("beyond 2^53", number("count", exact + 2.0), count),
        ("as far below", number("count", -exact - 2.0), count),
        ("beyond 2^63 as text", one("count", wire(&json!("9223372036854775808"))), count),
        ("null", one("count", wire(&Value::Null)), count),
    ] {
        let refused = mint(params).await.err().unwrap_or_else(|| panic!("{case} is accepted"));
        assert_refused(case, &refused, InvalidArgument, "PARAM_INVALID", &[field]);
    }
}
