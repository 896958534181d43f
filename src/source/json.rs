//! Response bodies as JSON.

use serde::Deserialize;

use crate::grant::{Fault, FaultClass};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses a body as JSON. A leading byte order mark is ignored: RFC 8259 forbids writing one, and
/// allows parsers to ignore it.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    serde_json::from_slice(text).map_err(|_| Fault::new(FaultClass::Transient, "MALFORMED_ANSWER"))
}
