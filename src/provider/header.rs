//! The header of JWTs.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use crate::settings::Section;

/// Parses the name of one of these algorithms.
///
/// # Errors
///
/// It is none of them.
pub(super) fn parse_algorithm(text: &str, algorithms: &[Algorithm]) -> Result<Algorithm, String> {
    let known = algorithms.iter().find(|algorithm| name(**algorithm) == text);
    known.copied().ok_or_else(|| {
        let names: Vec<_> = algorithms.iter().map(|algorithm| name(*algorithm)).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// The name of an algorithm in headers.
pub(super) fn name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

/// Reads the optional table `header` of a section: constants besides the algorithm.
pub(super) fn read(section: &mut Section<'_>) -> Option<Map<String, Value>> {
    if !section.has("header") {
        return Some(Map::new());
    }
    let header: Map<String, Value> = section.deserialized("header")?;
    for (name, why) in [
        ("alg", "is set by the key alg"),
        ("b64", "changes what is signed, and cannot be set"),
        ("crit", "names extensions that are not supported, and cannot be set"),
    ] {
        if header.contains_key(name) {
            section.problem("header", format!("{name}: {why}"));
            return None;
        }
    }
    Some(header)
}

/// The whole header; `typ` is `JWT` unless it is set.
pub(super) fn of(algorithm: Algorithm, mut header: Map<String, Value>) -> Map<String, Value> {
    header.entry("typ").or_insert_with(|| "JWT".into());
    header.insert("alg".to_owned(), name(algorithm).into());
    header
}
