//! A token's parameters. Names and values: "Secure your Stream", and the API's schema of signed
//! tokens.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::token::params::{Parameter, Shape};

/// "Secure your Stream": the maximum number of rules.
pub(super) const MAX_RULES: usize = 5;

/// The longest rules as JSON, in bytes.
const MAX_RULES_BYTES: usize = 4 * 1024;

/// All parameters.
pub(super) fn declared() -> Vec<Parameter> {
    vec![
        Parameter::new("downloadable", "downloadable", Shape::Flag),
        Parameter::new("access_rules", "accessRules", ACCESS_RULES),
        // The original may be larger than the stream, and contains the camera's metadata.
        Parameter::of_profile("flags", "flags", FLAGS),
    ]
}

const ACCESS_RULES: Shape = Shape::Own {
    wanted: "must be a list of 1 to 5 rules: {type = \"any\" | \"ip.src\" | \"ip.geoip.country\", \
             action = \"allow\" | \"block\"}, with ip, a list of addresses or networks, or \
             country, a list of codes such as \"US\", according to its type",
    fits: |value| {
        value.as_array().is_some_and(|rules| {
            (1..=MAX_RULES).contains(&rules.len()) && rules.iter().all(is_rule)
        }) && value.to_string().len() <= MAX_RULES_BYTES
    },
};

const FLAGS: Shape = Shape::Own {
    wanted: "must be an object with original, true or false",
    fits: |value| {
        value.as_object().is_some_and(|flags| {
            flags.len() == 1 && flags.get("original").is_some_and(Value::is_boolean)
        })
    },
};

fn is_rule(rule: &Value) -> bool {
    let Some(rule) = rule.as_object() else { return false };
    let text = |name: &str| rule.get(name).and_then(Value::as_str);
    let members = match text("type") {
        Some("any") => 2,
        Some("ip.src") if is_list_of(rule, "ip", is_network) => 3,
        Some("ip.geoip.country") if is_list_of(rule, "country", is_country) => 3,
        _ => return false,
    };
    matches!(text("action"), Some("allow" | "block")) && rule.len() == members
}

fn is_list_of(rule: &Map<String, Value>, name: &str, fits: fn(&str) -> bool) -> bool {
    rule.get(name).and_then(Value::as_array).is_some_and(|items| {
        !items.is_empty() && items.iter().all(|item| item.as_str().is_some_and(fits))
    })
}

/// Whether a string is an address, or a network in CIDR notation.
fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        None => (text, None),
        Some((address, bits)) => (address, Some(bits)),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| {
        bits.bytes().all(|it| it.is_ascii_digit())
            && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

/// Whether a string has the form of an ISO 3166-1 alpha-2 code; Cloudflare also has `T1` for Tor.
fn is_country(text: &str) -> bool {
    text == "T1" || (text.len() == 2 && text.bytes().all(|it| it.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rule_has_exactly_what_its_type_needs() {
        let any = json!({"type": "any", "action": "block"});
        let of = |ip: &str| json!({"type": "ip.src", "action": "allow", "ip": [ip]});
        let from = |country: Value| json!({"type": "ip.geoip.country", "action": "allow", "country": country});
        for (rules, fits) in [
            (json!([any]), true),
            (json!([any, any, any, any, any]), true),
            (json!([any, any, any, any, any, any]), false),
            (json!([]), false),
            (json!(any), false),
            (json!([of("93.184.216.0/24"), of("2400:cb00::/32"), of("::1")]), true),
            (json!([of("93.184.216.0/33")]), false),
            (json!([of("93.184.216.0/+1")]), false),
            (json!([of("93.184.216.0/")]), false),
            (json!([of("93.184.216")]), false),
            (json!([of("example.com")]), false),
            (json!([from(json!(["US", "MX", "T1"]))]), true),
            (json!([from(json!(["us"]))]), false),
            (json!([from(json!(["USA"]))]), false),
            (json!([from(json!([]))]), false),
            (json!([from(json!("US"))]), false),
            (json!([{"type": "any", "action": "deny"}]), false),
            (json!([{"type": "any", "action": "block", "ip": ["::1"]}]), false),
            (json!([{"type": "ip.src", "action": "allow"}]), false),
            (json!([{"type": "ip.src", "action": "allow", "country": ["US"]}]), false),
            (json!([{"type": "host", "action": "allow"}]), false),
            (json!(["any"]), false),
        ] {
            assert_eq!(ACCESS_RULES.write(&rules).is_ok(), fits, "{rules}");
        }
        let long = json!([{"type": "ip.src", "action": "allow", "ip": vec!["1.1.1.1"; 500]}]);
        assert!(ACCESS_RULES.write(&long).is_err());
    }

    #[test]
    fn flags_hold_one_flag() {
        for (flags, fits) in [
            (json!({"original": true}), true),
            (json!({"original": 1}), false),
            (json!({"original": true, "other": true}), false),
            (json!({}), false),
            (json!(true), false),
        ] {
            assert_eq!(FLAGS.write(&flags).is_ok(), fits, "{flags}");
        }
    }
}
