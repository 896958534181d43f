//! Finds the token in pasted text: after `Bearer`, in quotes, in JSON, in a URL, in a log line, or
//! wrapped by a terminal. For a truncated token it reports the missing part.

use grantmint::{
    reading::{Jwt, decode_part},
    settings::text::is_invisible,
};

/// The first characters of every JWT: `{"` in base64url.
const BEGINNING: &str = "eyJ";

/// Limits on the search for a wrapped token, so that hostile input cannot keep the command busy.
const MAX_WRAPPED_BYTES: usize = 64 * 1024;
const MAX_WRAPPED_STARTS: usize = 50;

/// The first whole token in `text`, or else the first with only its signature truncated.
///
/// # Errors
///
/// No token is found. The message names the missing part of a truncated one.
pub(super) fn find(text: &str) -> Result<Jwt, String> {
    let text = without_escapes(&decoded(text));
    let visible: String = text.chars().filter(|it| !is_invisible(*it)).collect();
    let lines = visible.lines().map(|line| line.trim_matches(is_margin));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    let unnumbered: Vec<_> = lines.iter().map(|line| without_number(line)).collect();
    let mut cut = None;
    let tokens = lines.iter().flat_map(|line| runs(line)).filter_map(decode);
    let tokens = tokens.chain(wrapped(&lines)).chain(wrapped(&unnumbered));
    for token in tokens {
        if token.missing_of_signature() == 0 {
            return Ok(token);
        }
        cut = cut.or(Some(token));
    }
    cut.ok_or_else(|| {
        lines.iter().flat_map(|line| runs(line)).find_map(missing).unwrap_or_else(|| {
            "not a JWT; expected three base64url parts separated by dots".to_owned()
        })
    })
}

/// The tokens that start on one line and continue on the next ones.
fn wrapped<'a>(lines: &'a [&str]) -> impl Iterator<Item = Jwt> + 'a {
    let starts = lines.iter().enumerate().filter_map(|(number, line)| {
        let run = line.rsplit(|it| !is_of_token(it)).next()?;
        Some((number, &run[run.find(BEGINNING)?..]))
    });
    let starts = starts.take(MAX_WRAPPED_STARTS);
    starts.filter_map(|(number, beginning)| unwrapped(beginning, &lines[number + 1..]))
}

/// The token that starts with `beginning` and continues on the next lines.
fn unwrapped(beginning: &str, next: &[&str]) -> Option<Jwt> {
    let dots = |text: &str| text.bytes().filter(|byte| *byte == b'.').count();
    let (mut joined, mut dots_joined) = (beginning.to_owned(), dots(beginning));
    let mut token = None;
    for line in next {
        let piece = line.split(|it| !is_of_token(it)).next()?;
        joined.push_str(piece);
        if joined.len() > MAX_WRAPPED_BYTES {
            break;
        }
        dots_joined += dots(piece);
        if dots_joined >= 2 {
            // The header and the claims are complete: more lines cannot fix them.
            let longer = decode(&joined)?;
            if longer.missing_of_signature() == 0 {
                return Some(longer);
            }
            token = Some(longer);
        }
        if piece.len() < line.len() {
            break;
        }
    }
    token
}

/// A line without the line number that some tools print.
fn without_number(line: &str) -> &str {
    let behind = line.trim_start_matches(|it: char| it.is_ascii_digit());
    let rest = behind.trim_start_matches([':', '\t', ' ']);
    if rest.len() < behind.len() { rest.trim_start_matches(is_margin) } else { line }
}

