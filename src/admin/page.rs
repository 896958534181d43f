//! The status page: one document that loads nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderValue;
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Where the document contains them.
const STYLE_MARK: &str = "/*STYLE*/";
const SCRIPT_MARK: &str = "/*SCRIPT*/";

/// The document with its style and script, and its content security policy.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) document: Bytes,
    pub(super) policy: HeaderValue,
}

impl Page {
    /// The page; its policy names the hashes of its style and script (CSP Level 3, 8.3).
    pub(super) fn new() -> Self {
        let document = DOCUMENT.replacen(STYLE_MARK, STYLE, 1).replacen(SCRIPT_MARK, SCRIPT, 1);
        let policy = format!(
            "default-src 'none'; connect-src 'self'; img-src data:; script-src {}; style-src {}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        // It has no control characters; without a policy the page would still be safe to show.
        let policy = HeaderValue::try_from(policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        Self { document: document.into(), policy }
    }
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text between these marks.
    fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
        text.split_once(start).unwrap().1.split_once(end).unwrap().0
    }

    #[test]
    fn policy_allows_the_style_and_script_of_the_document() {
        let Page { document, policy } = Page::new();
        let (document, policy) = (str::from_utf8(&document).unwrap(), policy.to_str().unwrap());
        for (start, end, directive) in
            [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")]
        {
            assert_eq!(document.matches(start).count(), 1);
            let hash = hash(between(document, start, end));
            assert!(policy.contains(&format!("{directive} {hash};")), "{policy}");
        }
        for outside in
            ["http:", "https:", "//cdn", " src=", "@import", "url(", " style=", "innerHTML"]
        {
            assert!(!document.contains(outside), "{outside}");
        }
    }
}
