//! The values that a kind declares for its tokens, besides resource, identity and times.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value as Json};

use super::json;

/// Whole numbers beyond this are not exact in a double, and so not in JavaScript or a Struct.
pub const MAX_EXACT: u64 = 1 << 53;

/// A value that a kind declares.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The name.
    pub name: String,
    /// The path of its claim.
    pub path: Vec<String>,
    /// The values it accepts.
    pub shape: Shape,
    /// Who may set it.
    pub setter: Setter,
    /// The value if nobody sets it; without one, the claim is omitted.
    pub default: Option<Json>,
}

/// Who may set a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setter {
    /// The profile, and calls where the profile allows it.
    Call,
    /// As `Call`, but if the profile allows calls to set it and does not set it, each call must.
    RequiredCall,
    /// The profile alone: it grants rights that a call must not give itself.
    Profile,
}

/// The values that a parameter accepts.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// True or false.
    Flag,
    /// True or false; false is omitted from the token.
    TrueOnly,
    /// A whole number within these bounds, also as a decimal string.
    Integer(i64, i64),
    /// Any number.
    Number,
    /// A string of up to this many bytes.
    Text(usize),
    /// One of these strings.
    Word(&'static [&'static str]),
    /// One of these names, each with the string that is written for it.
    Named(&'static [(&'static str, &'static str)]),
    /// At least one of these strings, without duplicates.
    Words(&'static [&'static str]),
    /// An object of strings, with up to this many bytes in total.
    Texts(usize),
    /// A list of up to this many bytes of JSON.
    List(usize),
    /// An object of up to this many bytes of JSON.
    Object(usize),
    /// A rule of the kind's own.
    Own {
        /// The rule in words that follow the parameter's name.
        wanted: &'static str,
        /// Whether a value follows the rule.
        fits: fn(&Json) -> bool,
    },
}

/// Values of the open parameters in their order, as ASCII JSON; none for unset ones.
pub type Values = Arc<[Option<String>]>;

/// The parameters that calls may set (open), and those they may not (closed).
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    open: Vec<Open>,
    /// The names of the closed parameters.
    closed: Vec<String>,
    /// The value of each open parameter that a call does not set.
    defaults: Values,
}

#[derive(Clone, Debug)]
struct Open {
    name: String,
    shape: Shape,
    required: bool,
}

/// What is wrong with a parameter of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamError {
    /// The kind does not declare it.
    Unknown,
    /// The profile does not let calls set it.
    NotAllowed,
    /// Neither the call nor the profile sets it.
    Required,
    /// The value is not accepted; states what is.
    Malformed(String),
}

impl ParamError {
    /// The problem in words, without the value.
    #[must_use]
    pub fn message(self) -> Cow<'static, str> {
        match self {
            Self::Unknown => "is not a parameter of the profile's kind".into(),
            Self::NotAllowed => "cannot be set by calls".into(),
            Self::Required => "is required: the profile does not set it".into(),
            Self::Malformed(wanted) => wanted.into(),
        }
    }
}

impl Parameter {
    /// A parameter that calls may set where the profile allows it; `path` is the claim's, with
    /// dots.
    #[must_use]
    pub fn new(name: &str, path: &str, shape: Shape) -> Self {
        let path = path.split('.').map(str::to_owned).collect();
        Self { name: name.to_owned(), path, shape, setter: Setter::Call, default: None }
    }

    /// A parameter that only the profile may set.
    #[must_use]
    pub fn of_profile(name: &str, path: &str, shape: Shape) -> Self {
        Self { setter: Setter::Profile, ..Self::new(name, path, shape) }
    }

    /// A parameter that each call must set, if the profile allows calls to set it and does not set
    /// it.
    #[must_use]
    pub fn required(name: &str, path: &str, shape: Shape) -> Self {
        Self { setter: Setter::RequiredCall, ..Self::new(name, path, shape) }
    }

    /// Sets the default value.
    #[must_use]
    pub fn or(self, default: impl Into<Json>) -> Self {
        Self { default: Some(default.into()), ..self }
    }

    /// The path of its claim.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

impl Parameters {
    /// The parameters that a kind declares, with a profile's constants. Calls may set those for
    /// which `is_open` holds.
    #[must_use]
    pub fn new(
        declared: &[Parameter],
        constants: &Map<String, Json>,
        is_open: impl Fn(&Parameter) -> bool,
    ) -> Self {
        let (open, closed): (Vec<_>, Vec<_>) = declared.iter().partition(|it| is_open(it));
        let default = |it: &&Parameter| it.shape.write(constants.get(&it.name)?).ok()?;
        let opened = |it: &&Parameter| Open {
            name: it.name.clone(),
            shape: it.shape,
            required: it.setter == Setter::RequiredCall && !constants.contains_key(&it.name),
        };
        Self {
            defaults: open.iter().map(default).collect(),
            open: open.iter().map(opened).collect(),
            closed: closed.into_iter().map(|it| it.name.clone()).collect(),
        }
    }

