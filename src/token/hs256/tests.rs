//! Compares the template with an independent implementation, on arbitrary input.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value, json, value::RawValue};

use super::*;
use crate::{
    name::{Identity, MAX_NAME_BYTES},
    token::claims,
};

/// The inputs of a token.
#[derive(Clone, Debug)]
struct Inputs {
    table: Table,
    secret: Vec<u8>,
    grant: Box<RawValue>,
    resource: String,
    params: Vec<Option<String>>,
    identity: String,
    times: Times,
    serial: Serial,
}

impl Inputs {
    fn template(&self) -> Template {
        Template::new(&self.table, Some(self.grant.get()), &self.secret).unwrap()
    }

    fn call(&self) -> Call<'_> {
        Call { resource: &self.resource, params: &self.params }
    }

    fn call_signer(&self) -> Arc<dyn CallSigner> {
        self.template().at(self.times, &self.call()).unwrap()
    }

    fn sign(&self) -> String {
        self.call_signer().sign(&self.identity, self.serial).unwrap().into()
    }

    fn expected_claims(&self, token_id: Option<&str>) -> Value {
        let mut claims = json!({});
        for (path, value) in self.table.claims() {
            let value = match value {
                claims::Value::Constant(value) => Some(value.clone()),
                claims::Value::Grant => serde_json::from_str(self.grant.get()).ok(),
                claims::Value::Time(time) => Some(self.times.at(*time).into()),
                claims::Value::Resource | claims::Value::ResourceIfAny => {
                    Some(self.resource.as_str().into())
                }
                claims::Value::ResourceEnd => Some(self.resource.split('/').next_back().into()),
                claims::Value::Identity => Some(self.identity.as_str().into()),
                claims::Value::Id(_) => token_id.map(Value::from),
                claims::Value::Parameter(number) => {
                    self.params[*number].as_deref().map(|text| serde_json::from_str(text).unwrap())
                }
            };
            if let Some(value) = value {
                let place = path.iter().fold(&mut claims, |place, name| &mut place[*name]);
                *place = value;
            }
        }
        claims
    }
}

/// The number of parameters in these tables.
const PARAMS: usize = 4;

fn inputs() -> impl Strategy<Value = Inputs> {
    let times = (0_i64..9_999_999_999, 0_i64..90_000)
        .prop_map(|(issue, life)| Times { issue, expire: issue + life });
    let serial = any::<u32>().prop_map(|further| Serial::SELF_TEST.plus(further.into()));
    let param = option::of(value().prop_map(|value| json::written(&value)));
    (
        table(),
        vec(any::<u8>(), 1..100),
        grant(),
        identity(),
        vec(param, PARAMS),
        identity(),
        times,
        serial,
    )
        .prop_map(|(table, secret, grant, resource, params, identity, times, serial)| Inputs {
            table,
            secret,
            grant,
            resource,
            params,
            identity,
            times,
            serial,
        })
}

/// Arbitrary claims in nested objects.
fn table() -> impl Strategy<Value = Table> {
    let claim = prop_oneof![
        value().prop_map(claims::Value::Constant),
        Just(claims::Value::Grant),
        any::<u32>().prop_map(|back| claims::Value::Time(claims::Time::Issue { back })),
        Just(claims::Value::Time(claims::Time::Expire)),
        Just(claims::Value::Resource),
        Just(claims::Value::ResourceIfAny),
        Just(claims::Value::ResourceEnd),
        (0..PARAMS).prop_map(claims::Value::Parameter),
        (0..PARAMS).prop_map(claims::Value::Parameter),
        Just(claims::Value::Identity),
    ];
    let id = prop_oneof![Just(Id::Serial), Just(Id::Uuid), any::<String>().prop_map(Id::Dated)];
    let path = vec(prop_oneof!["[a-c]", "\\PC{1,3}"], 1..4);
    let id = option::of((path.clone(), id.prop_map(claims::Value::Id)));
    let header = option::of(any::<String>());
    (header, vec((path, claim), 0..12), id).prop_map(|(region, claims, id)| {
        let mut header = Map::from_iter([("alg".to_owned(), "HS256".into())]);
        header.extend(region.map(|region| ("twr".to_owned(), region.into())));
        let mut table = Table::new(header);
        for (path, value) in claims.into_iter().chain(id) {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            // Of two conflicting claims the first stays.
            let _ = table.add(&path, value);
        }
        table
    })
}