/// Decodes the escapes of URLs, JSON and shells, up to twice.
fn decoded(text: &str) -> String {
    /// The prefixes of two hexadecimal digits.
    const ESCAPES: [&str; 3] = ["%", "\\u00", "\\x"];
    let mut text = text.to_owned();
    for _ in 0..2 {
        let mut plain = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['%', '\\']) {
            let (before, escape) = rest.split_at(at);
            plain.push_str(before);
            let code = ESCAPES.iter().find_map(|start| {
                let hex = escape.strip_prefix(start)?.get(..2)?;
                let byte = u8::from_str_radix(hex, 16).ok()?;
                byte.is_ascii().then_some((char::from(byte), start.len() + 2))
            });
            let line_end = || escape.starts_with("\\n").then_some(('\n', 2));
            let (character, length) =
                code.or_else(line_end).unwrap_or_else(|| (char::from(escape.as_bytes()[0]), 1));
            plain.push(character);
            rest = &escape[length..];
        }
        plain.push_str(rest);
        text = plain;
    }
    text
}

/// Removes terminal escape sequences.
fn without_escapes(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let ends = |it: char| it.is_ascii_alphabetic();
        plain.push_str(piece.split_once(ends).map_or("", |(_, behind)| behind));
    }
    plain
}

/// Whether a character may surround a quoted, continued or boxed line.
fn is_margin(it: char) -> bool {
    it.is_whitespace()
        || matches!(
            it,
            '\\' | '>' | '|' | '│' | '+' | '#' | '"' | '\'' | '=' | ',' | '`' | ';' | '*'
        )
}

const fn is_of_token(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | '=')
}

fn decode(run: &str) -> Option<Jwt> {
    // A full stop may follow the token, but an unsigned token ends with a dot itself.
    Jwt::decode(run).or_else(|| Jwt::decode(run.trim_matches('.')))
}

/// The longest pieces with only the characters of a token.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|it| !is_of_token(it)).filter(|run| run.len() > 2);
    // For `token=eyJ…`, and for parts with padding.
    runs.flat_map(|run| {
        let marked = run.find(BEGINNING).map(|at| &run[at..]);
        run.split('=').chain([run]).chain(marked)
    })
}

/// The missing part of a truncated token; none if the run is not part of a token.
fn missing(run: &str) -> Option<String> {
    let parts: Vec<_> = run.trim_matches('.').split('.').collect();
    let is_object = |part: &&str| decode_part(part).is_some();
    let header_is_whole = parts.first().is_some_and(is_object);
    let missing = match parts[..] {
        [header] if header_is_whole && is_claims(header) => "its header and signature are missing",
        [_] if header_is_whole => "its claims and signature are missing",
        [header] if header.starts_with(BEGINNING) && header.len() > 8 => {
            "it ends within its header; the claims and signature are missing too"
        }
        [claims, _] if header_is_whole && is_claims(claims) => "its header is missing",
        [_, claims] if header_is_whole && is_object(&claims) => "its signature is missing",
        [header, _] if header_is_whole && header.starts_with(BEGINNING) => {
            "it ends within its claims; the signature is missing too"
        }
        [_, claims] if is_object(&claims) => {
            "the start of its header and its signature are missing"
        }
        [_, claims, _] if is_object(&claims) => "the start of its header is missing",
        [header, _, _] if header_is_whole && header.starts_with(BEGINNING) => {
            "part of its claims is missing"
        }
        _ => return None,
    };
    Some(format!("the token is truncated or wrapped: {missing}"))
}

/// Whether a part is claims rather than a header.
fn is_claims(part: &str) -> bool {
    decode_part(part).is_some_and(|object| !object.contains_key("alg"))
}

#[cfg(test)]
mod tests {
    use super::{super::sample::sample, *};

