//! Azure AI Speech: access tokens for a resource's region.
//!
//! Source: Microsoft's guide "Speech service REST API: authentication". A token lives for ten
//! minutes; the guide advises to use it for nine. The body of a refusal is taken from sibling
//! services.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, build, secret_keys};
use crate::{
    provider::{
        LifeRules,
        forward::{
            emulation::{Emulation, Issued, Refused},
            life::LifeAt,
            parts::{Covers, Parts, parse_resource},
            recipe::RecipeBuilder,
            secret::{self, Secret},
        },
    },
    sandbox::Answer,
    settings::{SecretKeys, Section},
};

const KEY: SecretKeys = secret_keys("key_file", "key_env", "key");

const LIFE: Duration = Duration::from_secs(10 * 60);

pub(super) static PRESET: Preset = Preset {
    name: "azure-speech",
    life: LifeRules::Reported,
    refresh_at: 0.5,
    parse_resource,
    read,
    emulation: Emulation { life: LIFE, max_life: LIFE, answer, refuse, ..Emulation::DEFAULT },
    demo: || DemoKeys {
        keys: vec![("region", "westeurope".into())],
        secret: KEY,
        value: "public-demo-key-of-the-sandbox-only".to_owned(),
        resources: Vec::new(),
    },
};

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let region = section.required("region", parse_region);
    let secret = Secret::read(section, KEY);
    let (region, (secret, origin)) = (region?, secret?);
    let url = format!("https://{region}.api.cognitive.microsoft.com/sts/v1.0/issueToken");
    let builder = RecipeBuilder::post(&url)
        .header("ocp-apim-subscription-key", "{secret}")
        // An empty body of this type.
        .form(&[])
        .life(LifeAt::Fixed(LIFE));
    Some(Parts {
        secret: Some(secret),
        // The key names no account, so its location identifies the account.
        account: origin.to_string(),
        shown: vec![("region", json!(region)), (KEY.value, secret::shown(&origin))],
        ..Parts::new(build(section, "region", builder)?, Covers::Session)
    })
}

fn parse_region(text: &str) -> Result<String, &'static str> {
    let of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if (1..=32).contains(&text.len()) && text.bytes().all(of_region) {
        Ok(text.to_owned())
    } else {
        Err(r#"is not a region like "westeurope""#)
    }
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let token = issued.jwt(&json!({"region": "westeurope", "aud": "urn:ms.speech"}));
    (Answer::new(StatusCode::OK, "application/jwt; charset=us-ascii", token.clone()), token)
}

fn refuse(refused: Refused) -> Answer {
    let message = match refused.status.as_u16() {
        401 => {
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to \
             provide a valid key for an active subscription and use a correct regional API \
             endpoint for your resource."
        }
        404 => "Resource not found",
        429 => "Rate limit is exceeded. Try again later.",
        _ => return Answer::page(refused.status),
    };
    let code = refused.status.as_str();
    Answer::json(refused.status, &json!({"error": {"code": code, "message": message}}))
}
