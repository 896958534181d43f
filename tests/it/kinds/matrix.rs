//! Every parameter of every kind: its type, who may set it, and the scope of a token without it.

use grantmint::{
    config::Config,
    provider::{KINDS, Setter},
    rpc::proto::MintOptions,
};
use prost_types::Struct;
use serde_json::{Value, json};
use tonic::Code::InvalidArgument;

use super::{parts, test_key, values::wire};
use crate::wire::harness::{TestServer, assert_refused};

/// Kind, a valid value, and the parameters of its type; `!` marks those that only the profile sets.
const DECLARED: [(&str, &str, &str); 43] = [
    ("100ms", r#""viewer""#, "role"),
    ("agora", r#""publisher""#, "role"),
    ("agora", "60", "privilege_expire"),
    ("agora", r#"{"video": false}"#, "!privileges"),
    ("cloudflare-stream", "true", "downloadable"),
    ("cloudflare-stream", r#"[{"type": "any", "action": "block"}]"#, "access_rules"),
    ("cloudflare-stream", r#"{"original": true}"#, "!flags"),
    ("daily", r#""US""#, "u rome er mjh uil"),
    ("daily", "{}", "sro p"),
    ("daily", "1", "eje"),
    ("daily", "true", "o k ctoe ij sr ast ss vo ao ejt erui"),
    ("ivs-playback", r#""https://a.example""#, "allow_origin"),
    ("ivs-playback", "1", "viewer_session_version"),
    ("ivs-playback", r#""HD""#, "maximum_resolution"),
    ("ivs-playback", "true", "!strict_origin !single_use"),
    ("ivs-stage", r#"{"allow_publish": true}"#, "capabilities"),
    ("ivs-stage", "{}", "attributes"),
    ("jwt", r#""text""#, "a_text"),
    ("jwt", "1", "a_count"),
    ("jwt", "true", "a_flag"),
    ("jwt", "[]", "a_list"),
    ("jwt", "{}", "an_object"),
    ("livekit", r#""text""#, "name metadata !room_preset !destination_room !kind !sha256"),
    ("livekit", "{}", "attributes !room_config !sip !inference !observability"),
    ("livekit", r#"["camera"]"#, "can_publish_sources"),
    ("livekit", r#"[{"agent_name": "a"}]"#, "agents"),
    ("livekit", "[]", "!kind_details"),
    (
        "livekit",
        "true",
        "can_publish can_subscribe can_publish_data can_update_own_metadata \
         can_subscribe_metrics can_manage_agent_session hidden room_admin !room_join \
         !room_create !room_list !room_record !ingress_admin !recorder !agent",
    ),
    ("mux", r#""gif""#, "token_type"),
    ("mux", r#""pad""#, "fit_mode"),
    ("mux", r#""720p""#, "max_resolution min_resolution"),
    ("mux", r#""desc""#, "rendition_order"),
    ("mux", r#""en""#, "default_subtitles_lang !playback_restriction_id"),
    ("mux", "90", "width height rotate program_time program_start_time program_end_time"),
    ("mux", "9", "fps"),
    ("mux", "0.5", "time start end asset_start_time asset_end_time"),
    ("mux", "true", "flip_v flip_h latest redundant_streams roku_trick_play exclude_pdt"),
    ("mux", "{}", "custom"),
    ("twilio-access", "true", "incoming"),
    ("vonage-video", r#""moderator""#, "role"),
    ("vonage-video", r#""focus""#, "initial_layout_class_list"),
    (
        "zoom-videosdk",
        "1",
        "role_type cloud_recording_option cloud_recording_election \
         cloud_recording_transcript_option video_webrtc_mode audio_webrtc_mode",
    ),
    ("zoom-videosdk", r#""US""#, "session_key geo_regions telemetry_tracking_id"),
];

/// A value of each type; the number is fractional, so that it is not a valid count.
fn one_of_each_type() -> [Value; 6] {
    [json!(null), json!(true), json!(1.5), json!("1.5"), json!([null]), json!({"exp": null})]
}

/// The parameters of a kind: name, a valid value, and whether only the profile sets it.
fn declared(kind: &str) -> Vec<(&'static str, Value, bool)> {
    let of_kind = DECLARED.iter().filter(|(its, ..)| *its == kind);
    let each = of_kind.flat_map(|(_, good, names)| {
        let good: Value = serde_json::from_str(good).unwrap();
        names.split_whitespace().map(move |name| (name, good.clone()))
    });
    each.map(|(name, good)| (name.trim_start_matches('!'), good, name.starts_with('!'))).collect()
}

/// The keys of a kind, without those of its parameters.
fn keys(kind: &str) -> &'static str {
    match kind {
        "100ms" => "access_key = \"k\"\napp_secret_env = \"SECRET\"",
        "agora" => {
            "app_id = \"022f71ff2bfd535fa74d8035bd7f2a82\"\n\
             app_certificate_env = \"/agora/app_certificate\"\nidentity_type = \"account\""
        }
        "cloudflare-stream" => {
            "key_id = \"k\"\nprivate_key_env = \"/cloudflare-stream/pem_base64\"\nunique = false"
        }
        "daily" => "domain_id = \"3c475c00-8fa1-4ba0-96f8-4f2ae955cc17\"\napi_key_env = \"SECRET\"",
        "jwt" => {
            "alg = \"HS256\"\nkey_env = \"SECRET\"\nclaims = { sub = { from = \"identity\" }, \
             room = { from = \"resource\" }, exp = { from = \"exp\" }, \
             a_text = { from = \"param\" }, a_count = { from = \"param\", type = \"integer\" }, \
             a_flag = { from = \"param\", type = \"bool\" }, \
             a_list = { from = \"param\", type = \"list\" }, \
             an_object = { from = \"param\", type = \"object\" } }"
        }
        "ivs-playback" => "private_key_env = \"/ivs-playback/private_key_sec1_pem\"",
        "ivs-stage" => {
            "public_key_arn = \"arn:aws:ivs:us-west-2:123456789012:public-key/e5d8282a\"\n\
             private_key_env = \"/ivs-stage/private_key_pkcs8_pem\"\n\
             events_url = \"wss://e.example\"\nwhip_url = \"https://w.example\""
        }
        "livekit" => "api_key = \"k\"\napi_secret_env = \"SECRET\"",
        "mux" => {
            "signing_key_id = \"k\"\nprivate_key_env = \"/mux/private_key_base64\"\n\
             unique = false"
        }
        "twilio-access" => {
            "account_sid = \"AC0123456789abcdef0123456789abcdef\"\n\
             api_key_sid = \"SK0123456789abcdef0123456789abcdef\"\n\
             api_key_secret_env = \"SECRET\"\ngrants = { video = {}, voice = {} }"
        }
        "vonage-video" => {
            "application_id = \"d42e54fb-dda3-4a36-bd16-2ff315b7c0ce\"\n\
             private_key_env = \"/vonage-video/private_key_pkcs8_pem\""
        }
        "zoom-videosdk" => "sdk_key = \"k\"\nsdk_secret_env = \"SECRET\"",
        kind => panic!("unknown kind {kind}"),
    }
}

/// The configuration of these profiles, all with the same secret.
fn parsed(text: &str) -> Result<Config, String> {
    let secret = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";
    let env = |name: &str| test_key(name).or_else(|| Some(secret.to_owned()));
    let config = Config::parse_with("f.toml", text, &env);
    config.map_err(|problems| problems.to_string())
}

/// The kinds that sign with a key alone.
fn kinds() -> impl Iterator<Item = &'static str> {
    let granted = ["twilio-live", "forward"];
    KINDS.iter().map(|kind| kind.name()).filter(move |kind| !granted.contains(kind))
}

/// A profile of this name, with these lines in addition to the kind's keys.
fn profile(name: &str, kind: &str, lines: &str) -> String {
    format!("[profiles.{name}]\nkind = \"{kind}\"\n{}\n{lines}\n", keys(kind))
}

/// Required settings of a profile of the kind, chosen so that they grant nothing.
fn required(kind: &str) -> &'static str {
    match kind {
        "100ms" => "params = { role = \"guest\" }",
        "agora" => "params = { role = \"subscriber\" }",
        _ => "",
    }
}

/// A valid resource of the kind.
fn room(kind: &str) -> &'static str {
    match kind {
        "cloudflare-stream" => "ea95132c15732412d22c1476fa83f27a",
        "ivs-playback" => "arn:aws:ivs:us-west-2:123456789012:channel/room",
        "ivs-stage" => "arn:aws:ivs:us-west-2:123456789012:stage/room",
        "vonage-video" => "1_MX40NTY3ODkwMX5-MTcwMDAwMDAwMDAwMH50ZXN0c2Vzc2lvbn5-",
        _ => "room",
    }
}

fn rooms(kind: &str) -> String {
    format!("resources = [\"{}\"]", room(kind))
}

/// Two profiles: one that opens every parameter allowed, and one that opens none.
fn profiles(kind: &str) -> String {
    let open = declared(kind).into_iter().filter(|(_, _, is_profiles)| !is_profiles);
    let open: Vec<_> = open.map(|(name, ..)| name).collect();
    let lines = match kind {
        "jwt" => String::new(),
        _ => format!("{}\ncaller_params = {open:?}", required(kind)),
    };
    let rooms = rooms(kind);
    let mut tables = profile(&format!("of-{kind}-open"), kind, &format!("{rooms}\n{lines}"));
    // In a custom table, each parameter exists to be set by calls.
    if kind != "jwt" {
        let lines = format!("{rooms}\n{}", required(kind));
        tables += &profile(&format!("of-{kind}-closed"), kind, &lines);
    }
    tables
}

fn set(kind: &str, profile: &str, name: &str, value: &Value) -> MintOptions {
    let params = Some(Struct { fields: [(name.to_owned(), wire(value))].into() });
    let profile = format!("of-{kind}-{profile}");
    MintOptions { profile, resource: room(kind).to_owned(), params, ..<_>::default() }
}

#[test]
fn each_kind_declares_its_parameters_and_no_server_grant() {
    for kind in kinds() {
        let config = parsed(&profiles(kind)).unwrap();
        let meant = declared(kind);
        let known = &config.profiles[0].tokens.declared;
        let mut names: Vec<_> =
            known.iter().map(|it| (it.name.as_str(), it.setter == Setter::Profile)).collect();
        let mut meant_names: Vec<_> = meant.iter().map(|(name, _, its)| (*name, *its)).collect();
        names.sort_unstable();
        meant_names.sort_unstable();
        assert_eq!(names, meant_names, "{kind}");
        for (name, ..) in meant.iter().filter(|(_, _, is_profiles)| *is_profiles) {
            let lines = format!("{}\ncaller_params = [\"{name}\"]", rooms(kind));
            let text = profile("a", kind, &format!("{lines}\n{}", required(kind)));
            let problem = parsed(&text).unwrap_err();
            let reported = "a.caller_params[0]: can only be set by the profile";
            assert!(problem.contains(reported), "{name}: {problem}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_take_only_their_type_and_only_if_open() {
    let server = TestServer::of(&kinds().map(profiles).collect::<String>()).await;
    for kind in kinds() {
        for (name, good, is_profiles) in declared(kind) {
            let field = format!("options.params.{name}");
            let refused = async |profile: &str, value: &Value, reason: &str| {
                let case = format!("{kind}, {profile}: {name} = {value}");
                let status = server.mint("alice", set(kind, profile, name, value)).await;
                let status = status.err().unwrap_or_else(|| panic!("{case} is accepted"));
                assert_refused(&case, &status, InvalidArgument, reason, &[&field]);
            };
            if kind != "jwt" {
                refused("closed", &good, "PARAM_NOT_ALLOWED").await;
            }
            if is_profiles {
                refused("open", &good, "PARAM_NOT_ALLOWED").await;
                continue;
            }
            let taken = server.mint("alice", set(kind, "open", name, &good)).await;
            assert!(taken.is_ok(), "{kind}: {name} = {good}: {taken:?}");
            // A fractional number stands for any number.
            let is_of_type = |value: &&Value| {
                std::mem::discriminant(*value) == std::mem::discriminant(&good)
                    && (!good.is_number() || good.is_f64())
            };
            for wrong in one_of_each_type().iter().filter(|value| !is_of_type(value)) {
                refused("open", wrong, "PARAM_INVALID").await;
            }
            if good.is_array() && good != json!([]) {
                refused("open", &json!([]), "PARAM_INVALID").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unrestricted_tokens_need_an_explicit_setting() {
    let any = "allow_resources = [\"*\"]";
    let mut tables: String = kinds()
        .map(|kind| profile(&format!("of-{kind}"), kind, &format!("{any}\n{}", required(kind))))
        .collect();
    for kind in ["daily", "livekit", "twilio-access"] {
        tables += &profile(&format!("of-{kind}-all"), kind, "allow_unscoped = true");
    }
    let server = TestServer::of(&tables).await;
    let mint = async |profile: &str| {
        let options = MintOptions { profile: profile.to_owned(), ..<_>::default() };
        server.mint("alice", options).await
    };
    for kind in kinds() {
        let refused = mint(&format!("of-{kind}"))
            .await
            .err()
            .unwrap_or_else(|| panic!("{kind}: an unrestricted token was minted"));
        let field = &["options.resource"];
        assert_refused(kind, &refused, InvalidArgument, "RESOURCE_REQUIRED", field);
    }
    for (kind, room) in
        [("daily", "/r"), ("livekit", "/video/room"), ("twilio-access", "/grants/video/room")]
    {
        let minted = mint(&format!("of-{kind}-all")).await.unwrap();
        let [_, claims] = parts(&minted.token);
        assert_eq!(claims.pointer(room), None, "{claims}");
    }
    let one = ["100ms", "agora", "cloudflare-stream", "ivs-playback", "ivs-stage", "jwt", "mux"];
    for kind in one.into_iter().chain(["vonage-video", "zoom-videosdk"]) {
        let text = profile("a", kind, &format!("{}\nallow_unscoped = true", rooms(kind)));
        let problems = parsed(&text).unwrap_err();
        assert!(problems.contains("a.allow_unscoped: unknown key"), "{kind}: {problems}");
    }
}
