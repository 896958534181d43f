//! The values that a kind declares for its tokens, beside resource, identity and times.

use serde_json::Value as Json;

/// A value that a kind declares.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// The claim that it becomes.
    pub path: &'static [&'static str],
    /// What it may be.
    pub shape: Shape,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// True or false.
    Flag,
    /// A text of at most so many bytes.
    Text(usize),
    /// At least one of these texts, none of them twice.
    Some(&'static [&'static str]),
    /// Texts by name, of at most so many bytes in all.
    Texts(usize),
}

impl Shape {
    /// Takes a value of this shape.
    ///
    /// # Errors
    ///
    /// What it should be, in words that follow the parameter's name; never the value.
    pub fn check(self, value: &Json) -> Result<(), String> {
        let fits = match self {
            Self::Flag => value.is_boolean(),
            Self::Text(most) => value.as_str().is_some_and(|text| text.len() <= most),
            Self::Some(words) => value.as_array().is_some_and(|list| is_choice(list, words)),
            Self::Texts(most) => value.as_object().is_some_and(|texts| {
                let bytes =
                    texts.iter().map(|(name, text)| Some(name.len() + text.as_str()?.len()));
                bytes.sum::<Option<usize>>().is_some_and(|bytes| bytes <= most)
            }),
        };
        if fits { Ok(()) } else { Err(self.wanted()) }
    }

    fn wanted(self) -> String {
        match self {
            Self::Flag => "must be true or false".to_owned(),
            Self::Text(most) => format!("must be a text of at most {most} bytes"),
            Self::Some(words) => {
                format!("must be a list of at least one of {}, none twice", words.join(", "))
            }
            Self::Texts(most) => {
                format!("must hold texts by name, of at most {most} bytes in all")
            }
        }
    }
}

fn is_choice(list: &[Json], words: &[&str]) -> bool {
    let known = |word: &Json| word.as_str().is_some_and(|word| words.contains(&word));
    let twice = |(at, word): (usize, &Json)| list[..at].contains(word);
    !list.is_empty() && list.iter().all(known) && !list.iter().enumerate().any(twice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_values_of_its_shape_are_taken() {
        let words = Shape::Some(&["a", "b"]);
        for (shape, value, fits) in [
            (Shape::Flag, json!(false), true),
            (Shape::Flag, json!("false"), false),
            (Shape::Flag, json!(0), false),
            (Shape::Flag, json!(null), false),
            (Shape::Text(3), json!("\u{e9}a"), true),
            (Shape::Text(3), json!("\u{e9}\u{e9}"), false),
            (Shape::Text(3), json!(1), false),
            (words, json!(["b", "a"]), true),
            (words, json!([]), false),
            (words, json!(["a", "a"]), false),
            (words, json!(["c"]), false),
            (words, json!("a"), false),
            (Shape::Texts(4), json!({"a": "", "b": "cd"}), true),
            (Shape::Texts(4), json!({"a": "bcde"}), false),
            (Shape::Texts(4), json!({"a": 1}), false),
            (Shape::Texts(4), json!(["a"]), false),
        ] {
            assert_eq!(shape.check(&value).is_ok(), fits, "{shape:?} {value}");
        }
        let secret = Shape::Text(3).check(&json!("secret")).unwrap_err();
        assert!(!secret.contains("secret"), "{secret}");
    }
}