/// Any valid identity.
fn identity() -> impl Strategy<Value = String> {
    let characters = prop_oneof![
        "[ -~]{1,256}".boxed(),
        vec(any::<char>().prop_filter("control", |c| !c.is_control()), 1..64)
            .prop_map(String::from_iter)
            .boxed(),
        Just("\u{10ffff}".repeat(MAX_NAME_BYTES / 4)).boxed(),
        Just("\"".repeat(MAX_NAME_BYTES)).boxed(),
    ];
    characters.prop_filter("not an identity", |text| Identity::parse(text.as_str()).is_ok())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Other fractions may parse to a neighboring double.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

fn grant() -> impl Strategy<Value = Box<RawValue>> {
    vec((any::<String>(), value()), 0..5).prop_map(|members| {
        let object = Value::from(Map::from_iter(members));
        RawValue::from_string(object.to_string()).unwrap()
    })
}

fn part(token: &str, at: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn token_equals_what_jsonwebtoken_reads_and_signs(inputs in inputs()) {
        let token = inputs.sign();
        let id = inputs.call_signer().token_id(inputs.serial);

        let header: Value = serde_json::from_slice(&part(&token, 0)).unwrap();
        prop_assert_eq!(header, Value::from(inputs.table.header().clone()));

        let mut validation = Validation::new(Algorithm::HS256);
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let key = DecodingKey::from_secret(&inputs.secret);
        let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        prop_assert_eq!(read.claims, inputs.expected_claims(id.as_deref()));

        let (signing_input, signature) = token.rsplit_once('.').unwrap();
        let key = EncodingKey::from_secret(&inputs.secret);
        let expected = jsonwebtoken::crypto::sign(signing_input.as_bytes(), &key, Algorithm::HS256);
        prop_assert_eq!(signature, expected.unwrap());
    }

    #[test]
    fn payload_is_ascii_except_the_unchanged_grant(inputs in inputs()) {
        let payload = String::from_utf8(part(&inputs.sign(), 1)).unwrap();
        let grants = inputs.table.claims().iter().filter(|it| *it.1 == claims::Value::Grant).count();
        if inputs.grant.get().len() > 8 {
            prop_assert_eq!(payload.matches(inputs.grant.get()).count(), grants, "{}", payload);
        }
        if grants == 0 {
            prop_assert!(payload.bytes().all(|it| (b' '..b'~').contains(&it)), "{}", payload);
        }
    }

    #[test]
    fn token_bytes_is_exact(inputs in inputs()) {
        let call_signer = inputs.call_signer();
        let mut put = Vec::new();
        call_signer.sign(&inputs.identity, inputs.serial).unwrap().put_into(&mut put);
        let token = inputs.sign();
        prop_assert_eq!(token.capacity(), token.len());
        prop_assert_eq!(token.len(), call_signer.token_bytes(&inputs.identity));
        prop_assert_eq!(token.into_bytes(), put);
    }

    #[test]
    fn shared_prefix_ends_on_a_block(inputs in inputs()) {
        let timed = inputs.template().timed(inputs.times);
        let prefix = [&timed.opening[..], &timed.text.body].concat();
        prop_assert_eq!(prefix.len() % BLOCK, 0);
        prop_assert!(inputs.sign().starts_with(&prefix));
    }

    #[test]
    fn token_ids_have_a_fixed_width(one in inputs(), other in inputs()) {
        let id = |inputs: &Inputs| {
            let mut table = Table::default();
            table.add(&["jti"], claims::Value::Id(Id::Dated("SK1".to_owned()))).unwrap();
            let template = Template::new(&table, None, b"k").unwrap();
            template.timed(inputs.times).token_id(inputs.serial).map(|id| id.len())
        };
        prop_assert_eq!(id(&one), id(&other));
    }

    #[test]
    fn each_call_signs_with_its_own_times(inputs in inputs(), later in 0_i64..3) {
        let template = inputs.template();
        template.at(inputs.times, &inputs.call()).unwrap();
        let times = Times { expire: inputs.times.expire + later, ..inputs.times };
        let call_signer = template.at(times, &inputs.call()).unwrap();
        let token = String::from(call_signer.sign(&inputs.identity, inputs.serial).unwrap());
        let claims: Value = serde_json::from_slice(&part(&token, 1)).unwrap();
        let id = call_signer.token_id(inputs.serial);
        prop_assert_eq!(claims, Inputs { times, ..inputs }.expected_claims(id.as_deref()));
    }
}

/// A provider-like table containing a word that must not be printed.
fn secret_table() -> Table {
    let mut table = Table::default();
    table.add(&["iss"], claims::Value::Constant("hush".into())).unwrap();
    table.add(&["exp"], claims::Value::Time(claims::Time::Expire)).unwrap();
    table.add(&["video", "room"], claims::Value::Resource).unwrap();
    table.add(&["grant"], claims::Value::Grant).unwrap();
    table.add(&["sub"], claims::Value::Identity).unwrap();
    table
}

#[test]
fn empty_secret_or_missing_grant_is_refused() {
    assert!(Template::new(&secret_table(), Some("{}"), b"k").is_ok());
    assert_eq!(
        Template::new(&secret_table(), Some("{}"), b"").unwrap_err(),
        PrepareError::KeyUnusable
    );
    assert_eq!(Template::new(&secret_table(), None, b"k").unwrap_err(), PrepareError::NoGrant);
}

#[test]
fn debug_output_contains_no_secret() {
    let template = Template::new(&secret_table(), Some(r#""hush""#), b"hush").unwrap();
    let call = Call { resource: "hush", params: &[] };
    let call_signer = template.at(Times { issue: 1, expire: 2 }, &call).unwrap();
    let token = call_signer.sign("hush", Serial::SELF_TEST).unwrap();
    assert!(!format!("{template:?} {template:#?} {call_signer:?} {token:?}").contains("hush"));
}

#[test]
fn alternating_ttls_reuse_templates_within_a_second() {
    let template = Template::new(&secret_table(), Some("{}"), b"key").unwrap();
    let at = |issue, ttl| template.timed(Times { issue, expire: issue + ttl });
    let first: Vec<_> = (0..MAX_RECENT).map(|ttl| at(1, i64::try_from(ttl).unwrap())).collect();
    for (ttl, timed) in first.iter().enumerate() {
        assert!(Arc::ptr_eq(timed, &at(1, i64::try_from(ttl).unwrap())), "{ttl}");
    }
    at(1, 1_000);
    assert_eq!(template.recent.load().len(), MAX_RECENT, "the oldest was dropped");
    let next = at(2, 0);
    assert_eq!(template.recent.load().len(), 1, "those of the last second were dropped");
    assert!(Arc::ptr_eq(&next, &at(2, 0)));
}
