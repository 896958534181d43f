//! Tokens of random inputs and the vendors' own Node libraries: they verify ours, and make the same
//! from the same inputs.

use std::collections::{BTreeMap, HashSet};

use grantmint::{
    clock::WallTime,
    provider::{KINDS, read_credential},
    reading::{Jwt, View},
};
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree,
    string::string_regex,
    test_runner::TestRunner,
};
use serde_json::{Map, Value, json};

use super::{Inputs, agora, cloudflare_stream, in_toml, node, parts, test_key, vonage_video};

const COUNT: usize = 1_000;

const NOW: i64 = 1_700_000_000;

const VIEW: View<'_> = View { now: WallTime::from_unix_seconds(NOW), mask: None };

/// The same values in each run.
fn random<T>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// The output of `tests/node/video.js` for these cases, one by one.
async fn in_node(cases: Vec<Value>) -> Vec<Value> {
    let count = cases.len();
    let read = node::in_node("video.js", &cases.into()).await;
    assert_eq!(read.len(), count);
    read
}

/// The kinds that recognize a token.
fn readers(token: &str) -> Vec<&'static str> {
    let jwt = Jwt::decode(token);
    let reads = KINDS.iter().filter(|kind| match &jwt {
        Some(jwt) => kind.read_token(jwt, VIEW).is_some(),
        None => kind.read_credential(token, VIEW).is_some(),
    });
    reads.map(|kind| kind.name()).collect()
}

/// Strings that any escaping or normalization would change.
fn text(most: usize) -> impl Strategy<Value = String> {
    let hostile =
        select(vec!["\",\"role\":\"moderator", "zo\u{eb} \u{10ffff}", "?>~\\\"{}", "</script>"]);
    prop_oneof!["[ -~]{1,40}", hostile.prop_map(str::to_owned), "\\PC{1,20}"]
        .prop_filter("short", move |text| text.len() <= most)
}

/// A channel or an account.
fn name(most: usize) -> impl Strategy<Value = String> {
    let any = format!("[a-zA-Z0-9!#$%&()+:;<=.>?@\\[\\]^_{{}}|~, -]{{1,{most}}}");
    string_regex(&any)
        .unwrap()
        .prop_filter("somebody", |name| !name.starts_with(' ') && name.bytes().any(|it| it != b'0'))
}

/// A profile and a call for Agora, for us and for the library.
#[derive(Debug)]
struct Agora {
    services: Vec<&'static str>,
    uid: Option<u32>,
    account: String,
    channel: String,
    role: &'static str,
    role_by_call: bool,
    expire: Option<u32>,
    limits: Option<BTreeMap<&'static str, Option<u32>>>,
    life: u32,
    back: u32,
    now: i64,
}

fn of_agora() -> impl Strategy<Value = Agora> {
    let limit = |name: &'static str| {
        let limit = prop_oneof![Just(Some(0)), (1..=86_400_u32).prop_map(Some), Just(None)];
        limit.prop_map(move |limit| (name, if name == "join" { limit.or(Some(7)) } else { limit }))
    };
    let limits = subsequence(vec!["join", "audio", "video", "data"], 1..=4)
        .prop_flat_map(move |names| names.into_iter().map(limit).collect::<Vec<_>>())
        .prop_map(BTreeMap::from_iter);
    let user = (option::of(1..=u32::MAX), name(63), name(63));
    let rights = (
        select(vec!["publisher", "subscriber"]),
        any::<bool>(),
        option::of(0..=86_400_u32),
        option::weighted(0.3, limits),
    );
    let times = (3..=86_400_u32, prop_oneof![Just(0), 0..3_600_u32], NOW..=4_000_000_000);
    let services = subsequence(vec!["rtc", "rtm", "chat"], 1..=3);
    (services, user, rights, times).prop_map(
        |(services, (uid, account, channel), (role, role_by_call, expire, limits), times)| {
            let (life, back, now) = times;
            let uid = uid.filter(|_| services.contains(&"rtc"));
            let life = life.max(back + 3).min(86_400);
            Agora {
                services,
                uid,
                account,
                channel,
                role,
                role_by_call,
                expire,
                limits,
                life,
                back,
                now,
            }
        },
    )
}

impl Agora {
    /// A limit as the profile and the library's caller write it.
    fn limits(&self) -> Option<Value> {
        let limits = self.limits.as_ref()?.iter();
        let limits = limits.map(|(name, limit)| {
            ((*name).to_owned(), limit.map_or(Value::Bool(false), Value::from))
        });
        Some(limits.collect::<Map<_, _>>().into())
    }

    fn user(&self) -> String {
        self.uid.map_or_else(|| self.account.clone(), |uid| uid.to_string())
    }