    /// The values for a call's tokens, in the order of the open parameters.
    ///
    /// # Errors
    ///
    /// All problems, by the parameter's name.
    pub fn for_call(&self, given: &[(String, Json)]) -> Result<Values, Vec<(String, ParamError)>> {
        let missing = self.open.iter().filter(|open| open.required);
        let missing = missing.filter(|open| !given.iter().any(|(name, _)| *name == open.name));
        let mut bad: Vec<_> =
            missing.map(|open| (open.name.clone(), ParamError::Required)).collect();
        if given.is_empty() && bad.is_empty() {
            return Ok(Arc::clone(&self.defaults));
        }
        let mut values: Values = self.defaults.iter().cloned().collect();
        // The copy above is not shared, so this does not copy again.
        let own = Arc::make_mut(&mut values);
        for (name, value) in given {
            match self.value(name, value) {
                Ok((place, value)) => own[place] = value,
                Err(error) => bad.push((name.clone(), error)),
            }
        }
        if bad.is_empty() { Ok(values) } else { Err(bad) }
    }

    fn value(&self, name: &str, value: &Json) -> Result<(usize, Option<String>), ParamError> {
        let Some(place) = self.open.iter().position(|open| open.name == name) else {
            let is_closed = self.closed.iter().any(|closed| closed == name);
            return Err(if is_closed { ParamError::NotAllowed } else { ParamError::Unknown });
        };
        let value = self.open[place].shape.write(value).map_err(ParamError::Malformed)?;
        Ok((place, value))
    }
}

impl Shape {
    /// The value as the ASCII JSON of its claim; none if it is omitted.
    ///
    /// # Errors
    ///
    /// The value is not accepted: states what is, in words that follow the parameter's name. Never
    /// contains the value.
    pub fn write(self, value: &Json) -> Result<Option<String>, String> {
        Ok(self.claim(value)?.as_deref().map(json::written))
    }

    /// The value as its claim; none if it is omitted.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn claim(self, value: &Json) -> Result<Option<Cow<'_, Json>>, String> {
        let fits = match self {
            Self::TrueOnly if *value == Json::Bool(false) => return Ok(None),
            Self::Integer(least, most) => {
                let whole = whole(value).filter(|number| (least..=most).contains(number));
                return match whole {
                    Some(number) => Ok(Some(Cow::Owned(number.into()))),
                    None => Err(self.wanted()),
                };
            }
            Self::Named(words) => {
                let named = words.iter().find(|(name, _)| value.as_str() == Some(*name));
                return match named {
                    Some((_, written)) => Ok(Some(Cow::Owned((*written).into()))),
                    None => Err(self.wanted()),
                };
            }
            Self::Flag | Self::TrueOnly => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Text(most) => value.as_str().is_some_and(|text| text.len() <= most),
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Words(words) => value.as_array().is_some_and(|list| is_choice(list, words)),
            Self::Texts(most) => value.as_object().is_some_and(|texts| {
                let bytes =
                    texts.iter().map(|(name, text)| Some(name.len() + text.as_str()?.len()));
                bytes.sum::<Option<usize>>().is_some_and(|bytes| bytes <= most)
            }),
            Self::List(most) => value.is_array() && value.to_string().len() <= most,
            Self::Object(most) => value.is_object() && value.to_string().len() <= most,
            Self::Own { fits, .. } => fits(value),
        };
        if fits { Ok(Some(Cow::Borrowed(value))) } else { Err(self.wanted()) }
    }

    fn wanted(self) -> String {
        match self {
            Self::Flag | Self::TrueOnly => "must be true or false".to_owned(),
            Self::Integer(least, most) => {
                format!("must be a whole number from {least} to {most}")
            }
            Self::Number => "must be a number".to_owned(),
            Self::Text(most) => format!("must be a string of at most {most} bytes"),
            Self::Word(words) => format!("must be one of {}", words.join(", ")),
            Self::Named(words) => {
                let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
                format!("must be one of {}", names.join(", "))
            }
            Self::Words(words) => {
                format!(
                    "must be a list of at least one of {}, without duplicates",
                    words.join(", ")
                )
            }
            Self::Texts(most) => {
                format!("must be an object of strings, at most {most} bytes in total")
            }
            Self::List(most) => format!("must be a list of at most {most} bytes as JSON"),
            Self::Object(most) => format!("must be an object of at most {most} bytes as JSON"),
            Self::Own { wanted, .. } => wanted.to_owned(),
        }
    }
}

