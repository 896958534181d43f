//! A profile of each kind that signs with a key alone, and a valid call for each.

/// The profiles; `SECRET_FILE` stands for a file with the secret.
pub(super) const PROFILES: &str = r#"
[profiles.livekit]
kind = "livekit"
api_key = "APItestShared"
api_secret_file = "SECRET_FILE"
allow_resources = ["room-*"]
params = { can_publish = false, room_config = { maxParticipants = 4 } }
caller_params = ["name", "agents", "attributes"]

[profiles.twilio-access]
kind = "twilio-access"
account_sid = "AC0123456789abcdef0123456789abcdef"
api_key_sid = "SK89abcdef0123456789abcdef01234567"
api_key_secret_file = "SECRET_FILE"
allow_resources = ["room-*"]
caller_params = ["incoming"]
[profiles.twilio-access.grants]
video = {}
voice = { outgoing = { application_sid = "AP0123456789abcdef0123456789abcdef" } }
chat = { service_sid = "IS0123456789abcdef0123456789abcdef" }

[profiles.zoom-videosdk]
kind = "zoom-videosdk"
sdk_key = "SDKtestShared"
sdk_secret_file = "SECRET_FILE"
allow_resources = ["room *"]
caller_params = ["role_type", "session_key", "geo_regions"]

[profiles.daily]
kind = "daily"
domain_id = "3c475c00-8fa1-4ba0-96f8-4f2ae955cc17"
api_key_file = "SECRET_FILE"
allow_resources = ["room-*"]
params = { ss = false }
caller_params = ["u", "p", "eje"]

[profiles.hundred-ms]
kind = "100ms"
access_key = "e883f095d75618043a557de9"
app_secret_file = "SECRET_FILE"
allow_resources = ["room-*"]
caller_params = ["role"]

[profiles.jitsi]
kind = "jwt"
alg = "HS512"
key_file = "SECRET_FILE"
allow_resources = ["*"]
[profiles.jitsi.claims]
aud = "jitsi"
room = { from = "resource" }
exp = { from = "exp" }
nbf = { from = "now" }
"context.user.id" = { from = "identity" }
"context.user.name" = { from = "param" }

[profiles.hasura]
kind = "jwt"
alg = "HS384"
key_file = "SECRET_FILE"
[profiles.hasura.claims]
sub = { from = "identity" }
iat = { from = "now" }
exp = { from = "exp" }
plan = { from = "param", type = "object" }
"https://hasura.io/jwt/claims" = { x-hasura-allowed-roles = ["viewer"], x-hasura-seats = { from = "param", name = "seats", type = "list" } }
"#;

/// A valid call for each: the profile, and the arguments of `grantmint mint`.
pub(super) const CALLS: [(&str, &[&str]); 7] = [
    (
        "livekit",
        &[
            "zoë",
            "--resource=room-1",
            "--param=name=Zoë",
            r#"--param=agents=[{"agentName":"a","metadata":"{\"exp\":1}"}]"#,
        ],
    ),
    ("twilio-access", &["zoe_7", "--resource=room-1", "--param=incoming=true"]),
    (
        "zoom-videosdk",
        &[
            "zoë",
            "--resource=room 1",
            "--param=role_type=1",
            "--param=session_key=k\"1",
            "--param=geo_regions=US,AU",
        ],
    ),
    (
        "daily",
        &["zoë", "--resource=room-1", "--param=u=Zoë", r#"--param=p={"cs":"v,a","hp":false}"#],
    ),
    ("hundred-ms", &["zoë", "--resource=room-1", "--param=role=viewer"]),
    ("jitsi", &["zoë", "--resource=lobby?", "--param=name=Zoë~"]),
    ("hasura", &["zoë", r#"--param=plan={"sub":"eve","exp":1}"#, r#"--param=seats=["1a",2,null]"#]),
];
