//! Finds the token in what was pasted: behind `Bearer`, in quotes, in JSON, in a URL, in a log
//! line, wrapped by a terminal. Of a token that is cut short it says what is missing.

use grantmint::{
    reading::{Jwt, decode_part},
    settings::text::is_invisible,
};

/// What each JWT begins with: `{"` in base64url.
const BEGINNING: &str = "eyJ";

/// The longest token that is put together from lines, and what is tried at most: a hostile text
/// must not keep the command busy.
const MAX_WRAPPED_BYTES: usize = 64 * 1024;
const MAX_WRAPPED_STARTS: usize = 50;

/// The first whole token in `text`, or else the first of which only the signature is cut.
///
/// # Errors
///
/// There is none, with the part that is missing where there is a piece of one.
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
            "this is no JWT: it should be three base64url parts with dots between them".to_owned()
        })
    })
}

/// The tokens that begin on one line and continue on the next ones.
fn wrapped<'a>(lines: &'a [&str]) -> impl Iterator<Item = Jwt> + 'a {
    let starts = lines.iter().enumerate().filter_map(|(number, line)| {
        let run = line.rsplit(|it| !is_of_token(it)).next()?;
        Some((number, &run[run.find(BEGINNING)?..]))
    });
    let starts = starts.take(MAX_WRAPPED_STARTS);
    starts.filter_map(|(number, beginning)| unwrapped(beginning, &lines[number + 1..]))
}

/// A token of this beginning, which the next lines continue.
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
            // The header and the claims are whole: with more lines they get no better.
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

/// A line without the number that some tools print before it.
fn without_number(line: &str) -> &str {
    let behind = line.trim_start_matches(|it: char| it.is_ascii_digit());
    let rest = behind.trim_start_matches([':', '\t', ' ']);
    if rest.len() < behind.len() { rest.trim_start_matches(is_margin) } else { line }
}

/// A text with what URLs, JSON and shells encode decoded, also where that was done twice.
fn decoded(text: &str) -> String {
    /// What stands before two hexadecimal digits.
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

/// A text without the escapes that colour it on a terminal.
fn without_escapes(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let ends = |it: char| it.is_ascii_alphabetic();
        plain.push_str(piece.split_once(ends).map_or("", |(_, behind)| behind));
    }
    plain
}

/// What stands at the edges of lines that were quoted, continued or boxed.
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
    // A sentence may end behind it; an unsigned token ends with a dot of its own.
    Jwt::decode(run).or_else(|| Jwt::decode(run.trim_matches('.')))
}

/// The longest pieces that hold only what a token may hold.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|it| !is_of_token(it)).filter(|run| run.len() > 2);
    // `token=eyJ…`, but also padding that some add to a part.
    runs.flat_map(|run| {
        let marked = run.find(BEGINNING).map(|at| &run[at..]);
        run.split('=').chain([run]).chain(marked)
    })
}

/// Which part of a token a run lacks; none where it is no piece of a token.
fn missing(run: &str) -> Option<String> {
    let parts: Vec<_> = run.trim_matches('.').split('.').collect();
    let is_object = |part: &&str| decode_part(part).is_some();
    let header_is_whole = parts.first().is_some_and(is_object);
    let lacks = match parts[..] {
        [header] if header_is_whole && is_claims(header) => "its header and signature are missing",
        [_] if header_is_whole => "its claims and its signature are missing",
        [header] if header.starts_with(BEGINNING) && header.len() > 8 => {
            "it is cut in its header; the claims and the signature are missing too"
        }
        [claims, _] if header_is_whole && is_claims(claims) => "its header is missing",
        [_, claims] if header_is_whole && is_object(&claims) => "its signature is missing",
        [header, _] if header_is_whole && header.starts_with(BEGINNING) => {
            "it is cut in its claims; the signature is missing too"
        }
        [_, claims] if is_object(&claims) => {
            "the beginning of its header and its signature are missing"
        }
        [_, claims, _] if is_object(&claims) => "the beginning of its header is missing",
        [header, _, _] if header_is_whole && header.starts_with(BEGINNING) => {
            "a piece of its claims is missing"
        }
        _ => return None,
    };
    Some(format!("this token is cut or wrapped: {lacks}"))
}

/// Whether a part is claims rather than a header.
fn is_claims(part: &str) -> bool {
    decode_part(part).is_some_and(|object| !object.contains_key("alg"))
}

#[cfg(test)]
mod tests {
    use super::{super::sample::sample, *};

    #[test]
    fn a_token_is_found_in_whatever_it_was_pasted_with() {
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
    fn of_a_token_that_is_cut_short_the_missing_part_is_told() {
        let jwt = &sample();
        let parts: Vec<_> = jwt.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("{jwt}") };
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        for (piece, lacks) in [
            (cut(header), "it is cut in its header; the claims and the signature are missing too"),
            (header.to_owned(), "its claims and its signature are missing"),
            (format!("{header}."), "its claims and its signature are missing"),
            (
                format!("Bearer {header}.{}", cut(claims)),
                "it is cut in its claims; the signature is missing too",
            ),
            (format!("{header}.{claims}"), "its signature is missing"),
            (format!("{claims}.{signature}"), "its header is missing"),
            (
                format!("{}.{claims}.{signature}", &header[5..]),
                "the beginning of its header is missing",
            ),
            (format!("{header}.{}.{signature}", cut(claims)), "a piece of its claims is missing"),
        ] {
            let told = find(&piece).err();
            assert_eq!(told, Some(format!("this token is cut or wrapped: {lacks}")), "{piece}");
        }
    }

    #[test]
    fn a_long_text_that_holds_no_token_is_soon_read() {
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
    fn what_holds_no_token_is_said_to_be_none() {
        for text in ["", "alice", "Bearer", "1.2.3", "www.example.com", "eyJ", "a\nb\nc"] {
            assert!(find(text).is_err_and(|why| why.starts_with("this is no JWT")), "{text}");
        }
    }
}