    /// Our token.
    fn token(&self) -> String {
        let Self { services, channel, life, back, .. } = self;
        let mut lines = vec![format!(
            "services = {services:?}\ntoken_ttl = \"{life}s\"\niat_backdate = \"{back}s\""
        )];
        let mut given = Vec::new();
        if services.contains(&"rtc") {
            let identity_type = if self.uid.is_some() { "uid" } else { "account" };
            let channel = Value::from(channel.as_str());
            lines.push(format!("identity_type = \"{identity_type}\"\nresources = [{channel}]"));
            let mut params = Map::new();
            if self.role_by_call {
                given.push(("role".to_owned(), self.role.into()));
                lines.push("caller_params = [\"role\"]".to_owned());
            } else {
                params.insert("role".to_owned(), self.role.into());
            }
            params.extend(self.expire.map(|it| ("privilege_expire".to_owned(), it.into())));
            params.extend(self.limits().map(|it| ("privileges".to_owned(), it)));
            lines.push(format!("params = {}", in_toml(&params.into())));
        }
        let lines = lines.join("\n");
        let profile = agora::profile(&lines).unwrap_or_else(|problem| panic!("{lines}{problem}"));
        let inputs = Inputs {
            now: self.now,
            ttl_seconds: None,
            identity: Some(self.user()),
            resource: services.contains(&"rtc").then(|| channel.clone()),
        };
        let form = profile.rules.tokens.identity_form.unwrap();
        assert!((form.fits)(&self.user()), "{self:?}: {}", form.wanted);
        inputs.token(&profile, &given).unwrap().0
    }

