//! The values that a kind declares for its tokens, beside resource, identity and times.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value as Json};

use super::json;

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

/// Values of parameters in the order of their declaration, each as ASCII JSON; none for those
/// that are not set.
pub type Values = Arc<[Option<String>]>;

/// The parameters of a profile's tokens.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    declared: &'static [Parameter],
    /// Whether a call may set the parameter of this place.
    open: Vec<bool>,
    /// What it is where a call does not set it, as ASCII JSON.
    defaults: Values,
}

/// What is wrong with a parameter of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamError {
    /// The kind does not declare it.
    Unknown,
    /// The profile does not open it to calls.
    NotAllowed,
    /// It is not of its shape: what it should be.
    Misshapen(String),
}

impl ParamError {
    /// The same in words, without the value.
    #[must_use]
    pub fn words(self) -> Cow<'static, str> {
        match self {
            Self::Unknown => "is no parameter of the profile's kind".into(),
            Self::NotAllowed => "is not open to calls".into(),
            Self::Misshapen(wanted) => wanted.into(),
        }
    }
}

impl Parameters {
    /// Of a kind that declares these, with a profile's constants and those that calls may set.
    #[must_use]
    pub fn new(
        declared: &'static [Parameter],
        constants: &Map<String, Json>,
        open: &[&'static str],
    ) -> Self {
        let default = |it: &Parameter| constants.get(it.name).map(json::written);
        Self {
            declared,
            open: declared.iter().map(|it| open.contains(&it.name)).collect(),
            defaults: declared.iter().map(default).collect(),
        }
    }

    /// The values of a call's tokens, in the order of the declaration. All that is wrong comes
    /// back together, by name.
    ///
    /// # Errors
    ///
    /// What is wrong with which parameter.
    pub fn of_call(&self, given: &[(String, Json)]) -> Result<Values, Vec<(String, ParamError)>> {
        if given.is_empty() {
            return Ok(Arc::clone(&self.defaults));
        }
        let mut values = self.defaults.to_vec();
        let mut bad = Vec::new();
        for (name, value) in given {
            match self.place(name, value) {
                Ok(place) => values[place] = Some(json::written(value)),
                Err(error) => bad.push((name.clone(), error)),
            }
        }
        if bad.is_empty() { Ok(values.into()) } else { Err(bad) }
    }

    fn place(&self, name: &str, value: &Json) -> Result<usize, ParamError> {
        let place = self.declared.iter().position(|parameter| parameter.name == name);
        let place = place.ok_or(ParamError::Unknown)?;
        if !self.open[place] {
            return Err(ParamError::NotAllowed);
        }
        self.declared[place].shape.check(value).map_err(ParamError::Misshapen)?;
        Ok(place)
    }
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

    static DECLARED: [Parameter; 3] = [
        Parameter { name: "flag", path: &["a", "flag"], shape: Shape::Flag },
        Parameter { name: "text", path: &["text"], shape: Shape::Text(9) },
        Parameter { name: "more", path: &["more"], shape: Shape::Text(9) },
    ];

    fn given(name: &str, value: &Json) -> Vec<(String, Json)> {
        vec![(name.to_owned(), value.clone())]
    }

    #[test]
    fn a_call_sets_what_is_open_and_constants_stay() {
        let constants = json!({"flag": false, "text": "é>"});
        let parameters =
            Parameters::new(&DECLARED, constants.as_object().unwrap(), &["flag", "more"]);
        let of = |given: &[(String, Json)]| parameters.of_call(given).unwrap().to_vec();
        let value = |text: &str| Some(text.to_owned());
        let text = value(r#""\u00e9\u003e""#);
        assert_eq!(of(&[]), [value("false"), text.clone(), None]);
        assert_eq!(of(&given("flag", &json!(true))), [value("true"), text.clone(), None]);
        assert_eq!(of(&given("more", &json!(""))), [value("false"), text, value(r#""""#)]);
        for (name, value, error) in [
            ("text", json!("mine"), ParamError::NotAllowed),
            ("flg", json!(true), ParamError::Unknown),
            ("flag", json!(null), ParamError::Misshapen("must be true or false".to_owned())),
        ] {
            let wrong = parameters.of_call(&given(name, &value)).unwrap_err();
            assert_eq!(wrong, [(name.to_owned(), error)]);
        }
    }

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
