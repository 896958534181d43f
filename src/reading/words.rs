//! Formats values for display.

use serde_json::Value;

/// A string without its quotes, or any other value as JSON; control characters are escaped.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}

/// A duration in a suitable unit.
#[must_use]
pub fn length(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The time from `earlier` to `time`, in a suitable unit.
#[must_use]
pub fn length_after(earlier: i64, time: i64) -> String {
    length(time.saturating_sub(earlier).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn value_is_formatted_on_one_line() {
        assert_eq!(plain(&json!("a\nb")), "a\\nb");
        assert_eq!(plain(&json!({"a": [1, "\n"]})), r#"{"a":[1,"\n"]}"#);
    }

    #[test]
    fn duration_uses_a_suitable_unit() {
        for (seconds, expected) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days")]
        {
            assert_eq!(length(seconds), expected);
        }
        assert_eq!(length_after(i64::MIN, i64::MAX), length(i64::MAX.unsigned_abs()));
    }
}