    /// The library's input.
    fn build(&self) -> Value {
        let user = self.uid.map_or_else(|| Value::from(self.account.as_str()), Value::from);
        json!({
            "appId": "022f71ff2bfd535fa74d8035bd7f2a82",
            "certificate": agora::CERTIFICATE,
            "services": self.services,
            "channel": self.channel,
            "user": user,
            "role": self.role,
            "life": self.life,
            "expire": self.expire.unwrap_or(0),
            "limits": self.limits(),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agora_library_agrees_on_1_000_inputs() {
    let inputs = random(of_agora(), COUNT);
    let ours: Vec<_> = inputs.iter().map(Agora::token).collect();
    let cases = inputs.iter().zip(&ours).map(
        |(inputs, token)| json!({"library": "agora", "token": token, "build": inputs.build()}),
    );
    let read = in_node(cases.collect()).await;
    for ((inputs, token), read) in inputs.iter().zip(&ours).zip(&read) {
        assert_eq!(read["same"], true, "{inputs:?}: {read}");
        let fields = agora::fields(token);
        assert_eq!(read["issueTs"], inputs.now - i64::from(inputs.back), "{inputs:?}");
        assert_eq!((&read["expire"], &read["salt"]), (&json!(inputs.life), &fields["salt"]));
        // Our payload is stored and theirs is compressed; both are read.
        let theirs = read["made"].as_str().unwrap();
        assert_eq!(agora::fields(theirs), fields);
        assert_eq!([readers(token), readers(theirs)], [["agora"], ["agora"]]);
        let warnings = read_credential(token, VIEW).unwrap().warnings;
        let expected = ["issue", "privileges"];
        assert!(
            warnings.iter().all(|warning| expected.contains(&warning.about)),
            "{inputs:?}: {warnings:?}"
        );
    }
    let used: HashSet<_> = inputs.iter().map(|it| it.services.clone()).collect();
    assert_eq!(used.len(), 7);
}

/// A profile and a call for Vonage.
#[derive(Debug)]
struct Vonage {
    data: Option<String>,
    role: &'static str,
    classes: Vec<String>,
    life: u32,
    now: i64,
}

fn of_vonage() -> impl Strategy<Value = Vonage> {
    let roles = vec!["publisher", "subscriber", "moderator", "publisheronly"];
    let classes = vec("[a-zA-Z0-9_:-]{1,20}", 0..4);
    let user = option::of(text(256).prop_filter("no control", |it| !it.contains(char::is_control)));
    let times = (3..=2_592_000_u32, NOW..=4_000_000_000);
    (user, select(roles), classes, times).prop_map(|(data, role, classes, (life, now))| Vonage {
        data,
        role,
        classes,
        life,
        now,
    })
}

impl Vonage {
    /// Our token; the role comes from the profile, the classes from a call.
    fn token(&self) -> String {
        let identity = if self.data.is_none() { "identity = \"none\"" } else { "" };
        let lines = format!(
            "resources = [\"{}\"]\ntoken_ttl = \"{}s\"\nparams = {{ role = \"{}\" }}\n\
             caller_params = [\"initial_layout_class_list\"]\n{identity}\n",
            vonage_video::SESSION,
            self.life,
            self.role,
        );
        let profile = vonage_video::profile(&lines).unwrap_or_else(|it| panic!("{lines}{it}"));
        let inputs = Inputs {
            now: self.now,
            ttl_seconds: None,
            identity: self.data.clone(),
            resource: Some(vonage_video::SESSION.to_owned()),
        };
        let classes = ("initial_layout_class_list".to_owned(), self.classes.join(" ").into());
        inputs.token(&profile, &[classes]).unwrap().0
    }

    /// The same for the library.
    fn case(&self, token: &str) -> Value {
        json!({
            "library": "vonage",
            "token": token,
            "publicKey": test_key("/vonage-video/public_key_pem").unwrap(),
            "privateKey": vonage_video::private_key(),
            "applicationId": test_key("/vonage-video/application_id").unwrap(),
            "session": vonage_video::SESSION,
            "now": self.now,
            "options": {
                "role": self.role,
                "data": self.data,
                "initialLayoutClassList": self.classes,
                "expireTime": self.now + i64::from(self.life),
            },
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vonage_library_agrees_on_1_000_inputs() {
    let inputs = random(of_vonage(), COUNT);
    let ours: Vec<_> = inputs.iter().map(Vonage::token).collect();
    let cases = inputs.iter().zip(&ours).map(|(inputs, token)| inputs.case(token));
    let read = in_node(cases.collect()).await;
    let claims = |token: &str| {
        let [header, mut claims] = parts_of(token);
        let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 36, "{id}");
        [header, claims]
    };
    for ((inputs, token), read) in inputs.iter().zip(&ours).zip(&read) {
        assert_eq!(read["holds"], true, "{inputs:?}");
        let theirs = read["made"].as_str().unwrap();
        assert_eq!(claims(token), claims(theirs), "{inputs:?}");
        assert_eq!([readers(token), readers(theirs)], [["vonage-video"], ["vonage-video"]]);
    }
}

/// Header and claims; other vendors' tokens need not be ASCII.
fn parts_of(token: &str) -> [Value; 2] {
    let jwt = Jwt::decode(token).unwrap();
    [jwt.header.into(), jwt.claims.into()]
}

#[tokio::test]
async fn opentok_library_tokens_are_recognized() {
    let case = |form: &str| {
        json!({
            "library": "opentok",
            "apiKey": test_key("/opentok/api_key").unwrap(),
            "apiSecret": test_key("/opentok/api_secret").unwrap(),
            "session": "1_MX40NTY3ODkwMX5-MTcwMDAwMDAwMDAwMH50ZXN0c2Vzc2lvbn5-",
            "now": NOW,
            "form": form,
        })
    };
    for made in in_node(vec![case("jwt"), case("T1")]).await {
        let made = made["made"].as_str().unwrap();
        assert_eq!(readers(made), ["vonage-video"], "{made}");
        let reading = match Jwt::decode(made) {
            Some(jwt) => grantmint::provider::read_token(&jwt, VIEW),
            None => read_credential(made, VIEW).unwrap(),
        };
        assert!(reading.warnings.iter().any(|it| it.message.contains("OpenTok's")), "{reading:?}");
        assert!(reading.lines.iter().any(|line| line.text == "45678901"), "{reading:?}");
    }
}

/// Rules of a Cloudflare token.
fn rules() -> impl Strategy<Value = Value> {
    let countries = btree_set("[A-Z]{2}", 1..5);
    let networks = vec(
        prop_oneof![
            any::<std::net::Ipv4Addr>().prop_map(|it| it.to_string()),
            (any::<std::net::Ipv6Addr>(), 0..=128).prop_map(|(it, bits)| format!("{it}/{bits}"))
        ],
        1..5,
    );
    let rule = prop_oneof![
        Just(json!({"type": "any"})),
        countries.prop_map(|of| json!({"type": "ip.geoip.country", "country": of})),
        networks.prop_map(|of| json!({"type": "ip.src", "ip": of})),
    ];
    let rule = (rule, select(vec!["allow", "block"])).prop_map(|(mut rule, action)| {
        rule["action"] = action.into();
        rule
    });
    vec(rule, 1..=5).prop_map(Value::from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_verifies_cloudflare_tokens_of_random_inputs() {
    let inputs = (option::of(any::<bool>()), option::of(rules()), 3..=86_400_i64, "[0-9a-f]{32}");
    let mut tokens = Vec::new();
    for (downloadable, rules, life, video) in random(inputs, COUNT / 5) {
        let lines =
            "allow_resources = [\"*\"]\ncaller_params = [\"downloadable\", \"access_rules\"]";
        let profile = cloudflare_stream::profile(lines).unwrap();
        let inputs = Inputs {
            now: NOW,
            ttl_seconds: Some(life),
            identity: None,
            resource: Some(video.clone()),
        };
        let mut given = Vec::new();
        given.extend(downloadable.map(|it| ("downloadable".to_owned(), it.into())));
        given.extend(rules.clone().map(|it| ("access_rules".to_owned(), it)));
        let (token, _) = inputs.token(&profile, &given).unwrap();
        let kid = parts(&token)[0]["kid"].clone();
        let mut claims = json!({"sub": video, "kid": kid, "exp": NOW + life});
        claims.as_object_mut().unwrap().extend(
            [("downloadable", downloadable.map(Value::from)), ("accessRules", rules)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        assert_eq!(parts(&token)[1], claims);
        assert_eq!(readers(&token), ["cloudflare-stream"]);
        tokens.push(token);
    }
    node::assert_signed_by("/cloudflare-stream/public_key_pem", &tokens).await;
}
