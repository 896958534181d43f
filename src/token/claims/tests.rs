//! The order in which claims are written.

use serde_json::json;

use super::*;

/// The payload of a call with these parameters, with placeholders for the other variable parts.
fn written(claims: &[(&str, Value)], params: &[Option<&str>]) -> String {
    let mut table = Table::default();
    for (path, value) in claims {
        table.add(&path.split('.').collect::<Vec<_>>(), value.clone()).unwrap();
    }
    let params: Vec<_> = params.iter().map(|value| value.map(str::to_owned)).collect();
    let mut text = String::new();
    for part in table.layout() {
        match part {
            Part::Text(constant) => text.push_str(&constant),
            Part::Grant => text.push_str("GRANT"),
            Part::Time(Time::Issue { back }) => text.extend(["NOW-", &back.to_string()]),
            Part::Time(Time::Expire) => text.push_str("EXP"),
            Part::Resource => text.push_str("RESOURCE"),
            Part::ResourceEnd => text.push_str("END"),
            Part::Optional(member) => {
                member.write(&Call { resource: "", params: &params }, &mut text);
            }
            Part::Identity => text.push_str("IDENTITY"),
            Part::Id(_) => text.push_str("ID"),
        }
    }
    text
}

#[test]
fn claims_are_ordered_by_how_often_they_vary() {
    let claims = [
        ("jti", Value::Id(Id::Serial)),
        ("sub", Value::Identity),
        ("video.room", Value::Resource),
        ("video.roomJoin", Value::Constant(json!(true))),
        ("exp", Value::Time(Time::Expire)),
        ("nbf", Value::Time(Time::Issue { back: 5 })),
        ("grant", Value::Grant),
        ("iss", Value::Constant(json!("key é"))),
    ];
    assert_eq!(
        written(&claims, &[]),
        r#"{"grant":GRANT,"iss":"key \u00e9","exp":EXP,"nbf":NOW-5,"video":{"roomJoin":true,"room":RESOURCE},"jti":ID,"sub":"IDENTITY"}"#
    );
}

#[test]
fn constant_empty_object_is_always_written() {
    let claims = [
        ("grants.video", Value::Constant(json!({}))),
        ("grants.video.room", Value::Parameter(0)),
        ("grants.voice.incoming.allow", Value::Parameter(1)),
        ("grants.voice.more", Value::Constant(json!({}))),
    ];
    assert_eq!(written(&claims, &[None, None]), r#"{"grants":{"video":{},"voice":{"more":{}}}}"#);
    assert_eq!(
        written(&claims, &[Some("1"), Some("true")]),
        r#"{"grants":{"video":{"room":1},"voice":{"more":{},"incoming":{"allow":true}}}}"#
    );
}

#[test]
fn unset_members_leave_no_comma_and_no_empty_object() {
    let parameter = Value::Parameter;
    let claims = [
        ("a", Value::Constant(json!(1))),
        ("b", parameter(0)),
        ("user.id", Value::Identity),
        ("user.name", parameter(1)),
        ("more.deep.x", parameter(2)),
        ("more.deep.y", parameter(3)),
    ];
    for (params, payload) in [
        ([None; 4], r#"{"a":1,"user":{"id":"IDENTITY"}}"#),
        ([Some("2"), None, None, None], r#"{"a":1,"b":2,"user":{"id":"IDENTITY"}}"#),
        ([None, Some("3"), None, None], r#"{"a":1,"user":{"name":3,"id":"IDENTITY"}}"#),
        (
            [None, None, None, Some("null")],
            r#"{"a":1,"more":{"deep":{"y":null}},"user":{"id":"IDENTITY"}}"#,
        ),
        (
            [Some("false"), Some("[]"), Some("{}"), Some("\"\"")],
            r#"{"a":1,"b":false,"more":{"deep":{"x":{},"y":""}},"user":{"name":[],"id":"IDENTITY"}}"#,
        ),
    ] {
        assert_eq!(written(&claims, &params), payload);
    }
    let optional_alone = [("x", parameter(0)), ("y", parameter(1))];
    assert_eq!(written(&optional_alone, &[None, Some("1")]), r#"{"y":1}"#);
    assert_eq!(written(&optional_alone, &[Some("1"), Some("2")]), r#"{"x":1,"y":2}"#);
    assert_eq!(written(&[], &[]), "{}");
}

#[test]
fn resource_end_varies_with_the_resource() {
    let claims = [
        ("topic", Value::ResourceEnd),
        ("resource", Value::Resource),
        ("exp", Value::Time(Time::Expire)),
    ];
    assert_eq!(written(&claims, &[]), r#"{"exp":EXP,"topic":END,"resource":RESOURCE}"#);
    for (resource, end) in [("arn:a/b", "b"), ("a/b/c\"", "c\\\""), ("a", "a"), ("a/", "")] {
        let mut text = String::new();
        let call = Call { resource, params: &[] };
        Part::ResourceEnd.write(Times { issue: 0, expire: 1 }, &call, &mut text);
        assert_eq!(text, format!("\"{end}\""), "{resource}");
    }
}

#[test]
fn conflicting_claim_paths_are_refused() {
    let mut table = Table::default();
    table.add(&["a", "b"], Value::Resource).unwrap();
    for path in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        assert_eq!(table.add(path, Value::Identity), Err(Conflict(path.join("."))), "{path:?}");
    }
}