/// A whole number, also as a decimal string: a Struct cannot hold numbers beyond 2^53 exactly.
fn whole(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => number.as_i64().filter(|number| number.unsigned_abs() <= MAX_EXACT),
        Json::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_decimal = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
            text.parse().ok().filter(|_| is_decimal)
        }
        _ => None,
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

    fn declared() -> Vec<Parameter> {
        vec![
            Parameter::new("flag", "a.flag", Shape::Flag),
            Parameter::new("text", "text", Shape::Text(9)),
            Parameter::new("more", "more", Shape::Text(9)),
            Parameter::required("seat", "seat", Shape::Integer(0, 9)),
        ]
    }

    fn given(name: &str, value: &Json) -> Vec<(String, Json)> {
        vec![(name.to_owned(), value.clone())]
    }

    #[test]
    fn call_sets_open_parameters_and_constants_stay() {
        let constants = json!({"flag": false, "text": "é>"});
        let open = ["flag", "more"];
        let parameters = Parameters::new(&declared(), constants.as_object().unwrap(), |it| {
            open.contains(&&*it.name)
        });
        let of = |given: &[(String, Json)]| parameters.for_call(given).unwrap().to_vec();
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[]), [value("false"), None]);
        assert_eq!(of(&given("flag", &json!(true))), [value("true"), None]);
        assert_eq!(of(&given("more", &json!("~"))), [value("false"), value(r#""\u007e""#)]);
        for (name, value, error) in [
            ("text", json!("mine"), ParamError::NotAllowed),
            ("flg", json!(true), ParamError::Unknown),
            ("flag", json!(null), ParamError::Malformed("must be true or false".to_owned())),
        ] {
            let errors = parameters.for_call(&given(name, &value)).unwrap_err();
            assert_eq!(errors, [(name.to_owned(), error)]);
        }
    }

    #[test]
    fn required_parameter_is_set_by_profile_or_call() {
        let all = |constants: Json| {
            Parameters::new(&declared(), constants.as_object().unwrap(), |_| true)
        };
        let required = vec![("seat".to_owned(), ParamError::Required)];
        assert_eq!(all(json!({})).for_call(&[]), Err(required.clone()));
        assert_eq!(all(json!({})).for_call(&given("flag", &json!(true))), Err(required));
        let seat = |values: Values| values[3].clone();
        assert_eq!(all(json!({"seat": 7})).for_call(&[]).map(seat), Ok(Some("7".to_owned())));
        let given = given("seat", &json!("3"));
        assert_eq!(all(json!({})).for_call(&given).map(seat), Ok(Some("3".to_owned())));
    }

    #[test]
    fn shape_accepts_only_matching_values() {
        let words = Shape::Words(&["a", "b"]);
        let integer = Shape::Integer(-5, i64::MAX);
        for (shape, value, fits) in [
            (Shape::Flag, json!(false), true),
            (Shape::Flag, json!("false"), false),
            (Shape::Flag, json!(0), false),
            (Shape::Flag, json!(null), false),
            (Shape::TrueOnly, json!(true), true),
            (Shape::TrueOnly, json!(1), false),
            (Shape::Text(3), json!("\u{e9}a"), true),
            (Shape::Text(3), json!("\u{e9}\u{e9}"), false),
            (Shape::Text(3), json!(1), false),
            (Shape::Word(&["a"]), json!("a"), true),
            (Shape::Word(&["a"]), json!(["a"]), false),
            (Shape::Named(&[("a", "b")]), json!("a"), true),
            (Shape::Named(&[("a", "b")]), json!("b"), false),
            (Shape::Named(&[("a", "b")]), json!(["a"]), false),
            (words, json!(["b", "a"]), true),
            (words, json!([]), false),
            (words, json!(["a", "a"]), false),
            (words, json!(["c"]), false),
            (words, json!("a"), false),
            (Shape::Texts(4), json!({"a": "", "b": "cd"}), true),
            (Shape::Texts(4), json!({"a": "bcde"}), false),
            (Shape::Texts(4), json!({"a": 1}), false),
            (Shape::Texts(4), json!(["a"]), false),
            (integer, json!(-5), true),
            (integer, json!(-6), false),
            (integer, json!(1.5), false),
            (integer, json!(1_u64 << 53), true),
            (integer, json!((1_u64 << 53) + 1), false),
            (integer, json!("+1"), false),
            (integer, json!(""), false),
            (integer, json!("9223372036854775808"), false),
            (Shape::Number, json!(1.5), true),
            (Shape::Number, json!("1.5"), false),
            (Shape::List(5), json!([1, 2]), true),
            (Shape::List(5), json!([1, 23]), false),
            (Shape::List(9), json!({}), false),
            (Shape::Object(9), json!({"a": 1}), true),
            (Shape::Object(9), json!([]), false),
        ] {
            assert_eq!(shape.write(&value).is_ok(), fits, "{shape:?} {value}");
        }
        let secret = Shape::Text(3).write(&json!("secret")).unwrap_err();
        assert!(!secret.contains("secret"), "{secret}");
    }

    #[test]
    fn values_are_written_in_canonical_form() {
        let written = |shape: Shape, value: Json| shape.write(&value).unwrap();
        let big = Shape::Integer(0, i64::MAX);
        assert_eq!(
            written(big, json!("9223372036854775807")).as_deref(),
            Some("9223372036854775807")
        );
        assert_eq!(written(big, json!("007")).as_deref(), Some("7"));
        assert_eq!(written(Shape::TrueOnly, json!(false)), None);
        let named = Shape::Named(&[("video", "v"), ("gif", "g")]);
        assert_eq!(written(named, json!("gif")).as_deref(), Some("\"g\""));
        assert_eq!(written(Shape::Flag, json!(false)).as_deref(), Some("false"));
    }
}
