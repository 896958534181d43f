//! Finds the token in what was pasted: behind `Bearer`, in quotes, in JSON, in a URL, in a log
//! line, wrapped by a terminal. Of a token that is cut short it says what is missing.

use grantmint::settings::text::is_invisible;

use super::token::{Token, decode_part};

/// What each JWT begins with: `{"` in base64url.
const BEGINNING: &str = "eyJ";

/// The first token in `text`.
///
/// # Errors
///
/// There is none, with the part that is missing where there is a piece of one.
pub(super) fn find(text: &str) -> Result<Token, String> {
    let text = without_escapes(&decoded(text));
    let visible: String = text.chars().filter(|it| !is_invisible(*it)).collect();
    let lines: Vec<_> = visible.lines().map(|line| line.trim_matches(is_margin)).collect();
    let whole = lines.iter().flat_map(|line| runs(line)).find_map(decode);
    let found = whole.or_else(|| (0..lines.len()).find_map(|first| unwrapped(&lines[first..])));
    found.ok_or_else(|| {
        lines.iter().flat_map(|line| runs(line)).find_map(missing).unwrap_or_else(|| {
            "this is no JWT: it should be three base64url parts with dots between them".to_owned()
        })
    })
}

/// A token that begins at the end of the first line and continues on the next ones.
fn unwrapped(lines: &[&str]) -> Option<Token> {
    let (first, rest) = lines.split_first()?;
    let mut joined = first.rsplit(|it| !is_of_token(it)).next()?.to_owned();
    for line in rest {
        let piece = line.split(|it| !is_of_token(it)).next()?;
        joined.push_str(piece);
        let value = joined.rsplit_once('=').map_or(joined.as_str(), |(_, value)| value);
        if let Some(token) = decode(&joined).or_else(|| decode(value)) {
            return Some(token);
        }
        if piece.len() < line.len() {
            return None;
        }
    }
    None
}

/// A text with what URLs encode decoded, also where that was done twice.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    for (code, plain) in [("%25", "%"), ("%2e", "."), ("%3d", "="), ("%26", "&"), ("%3f", "?")] {
        text = text.replace(code, plain).replace(&code.to_ascii_uppercase(), plain);
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
    it.is_whitespace() || matches!(it, '\\' | '>' | '|' | '│')
}

const fn is_of_token(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | '=')
}

fn decode(run: &str) -> Option<Token> {
    // A sentence may end behind it; an unsigned token ends with a dot of its own.
    Token::decode(run).or_else(|| Token::decode(run.trim_matches('.')))
}

/// The longest pieces that hold only what a token may hold.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|it| !is_of_token(it)).filter(|run| run.len() > 2);
    // `token=eyJ…`, but also padding that some add to a part.
    runs.flat_map(|run| run.split('=').chain([run]))
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
    Some(format!("this token is not whole: {lacks}"))
}

/// Whether a part is claims rather than a header.
fn is_claims(part: &str) -> bool {
    decode_part(part).is_some_and(|object| !object.contains_key("alg"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::token::tests::vectors;

    #[test]
    fn a_token_is_found_in_whatever_it_was_pasted_with() {
        let jwt = &vectors()[0].1;
        let token = Token::decode(jwt);
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
        ] {
            assert_eq!(find(&pasted).ok(), token, "{pasted}");
        }
    }

    #[test]
    fn of_a_token_that_is_cut_short_the_missing_part_is_told() {
        let jwt = &vectors()[0].1;
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
            assert_eq!(told, Some(format!("this token is not whole: {lacks}")), "{piece}");
        }
    }

    #[test]
    fn what_holds_no_token_is_said_to_be_none() {
        for text in ["", "alice", "Bearer", "1.2.3", "www.example.com", "eyJ", "a\nb\nc"] {
            assert!(find(text).is_err_and(|why| why.starts_with("this is no JWT")), "{text}");
        }
    }
}
