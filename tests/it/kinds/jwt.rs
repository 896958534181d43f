//! JWTs of a custom claim table: for any table, ours equal those that `jsonwebtoken` makes from the
//! same claims.

use std::fs;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

use super::{Inputs, in_toml, parts, profile};
use crate::support::{Serve, run};

const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

const NOW: i64 = 1_700_000_000;

/// A profile with these claims.
fn text(algorithm: Algorithm, claims: &Value, more: &str) -> String {
    format!(
        "[profiles.own]\nkind = \"jwt\"\nalg = \"{algorithm:?}\"\nkey_env = \"KEY\"\n{more}\n\
         claims = {}\n",
        in_toml(claims)
    )
}

/// A claim's definition and its value in the token.
#[derive(Clone, Debug)]
struct Claim {
    written: Value,
    meant: Option<Value>,
    given: Option<Value>,
}

const IDENTITY: &str = "zoë \"the\" 1st>";
const RESOURCE: &str = "lobby/東京?";

fn constant() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((any::<String>(), inner), 0..3)
                .prop_map(|members| Value::from(Map::from_iter(members)))
                .prop_filter("a reference", |it| it.get("from").is_none()),
        ]
    })
}

fn claim() -> impl Strategy<Value = Claim> {
    let from = |from: &str, meant: Value| {
        Just(Claim { written: json!({"from": from}), meant: Some(meant), given: None })
    };
    let param = (any::<bool>(), any::<i64>()).prop_map(|(is_given, number)| {
        let given = is_given.then(|| Value::from(number.to_string()));
        let meant = is_given.then(|| Value::from(number));
        Claim { written: json!({"from": "param", "type": "integer"}), meant, given }
    });
    prop_oneof![
        constant().prop_map(|value| Claim {
            written: value.clone(),
            meant: Some(split(value)),
            given: None
        }),
        from("identity", IDENTITY.into()),
        from("resource", RESOURCE.into()),
        from("exp", (NOW + 3_600).into()),
        Just(Claim {
            written: json!({"from": "now", "back": "30s"}),
            meant: Some((NOW - 30).into()),
            given: None
        }),
        param,
    ]
}

/// Dotted keys for a constant's members, as in a claim table.
fn split(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let mut whole = json!({});
    for (name, value) in members {
        let keys: Vec<_> =
            if name.contains([':', '/']) { vec![name.as_str()] } else { name.split('.').collect() };
        let place = keys.iter().fold(&mut whole, |place, key| &mut place[*key]);
        *place = split(value);
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_claim_table_equals_jsonwebtokens_output(
        claims in vec(claim(), 0..8),
        algorithm in prop::sample::select(&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512][..]),
    ) {
        let mut written = json!({"exp": {"from": "exp"}, "sub": {"from": "identity"}});
        let mut meant = json!({"exp": NOW + 3_600, "sub": IDENTITY});
        let mut params = Vec::new();
        for (number, claim) in claims.into_iter().enumerate() {
            let name = format!("claim_{number}");
            written[format!("at.{}.{name}", number % 3)] = claim.written;
            if let Some(value) = claim.meant {
                meant["at"][(number % 3).to_string()][&name] = value;
            }
            params.extend(claim.given.map(|given| (name, given)));
        }
        let resources = if written.to_string().contains("\"resource\"") {
            format!("resources = [{}]", Value::from(RESOURCE))
        } else {
            String::new()
        };
        // Conflicting constants are refused; this is no test of that.
        let profile = match profile(&text(algorithm, &written, &resources), SECRET) {
            Err(problem) if problem.contains("is defined twice") => return Ok(()),
            profile => profile.unwrap(),
        };
        let inputs = Inputs {
            now: NOW,
            ttl_seconds: Some(3_600),
            identity: Some(IDENTITY.to_owned()),
            resource: (!resources.is_empty()).then(|| RESOURCE.to_owned()),
        };
        let ours = inputs.mint(&profile, &params).unwrap();
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let theirs = jsonwebtoken::encode(&Header::new(algorithm), &meant, &key).unwrap();
        let theirs: [Value; 2] = read(&theirs);
        prop_assert_eq!([&ours.header, &ours.claims], [&theirs[0], &theirs[1]]);
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        prop_assert!(jsonwebtoken::decode::<Value>(&ours.token, &key, &validation).is_ok());
    }
}

/// Header and claims, in any encoding.
fn read(token: &str) -> [Value; 2] {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let mut parts = token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap());
    [(); 2].map(|()| serde_json::from_slice(&parts.next().unwrap()).unwrap())
}

