//! The key `life`: how long a credential lasts.

use serde_json::Value;

use super::{LifeAt, LifeRule, Placeholder, Recipe, at, reported};
use crate::{
    provider::forward::{answer::CredentialAt, life::parse_duration},
    settings::Section,
};

const FORMS: &str = r#"must be { seconds = "/pointer" }, { until = "/pointer" }, "jwt", "requested" or a duration like "10m""#;

/// Reads its keys.
pub(super) fn read(section: &mut Section<'_>) -> Option<LifeRule> {
    if !section.has("life") {
        section.problem(
            "life",
            format!("is missing: the credential's expiry would be unknown. It {FORMS}"),
        );
        return None;
    }
    let value: Value = section.deserialized("life")?;
    reported(section, "life", parse(&value))
}

/// Checks that the life fits the recipe.
pub(super) fn check(section: &Section<'_>, recipe: &Recipe, places: &[Placeholder]) {
    let requests_life = places.contains(&Placeholder::GrantTtl);
    match recipe.life.at {
        LifeAt::Requested if !requests_life => {
            section.problem(
                "life",
                "is the requested life, but no placeholder {grant_ttl} requests it",
            );
        }
        LifeAt::Seconds(_) | LifeAt::Until(_) if recipe.credential == CredentialAt::Text => {
            section.problem("life", "points into JSON, but the credential is the whole body");
        }
        _ => {}
    }
}

fn parse(value: &Value) -> Result<LifeRule, String> {
    match value {
        Value::String(text) => match text.as_str() {
            "jwt" => Ok(LifeAt::Jwt.into()),
            "requested" => Ok(LifeAt::Requested.into()),
            duration => {
                let life =
                    parse_duration(duration).map_err(|error| format!("{error}; it {FORMS}"))?;
                Ok(LifeAt::Fixed(life).into())
            }
        },
        Value::Object(members) => {
            let text = |name| members.get(name).map(|it| it.as_str().ok_or(FORMS)).transpose();
            let known = ["seconds", "until", "otherwise"];
            if members.keys().any(|name| !known.contains(&name.as_str())) {
                return Err(FORMS.to_owned());
            }
            let mut rule = match (text("seconds")?, text("until")?) {
                (Some(pointer), None) => at(pointer, LifeAt::Seconds)?,
                (None, Some(pointer)) => at(pointer, LifeAt::Until)?,
                _ => return Err(FORMS.to_owned()),
            };
            rule.otherwise = text("otherwise")?.map(parse_duration).transpose()?;
            Ok(rule)
        }
        _ => Err(FORMS.to_owned()),
    }
}
