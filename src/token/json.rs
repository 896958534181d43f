//! Text as JSON, in ASCII alone: some clients decode a payload without minding UTF-8. Others do
//! not know base64url: `-` and `_`, which in ASCII JSON come of `>`, `?`, `~` and DEL alone, are
//! avoided by escaping these too.

use std::borrow::Cow;

use serde_json::Value;

/// A value as JSON text.
pub(super) fn written(value: &Value) -> String {
    if let Value::String(text) = value
        && stands_for_itself(text)
    {
        return between_quotes(text);
    }
    // Characters that are not plain stand in its texts alone.
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

/// `text` as a JSON string, at the end of another text.
pub(super) fn push_quoted(text: &str, before: &mut String) {
    before.push('"');
    before.push_str(&ascii(text));
    before.push('"');
}

/// `text` as the inside of a JSON string.
pub(super) fn ascii(text: &str) -> Cow<'_, str> {
    if stands_for_itself(text) {
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

/// Whether all of `text` is plain.
fn stands_for_itself(text: &str) -> bool {
    text.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// Which bytes are characters that stand for themselves. Names are short: for them a table takes
/// fewer instructions than comparisons, which are faster where there are many bytes.
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

/// A character that is neither a quote nor a backslash.
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
        fn any_text_reads_back_and_is_printable_ascii(text in any::<String>()) {
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
