//! A meeting token's parameters.
//!
//! Names: Daily's page "Self-signing tokens". Types: "Create meeting token".

use serde_json::Value;

use crate::token::params::{Parameter, Shape};

/// The longest URL in bytes.
const MAX_URL: usize = 2_048;

/// The longest object in bytes; it is copied unchanged.
const MAX_OBJECT: usize = 8 * 1024;

/// A year, longer than any call.
const MAX_SECONDS: i64 = 366 * 24 * 60 * 60;

/// The boolean claims.
pub(super) const FLAGS: [&str; 11] =
    ["o", "k", "ctoe", "ij", "sr", "ast", "ss", "vo", "ao", "ejt", "erui"];

/// What a participant may send: camera video and audio, screen video and audio.
const SENT: [&str; 4] = ["v", "a", "sv", "sa"];

/// All parameters, under the claims' short names.
pub(super) fn declared() -> Vec<Parameter> {
    let of = |name: &str, shape| Parameter::new(name, name, shape);
    let mut declared = vec![
        of("u", Shape::Text(256)),
        of("rome", Shape::Text(MAX_URL)),
        of("sro", Shape::Object(MAX_OBJECT)),
        of("er", Shape::Text(64)),
        of("mjh", Shape::Text(MAX_URL)),
        of("eje", Shape::Integer(1, MAX_SECONDS)),
        of("uil", Shape::Text(64)),
        of("p", PERMISSIONS),
    ];
    declared.extend(FLAGS.map(|name| of(name, Shape::Flag)));
    declared
}

const PERMISSIONS: Shape = Shape::Own {
    wanted: "must be an object of hp (true or false), cs (true, false, or some of v,a,sv,sa \
             separated by commas), cr (an object) and ca (true, false or a list of strings)",
    fits: |value| {
        value.as_object().is_some_and(|members| {
            members.iter().all(|(name, value)| match name.as_str() {
                "hp" => value.is_boolean(),
                "cs" => value.is_boolean() || value.as_str().is_some_and(is_sent),
                "cr" => value.is_object(),
                "ca" => {
                    let is_list = |list: &Vec<Value>| list.iter().all(Value::is_string);
                    value.is_boolean() || value.as_array().is_some_and(is_list)
                }
                _ => false,
            })
        })
    },
};

fn is_sent(list: &str) -> bool {
    list.split(',').all(|it| SENT.contains(&it))
}
