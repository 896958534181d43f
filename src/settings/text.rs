//! Text as editors and tools save it, with invisible marks.

/// Written by some editors before a text; not part of it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Decodes a file's text, without a byte order mark.
///
/// # Errors
///
/// It is not UTF-8; the message has the remedy.
pub fn decode(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is UTF-16 text: save it as UTF-8".to_owned());
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        format!("is not UTF-8 text on line {line}: save it as UTF-8")
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))
}

/// Whether a character is invisible, or looks like a plain space but is another character. Text
/// pasted from web pages and chats often contains such characters.
#[must_use]
pub const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{a0}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{3164}' | '\u{feff}')
}

/// Whether a text is in quotes, as tools that read env files may leave it.
#[must_use]
pub fn is_quoted(text: &str) -> bool {
    const PAIRS: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    PAIRS
        .iter()
        .any(|(open, close)| text.strip_prefix(*open).is_some_and(|rest| rest.ends_with(*close)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_is_removed_once() {
        assert_eq!(decode(b"\xef\xbb\xbfalice\n"), Ok("alice\n"));
        assert_eq!(decode("\u{feff}\u{feff}a".as_bytes()), Ok("\u{feff}a"), "the second is");
        assert_eq!(decode(b""), Ok(""));
    }

    #[test]
    fn non_utf8_text_is_refused_with_the_remedy() {
        for utf_16 in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a"] {
            assert!(decode(utf_16).is_err_and(|why| why.contains("UTF-16")));
        }
        assert!(decode(b"a\nb\n\xe9").is_err_and(|why| why.contains("line 3")));
    }

    #[test]
    fn quotes_and_invisible_characters_are_detected() {
        for quoted in ["\"a\"", "'a'", "``"] {
            assert!(is_quoted(quoted), "{quoted}");
        }
        for plain in ["a", "\"", "\"a", "a'", ""] {
            assert!(!is_quoted(plain), "{plain}");
        }
        assert!("\u{feff}\u{200b}\u{a0}\u{202e}\u{2060}".chars().all(is_invisible));
        assert!("a é\u{301}日本😀\t".chars().all(|it| !is_invisible(it)));
    }
}