    #[test]
    fn token_is_found_in_pasted_text() {
        let jwt = &sample();
        let token = Jwt::decode(jwt);
        let (start, end) = jwt.split_at(100);
        for pasted in [
            format!("  {jwt}\n"),
            format!("Bearer {jwt}"),
            format!("Authorization: Bearer {jwt}\r\n"),
            format!("curl -H 'authorization: bearer {jwt}' https://api.example"),
            format!("\"{jwt}\""),
            format!("'{jwt}',"),
            format!("`{jwt}`."),
            format!("“{jwt}”"),
            format!("<{jwt}>"),
            format!(r#"{{"identity": "alice", "token": "{jwt}"}}"#),
            format!("https://play.example/a.m3u8?x=1.2.3&token={jwt}&y=2#z"),
            format!("https://play.example/?access_token={}", jwt.replace('.', "%2E")),
            format!("export TOKEN={jwt}"),
            format!("\u{feff}{jwt}\u{200b}"),
            format!("{start}\n{end}"),
            format!("{start}\r\n    {end}\r\n"),
            format!("Authorization: Bearer\n {start}\n {end}\nAccept: x"),
            format!("the token is {start}\n{end}, I think"),
            format!("token={start}\\\n{end}\n"),
            format!("> {start}\n> {end}\n"),
            format!("│ {start} │\n│ {end} │"),
            format!("\u{1b}[32m{jwt}\u{1b}[0m"),
            format!("https://play.example/?to=x%3Ftoken%3D{jwt}%26b"),
            format!("https://play.example/?to=x%253Ftoken%253D{jwt}%2526b"),
            format!("Authorization=Bearer%20{jwt}"),
            format!("token=3D{jwt}"),
            format!(r#"{{"url": "https:\/\/a.example\/?a=b\u0026token={jwt}\u0026c"}}"#),
            format!("+{start}\n+{end}\n"),
            format!("# {start}\n# {end}\n"),
            format!("\"{start}\" \\\n\"{end}\";"),
            format!("    \"{start}\" +\n    \"{end}\",\n    \"next\""),
            format!("     1\t{start}\n     2\t{end}\n"),
            format!("12:{start}\n13:{end}\n"),
            format!("{start}\\n{end}\\n"),
            format!("token={start}=\r\n{end}=\r\n"),
            format!("{}\n{}\nnext", &jwt[..jwt.len() - 20], &jwt[jwt.len() - 20..]),
        ] {
            assert_eq!(find(&pasted).ok(), token, "{pasted}");
        }
    }

    #[test]
    fn missing_part_of_a_truncated_token_is_reported() {
        let jwt = &sample();
        let parts: Vec<_> = jwt.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("{jwt}") };
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        for (piece, missing) in [
            (cut(header), "it ends within its header; the claims and signature are missing too"),
            (header.to_owned(), "its claims and signature are missing"),
            (format!("{header}."), "its claims and signature are missing"),
            (
                format!("Bearer {header}.{}", cut(claims)),
                "it ends within its claims; the signature is missing too",
            ),
            (format!("{header}.{claims}"), "its signature is missing"),
            (format!("{claims}.{signature}"), "its header is missing"),
            (
                format!("{}.{claims}.{signature}", &header[5..]),
                "the start of its header is missing",
            ),
            (format!("{header}.{}.{signature}", cut(claims)), "part of its claims is missing"),
        ] {
            let expected = format!("the token is truncated or wrapped: {missing}");
            assert_eq!(find(&piece).err(), Some(expected), "{piece}");
        }
    }

    #[test]
    fn long_text_without_a_token_is_read_quickly() {
        let (header, claims) = ("eyJhbGciOiJIUzI1NiJ9", "eyJhIjoxfQ");
        let many = |line: &str| line.repeat(256 * 1024 / line.len());
        for text in [
            many("eyJ\n"),
            many("eyJ=\n"),
            many("eyJ.\n"),
            many("eyJ"),
            many("%25"),
            many(&format!("{header}\n")),
            format!("{header}.eyJ\n{}", many("a\n")),
            format!("{header}.{claims}x\n{}", many(".\n")),
        ] {
            assert!(find(&text).is_err(), "{}", &text[..40]);
        }
    }

    #[test]
    fn text_without_a_token_is_reported() {
        for text in ["", "alice", "Bearer", "1.2.3", "www.example.com", "eyJ", "a\nb\nc"] {
            assert!(find(text).is_err_and(|why| why.starts_with("not a JWT")), "{text}");
        }
    }
}
