//! The template against an implementation that is not ours, on any input.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value, json, value::RawValue};

use super::*;
use crate::name::{Identity, MAX_NAME_BYTES};

/// What a token is made of.
#[derive(Clone, Debug)]
struct Inputs {
    key: String,
    secret: Vec<u8>,
    region: Option<String>,
    nbf_backdate: Option<u32>,
    grant: Box<RawValue>,
    identity: String,
    times: Times,
    serial: Serial,
}

impl Inputs {
    fn layout(&self) -> Layout {
        let twr = self
            .region
            .as_ref()
            .map_or(String::new(), |region| format!(r#","twr":{}"#, json!(region)));
        Layout {
            header: format!(r#"{{"alg":"HS256","typ":"JWT"{twr}}}"#),
            head: format!(r#"{{"iss":"{}","#, self.key),
            nbf_backdate: self.nbf_backdate,
            body: format!(r#""grants":{{"player":{},"identity":""#, self.grant),
            before_id: r#""},"jti":""#.to_owned(),
            id_prefix: self.key.clone(),
            end: r#""}"#.to_owned(),
        }
    }

    fn sheet(&self) -> Arc<Sheet> {
        Template::new(self.layout(), &self.secret).unwrap().sheet(self.times)
    }

    fn meant_header(&self) -> Value {
        let mut header = json!({"alg": "HS256", "typ": "JWT"});
        if let Some(region) = &self.region {
            header["twr"] = json!(region);
        }
        header
    }

    fn meant_claims(&self, token_id: &str) -> Value {
        let grant: Value = serde_json::from_str(self.grant.get()).unwrap();
        let mut claims = json!({
            "iss": self.key,
            "iat": self.times.issue,
            "exp": self.times.expire,
            "grants": {"player": grant, "identity": self.identity},
            "jti": token_id,
        });
        if let Some(backdate) = self.nbf_backdate {
            claims["nbf"] = json!(self.times.issue - i64::from(backdate));
        }
        claims
    }
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let times = (0_i64..9_999_999_999, 0_i64..90_000)
        .prop_map(|(issue, life)| Times { issue, expire: issue + life });
    let serial = any::<u32>().prop_map(|further| Serial::SELF_TEST.plus(further.into()));
    (
        "SK[0-9]{3,5}",
        vec(any::<u8>(), 1..100),
        option::of(any::<String>()),
        option::of(any::<u32>()),
        grant(),
        identity(),
        times,
        serial,
    )
        .prop_map(|(key, secret, region, nbf_backdate, grant, identity, times, serial)| {
            Inputs { key, secret, region, nbf_backdate, grant, identity, times, serial }
        })
}

/// Any identity that is let in.
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

fn grant() -> impl Strategy<Value = Box<RawValue>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let nested = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    });
    vec((any::<String>(), nested), 0..5).prop_map(|members| {
        let object = Value::from(Map::from_iter(members));
        RawValue::from_string(object.to_string()).unwrap()
    })
}

fn part(token: &str, at: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn a_token_is_what_jsonwebtoken_takes_and_signs(inputs in inputs()) {
        let sheet = inputs.sheet();
        let token = String::from(sheet.sign(&inputs.identity, inputs.serial));
        let id = sheet.token_id(inputs.serial);

        let header: Value = serde_json::from_slice(&part(&token, 0)).unwrap();
        prop_assert_eq!(header, inputs.meant_header());

        let mut validation = Validation::new(Algorithm::HS256);
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let key = DecodingKey::from_secret(&inputs.secret);
        let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        prop_assert_eq!(read.claims, inputs.meant_claims(&id));

        let (signing_input, signature) = token.rsplit_once('.').unwrap();
        let key = EncodingKey::from_secret(&inputs.secret);
        let meant = jsonwebtoken::crypto::sign(signing_input.as_bytes(), &key, Algorithm::HS256);
        prop_assert_eq!(signature, meant.unwrap());
    }

    #[test]
    fn what_varies_is_ascii_and_the_grant_is_as_it_came(inputs in inputs()) {
        let token = String::from(inputs.sheet().sign(&inputs.identity, inputs.serial));
        let payload = String::from_utf8(part(&token, 1)).unwrap();
        let (shared, own) = payload.rsplit_once(r#""identity":""#).unwrap();
        prop_assert!(own.is_ascii(), "{own}");
        let grant = format!(r#""player":{},"#, inputs.grant);
        prop_assert!(shared.ends_with(&grant), "{shared}");
    }

    #[test]
    fn the_shared_part_ends_on_a_block_and_a_token_takes_no_more_room_than_it_needs(inputs in inputs()) {
        let sheet = inputs.sheet();
        let prefix = [&sheet.opening[..], &sheet.text.body].concat();
        prop_assert_eq!(prefix.len() % BLOCK, 0);
        let mut put = Vec::new();
        sheet.sign(&inputs.identity, inputs.serial).put_into(&mut put);
        let token = String::from(sheet.sign(&inputs.identity, inputs.serial));
        prop_assert!(token.starts_with(&prefix));
        prop_assert_eq!(token.capacity(), token.len());
        prop_assert_eq!(token.len(), sheet.token_bytes(&inputs.identity));
        prop_assert_eq!(token.into_bytes(), put);
    }

    #[test]
    fn token_ids_are_of_one_width(one in inputs(), other in inputs()) {
        let id = |inputs: &Inputs| inputs.sheet().token_id(inputs.serial).len() - inputs.key.len();
        prop_assert_eq!(id(&one), id(&other));
    }

    #[test]
    fn the_times_of_a_call_are_its_tokens_own(inputs in inputs(), later in 0_i64..3) {
        let template = Template::new(inputs.layout(), &inputs.secret).unwrap();
        template.at(inputs.times);
        let times = Times { expire: inputs.times.expire + later, ..inputs.times };
        let sheet = template.at(times);
        let token = String::from(sheet.sign(&inputs.identity, inputs.serial));
        let claims: Value = serde_json::from_slice(&part(&token, 1)).unwrap();
        prop_assert_eq!(&claims["exp"], &json!(times.expire));
    }
}

#[test]
fn what_cannot_sign_is_refused() {
    let layout = Layout {
        header: "{}".to_owned(),
        head: "{".to_owned(),
        nbf_backdate: None,
        body: r#""sub":""#.to_owned(),
        before_id: r#"","jti":""#.to_owned(),
        id_prefix: String::new(),
        end: r#""}"#.to_owned(),
    };
    assert!(Template::new(layout.clone(), b"k").is_ok());
    assert_eq!(Template::new(layout.clone(), b"").unwrap_err(), PrepareError::KeyUnusable);
    let quoteless = Layout { end: "}".to_owned(), ..layout };
    assert_eq!(Template::new(quoteless, b"k").unwrap_err(), PrepareError::Unverified("layout"));
}

/// A layout that holds a word which must not print.
fn hushed() -> Layout {
    Layout {
        header: "{}".to_owned(),
        head: "{".to_owned(),
        nbf_backdate: None,
        body: r#""grant":"hush","sub":""#.to_owned(),
        before_id: r#"","jti":""#.to_owned(),
        id_prefix: String::new(),
        end: r#""}"#.to_owned(),
    }
}

#[test]
fn a_template_does_not_print() {
    let template = Template::new(hushed(), b"hush").unwrap();
    let sheet = template.at(Times { issue: 1, expire: 2 });
    let layout = hushed();
    let token = sheet.sign("hush", Serial::SELF_TEST);
    assert!(!format!("{template:?} {template:#?} {sheet:?} {layout:?} {token:?}").contains("hush"));
}

#[test]
fn lives_that_are_asked_for_in_turn_share_their_sheets_for_a_second() {
    let template = Template::new(hushed(), b"key").unwrap();
    let at = |issue, ttl| template.sheet(Times { issue, expire: issue + ttl });
    let first: Vec<_> = (0..MOST_SHEETS).map(|ttl| at(1, i64::try_from(ttl).unwrap())).collect();
    for (ttl, sheet) in first.iter().enumerate() {
        assert!(Arc::ptr_eq(sheet, &at(1, i64::try_from(ttl).unwrap())), "{ttl}");
    }
    at(1, 1_000);
    assert_eq!(template.sheets.load().len(), MOST_SHEETS, "the oldest went");
    let next = at(2, 0);
    assert_eq!(template.sheets.load().len(), 1, "those of the last second went");
    assert!(Arc::ptr_eq(&next, &at(2, 0)));
}
