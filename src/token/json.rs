//! Strings as ASCII-only JSON, since some clients ignore UTF-8 when they decode a payload. Other
//! clients decode plain base64 instead of base64url. In ASCII JSON, `-` and `_` result only from
//! `>`, `?`, `~` and DEL, so these are escaped too.

use std::borrow::Cow;

use serde_json::Value;

/// A value as JSON.
pub(super) fn written(value: &Value) -> String {
    if let Value::String(text) = value
        && is_plain(text)
    {
        return between_quotes(text);
    }
    // Special characters occur only inside strings.
    let text = value.to_string();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.push(character),
            _ => push(character, &mut escaped),
        }
    }
    escaped
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    between_quotes(&ascii(text))
}

fn between_quotes(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    string.push_str(text);
    string.push('"');
    string
}

/// Appends `text` as a JSON string.
pub(super) fn push_quoted(text: &str, before: &mut String) {
    before.push('"');
    before.push_str(&ascii(text));
    before.push('"');
}

/// `text` as the inside of a JSON string.
pub(super) fn ascii(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 3);
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            _ => push(character, &mut escaped),
        }
    }
    Cow::Owned(escaped)
}

/// Whether no character needs an escape.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// The bytes that need no escape. Names are short: for them a table takes fewer instructions than
/// comparisons, which are faster for many bytes.
static PLAIN: [bool; 1 << 8] = plain();

const fn plain() -> [bool; 1 << 8] {
    let mut plain = [false; 1 << 8];
    let mut byte = b' ';
    while byte < b'~' {
        plain[byte as usize] = !matches!(byte, b'"' | b'\\' | b'>' | b'?');
        byte += 1;
    }
    plain
}

/// Appends a character other than a quote or a backslash.
fn push(character: char, escaped: &mut String) {
    if u8::try_from(character).is_ok_and(|byte| PLAIN[usize::from(byte)]) {
        escaped.push(character);
        return;
    }
    for unit in character.encode_utf16(&mut [0; 2]) {
        push_unit(*unit, escaped);
    }
}

fn push_unit(unit: u16, escaped: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    escaped.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        escaped.push(char::from(HEX[usize::from(unit >> shift & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_text_is_printable_ascii_and_reads_back(text in any::<String>()) {
            let inside = ascii(&text);
            prop_assert!(inside.bytes().all(|it| (b' '..b'~').contains(&it)), "{inside}");
            prop_assert!(!inside.contains(['>', '?']), "{inside}");
            let read: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn plain_text_is_not_copied(text in "[ !#-=@-\\[\\]-}]{1,256}") {
            prop_assert!(matches!(ascii(&text), Cow::Borrowed(_)));
        }
    }
}
