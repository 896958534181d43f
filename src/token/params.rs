//! The values that a kind declares for its tokens, beside resource, identity and times.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value as Json};

use super::json;

/// Whole numbers beyond this are not exact in a double, and so not in JavaScript nor in a Struct.
pub const MAX_EXACT: u64 = 1 << 53;

/// A value that a kind declares.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// The claim that it becomes.
    pub path: Vec<String>,
    /// What it may be.
    pub shape: Shape,
    /// Who may set it.
    pub setter: Setter,
    /// What it is where nobody sets it; none for no claim.
    pub default: Option<Json>,
}

/// Who may set a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setter {
    /// The profile, and calls where the profile opens it.
    Call,
    /// The same; a call must set it where it is open and the profile does not.
    RequiredCall,
    /// The profile alone: it gives rights that no call may give itself.
    Profile,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// True or false.
    Flag,
    /// True or false; false is not written.
    TrueOnly,
    /// A whole number in these bounds, also as decimal text.
    Integer(i64, i64),
    /// Any number.
    Number,
    /// A text of at most so many bytes.
    Text(usize),
    /// One of these texts.
    Word(&'static [&'static str]),
    /// One of these texts, each with the text that is written in its place.
    Named(&'static [(&'static str, &'static str)]),
    /// At least one of these texts, none of them twice.
    Words(&'static [&'static str]),
    /// Texts by name, of at most so many bytes in all.
    Texts(usize),
    /// Any list whose JSON has at most so many bytes.
    List(usize),
    /// Any object whose JSON has at most so many bytes.
    Object(usize),
    /// What the kind says itself.
    Own {
        /// What it should be, in words that follow the parameter's name.
        wanted: &'static str,
        /// Whether a value is that.
        fits: fn(&Json) -> bool,
    },
}

/// Values of the open parameters in their order, each as ASCII JSON; none for those that are not
/// set.
pub type Values = Arc<[Option<String>]>;

/// The parameters that calls may set, and those that they may not.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    open: Vec<Open>,
    /// The names of the others.
    closed: Vec<String>,
    /// What each open one is where a call does not set it.
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
    /// The profile does not open it to calls.
    NotAllowed,
    /// The call does not set it, and neither does the profile.
    Required,
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
            Self::Required => "is required: the profile does not set it".into(),
            Self::Misshapen(wanted) => wanted.into(),
        }
    }
}

impl Parameter {
    /// One that calls may set where the profile opens it; `path` is the claim's, with dots.
    #[must_use]
    pub fn new(name: &str, path: &str, shape: Shape) -> Self {
        let path = path.split('.').map(str::to_owned).collect();
        Self { name: name.to_owned(), path, shape, setter: Setter::Call, default: None }
    }

    /// The same, for the profile alone.
    #[must_use]
    pub fn of_profile(name: &str, path: &str, shape: Shape) -> Self {
        Self { setter: Setter::Profile, ..Self::new(name, path, shape) }
    }

    /// One that a call must set where the profile opens it and does not set it.
    #[must_use]
    pub fn required(name: &str, path: &str, shape: Shape) -> Self {
        Self { setter: Setter::RequiredCall, ..Self::new(name, path, shape) }
    }

    /// The same with what it is where nobody sets it.
    #[must_use]
    pub fn or(self, default: impl Into<Json>) -> Self {
        Self { default: Some(default.into()), ..self }
    }

    /// Its claim's path.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

impl Parameters {
    /// Of a kind that declares these, with a profile's constants. Those for which `is_open` may
    /// be set by calls.
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

    /// The values of a call's tokens, in the order of the open parameters. All that is wrong
    /// comes back together, by name.
    ///
    /// # Errors
    ///
    /// What is wrong with which parameter.
    pub fn of_call(&self, given: &[(String, Json)]) -> Result<Values, Vec<(String, ParamError)>> {
        let missing = self.open.iter().filter(|open| open.required);
        let missing = missing.filter(|open| !given.iter().any(|(name, _)| *name == open.name));
        let mut bad: Vec<_> =
            missing.map(|open| (open.name.clone(), ParamError::Required)).collect();
        if given.is_empty() && bad.is_empty() {
            return Ok(Arc::clone(&self.defaults));
        }
        let mut values: Values = self.defaults.iter().cloned().collect();
        // Nobody else has them yet, so that they are not copied again.
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
        let value = self.open[place].shape.write(value).map_err(ParamError::Misshapen)?;
        Ok((place, value))
    }
}

impl Shape {
    /// A value of this shape as the ASCII JSON of its claim; none where it is not written.
    ///
    /// # Errors
    ///
    /// It is not of this shape: what it should be, in words that follow the parameter's name;
    /// never the value.
    pub fn write(self, value: &Json) -> Result<Option<String>, String> {
        Ok(self.claim(value)?.as_deref().map(json::written))
    }

    /// A value of this shape as its claim; none where it is not written.
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
            Self::Text(most) => format!("must be a text of at most {most} bytes"),
            Self::Word(words) => format!("must be one of {}", words.join(", ")),
            Self::Named(words) => {
                let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
                format!("must be one of {}", names.join(", "))
            }
            Self::Words(words) => {
                format!("must be a list of at least one of {}, none twice", words.join(", "))
            }
            Self::Texts(most) => {
                format!("must hold texts by name, of at most {most} bytes in all")
            }
            Self::List(most) => format!("must be a list of at most {most} bytes as JSON"),
            Self::Object(most) => format!("must be an object of at most {most} bytes as JSON"),
            Self::Own { wanted, .. } => wanted.to_owned(),
        }
    }
}

/// A whole number, also as decimal text: a Struct holds none beyond 2^53 exactly.
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
    fn a_call_sets_what_is_open_and_constants_stay() {
        let constants = json!({"flag": false, "text": "é>"});
        let open = ["flag", "more"];
        let parameters = Parameters::new(&declared(), constants.as_object().unwrap(), |it| {
            open.contains(&&*it.name)
        });
        let of = |given: &[(String, Json)]| parameters.of_call(given).unwrap().to_vec();
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[]), [value("false"), None]);
        assert_eq!(of(&given("flag", &json!(true))), [value("true"), None]);
        assert_eq!(of(&given("more", &json!("~"))), [value("false"), value(r#""\u007e""#)]);
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
    fn what_is_required_is_set_by_the_profile_or_by_each_call() {
        let all = |constants: Json| {
            Parameters::new(&declared(), constants.as_object().unwrap(), |_| true)
        };
        let required = vec![("seat".to_owned(), ParamError::Required)];
        assert_eq!(all(json!({})).of_call(&[]), Err(required.clone()));
        assert_eq!(all(json!({})).of_call(&given("flag", &json!(true))), Err(required));
        let seat = |values: Values| values[3].clone();
        assert_eq!(all(json!({"seat": 7})).of_call(&[]).map(seat), Ok(Some("7".to_owned())));
        let given = given("seat", &json!("3"));
        assert_eq!(all(json!({})).of_call(&given).map(seat), Ok(Some("3".to_owned())));
    }

    #[test]
    fn only_values_of_its_shape_are_taken() {
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
    fn a_value_is_written_as_its_shape_says() {
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
