//! A token's parameters. Names and values: `@vonage/video`.

use serde_json::Value;

use crate::token::params::{Parameter, Shape};

/// What a client may do in its session.
pub(super) const ROLES: [&str; 4] = ["publisher", "subscriber", "moderator", "publisheronly"];

/// The longest layout classes in bytes.
const MAX_CLASSES: usize = 1_024;

/// All parameters. The library always writes both claims.
pub(super) fn declared() -> Vec<Parameter> {
    vec![
        Parameter::new("role", "role", Shape::Word(&ROLES)).or("publisher"),
        Parameter::new("initial_layout_class_list", "initial_layout_class_list", CLASSES).or(""),
    ]
}

const CLASSES: Shape = Shape::Own {
    wanted: "must be a string of layout classes separated by a space, of at most 1024 bytes",
    fits: |value| value.as_str().is_some_and(are_classes),
};

fn are_classes(text: &str) -> bool {
    let is_class = |class: &str| !class.is_empty() && !class.contains(char::is_control);
    text.len() <= MAX_CLASSES && (text.is_empty() || text.split(' ').all(is_class))
}

/// Whether a claim has the form that the library writes.
pub(super) fn is_class_list(value: &Value) -> bool {
    value.is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_one_string() {
        for (text, fits) in [
            ("", true),
            ("focus", true),
            ("focus min", true),
            ("focus  min", false),
            (" ", false),
            ("focus\n", false),
            (&"c".repeat(1_025), false),
        ] {
            assert_eq!(CLASSES.write(&text.into()).is_ok(), fits, "{text}");
        }
        assert!(CLASSES.write(&Value::from(vec!["focus"])).is_err());
    }
}