#[test]
fn claim_table_requires_expiry_and_per_token_claims() {
    let problem = |claims: Value, more: &str| {
        profile(&text(Algorithm::HS256, &claims, more), SECRET).unwrap_err()
    };
    let own = json!({"exp": {"from": "exp"}, "sub": {"from": "identity"}});
    for (claims, more, reported) in [
        (json!({"sub": {"from": "identity"}}), "", "valid indefinitely"),
        (json!({"exp": 1, "sub": {"from": "identity"}}), "", "valid indefinitely"),
        (own.clone(), "no_exp = true", "no_exp: must be false"),
        (json!({"exp": {"from": "exp"}}), "", "unique: must be false"),
        (own.clone(), "unique = false", "unique: must be true: each token contains an identity"),
        (own.clone(), "reuse_for = \"30s\"", "reuse_for: requires unique = false"),
        (own.clone(), "caller_params = [\"a\"]", "caller_params: unknown key"),
        (own.clone(), "header = { alg = \"none\" }", "header: alg: is set by"),
        (own.clone(), "header = { crit = [\"exp\"] }", "header: crit"),
        (own, "grant_ttl = \"60s\"", "grant_ttl: unknown key"),
    ] {
        let problem = problem(claims, more);
        assert!(problem.contains(reported), "{reported}: {problem}");
    }
    let good = json!({"exp": {"from": "exp"}, "sub": {"from": "identity"}});
    let weak = profile(&text(Algorithm::HS256, &good, ""), "short").unwrap_err();
    let reported = "needs allow_weak_secret = true";
    assert!(weak.contains(reported) && weak.lines().count() == 1, "expected one problem: {weak}");
    let text = "[profiles.own]\nkind = \"jwt\"\nalg = \"none\"\nkey_env = \"KEY\"\n";
    let problem = profile(text, SECRET).unwrap_err();
    assert!(problem.contains("alg: must be one of HS256, HS384, HS512, RS256"), "{problem}");
    assert!(!problem.contains("key_env: unknown"), "{problem}");
    assert!(problem.contains("claims: is missing"), "{problem}");
}

#[tokio::test]
async fn signature_is_shared_for_the_configured_period() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("key"), SECRET).unwrap();
    let profiles = format!(
        "default_profile = \"shared\"\n\
         [profiles.shared]\nkind = \"jwt\"\nalg = \"HS256\"\nkey_file = \"{key}\"\n\
         unique = false\nreuse_for = \"1h\"\ntoken_ttl = \"6h\"\nmargin = \"10s\"\n\
         allow_resources = [\"*\"]\n\
         [profiles.shared.claims]\nvideo = {{ from = \"resource\" }}\n\
         iat = {{ from = \"now\" }}\nexp = {{ from = \"exp\" }}\n\
         quality = {{ from = \"param\", required = true }}\n\
         [profiles.own]\nkind = \"jwt\"\nalg = \"HS512\"\nkey_file = \"{key}\"\n\
         [profiles.own.claims]\nid = {{ from = \"uuid\" }}\nexp = {{ from = \"exp\" }}\n",
        key = path("key")
    );
    fs::write(path("config"), profiles).unwrap();
    let serve = Serve::start(&["--config", &path("config")]).await;
    let reported =
        async |arguments: &[&str]| run(&[arguments, &["--server", &serve.server]].concat()).await;
    let quality = ["--param", "quality=hd"];
    let mint = async |identity: &str, resource: &str| {
        let ask = [&["mint", identity, "--resource", resource][..], &quality].concat();
        let minted = reported(&ask).await;
        assert_eq!(minted.code, Some(0), "{}", minted.stderr);
        minted.stdout.trim().to_owned()
    };
    let (alice, bob) = (mint("alice", "v1").await, mint("bob", "v1").await);
    let [[_, claims], [_, of_bob]] = [&*alice, &*bob].map(parts);
    let issued = claims["iat"].as_i64().unwrap();
    // Unless the hour changed in between.
    assert!(
        alice == bob || of_bob["iat"] == issued + 3_600,
        "expected one signature within an hour"
    );
    assert_ne!(alice, mint("alice", "v2").await);
    assert_eq!((issued % 3_600, &claims["exp"]), (0, &json!(issued + 6 * 3_600)));
    assert_eq!((&claims["video"], &claims["quality"]), (&json!("v1"), &json!("hd")));

    let ask = ["mint", "alice", "--resource", "v1"];
    let refused = reported(&ask).await;
    assert!(refused.stderr.contains("PARAM_REQUIRED"), "{}", refused.stderr);
    assert!(refused.stderr.contains("options.params.quality"), "{}", refused.stderr);
    // One of the six hours may have passed, and the margin.
    for (least, refused) in [("17989s", false), ("17991s", true)] {
        let ran = reported(&[&ask[..], &quality, &["--min-remaining", least]].concat()).await;
        assert_eq!(ran.stderr.contains("VALIDITY_UNATTAINABLE"), refused, "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("at most 17990s"), refused, "{}", ran.stderr);
    }
    let ran = reported(&["mint", "alice", "--profile", "own"]).await;
    let [header, claims] = parts(ran.stdout.trim());
    assert_eq!(header["alg"], "HS512");
    assert_eq!(claims["id"].as_str().map(str::len), Some(36), "{claims}");
    let bulk =
        reported(&["bulk", "--profile", "own", "--count", "1000", "-o", &path("tokens")]).await;
    assert_eq!(bulk.code, Some(0), "{}", bulk.stderr);
    let tokens = fs::read_to_string(path("tokens")).unwrap();
    let ids: std::collections::HashSet<_> =
        tokens.lines().map(|token| parts(token)[1]["id"].to_string()).collect();
    assert_eq!(ids.len(), 1_000);
}
