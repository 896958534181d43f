//! Tokens that are the unchanged grant: a credential that all callers of a resource share.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{
    Call, CallSigner, PrepareError, SignError, Signer, Times, Token, TokenFormat,
    id::{Serial, fingerprint},
};
use crate::{clock::Anchor, grant::Grant};

/// A token format: the grant's own text, for every identity.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim;

impl TokenFormat for Verbatim {
    fn prepare(&self, grant: Option<&Grant>, _: Anchor) -> Result<Box<dyn Signer>, PrepareError> {
        let text = grant.ok_or(PrepareError::NoGrant)?.content().as_str();
        // A credential goes into a header or a URL, where a line break could add lines. JSON goes
        // into neither and may contain line breaks.
        let is_json = text.starts_with(['[', '{']);
        let spaces: &[char] = if is_json { &['\n', '\r', '\t'] } else { &[] };
        if text.is_empty() || text.chars().any(|it| it.is_control() && !spaces.contains(&it)) {
            return Err(PrepareError::GrantUnfit);
        }
        let credential = Credential { id: fingerprint(text), text: text.to_owned().into() };
        Ok(Box::new(Shared(Arc::new(credential))))
    }

    fn units(&self) -> u32 {
        1
    }
}

/// Returns one credential.
struct Shared(Arc<Credential>);

/// A credential, zeroed on drop, and its fingerprint as id.
struct Credential {
    text: Zeroizing<String>,
    id: String,
}

impl Signer for Shared {
    fn at(&self, _: Times, _: &Call<'_>) -> Result<Arc<dyn CallSigner>, SignError> {
        Ok(Arc::<Credential>::clone(&self.0))
    }
}

impl CallSigner for Credential {
    fn sign(&self, _: &str, _: Serial) -> Result<Token<'_>, SignError> {
        Ok(Token::whole(&self.text))
    }

    fn token_bytes(&self, _: &str) -> usize {
        self.text.len()
    }

    fn token_id(&self, _: Serial) -> Option<String> {
        Some(self.id.clone())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock::Clock, grant::Generation};

    const TIMES: Times = Times { issue: 1, expire: 2 };

    fn prepared(text: &str) -> Result<Box<dyn Signer>, PrepareError> {
        let now = Clock::system().now();
        let grant = Grant::new(text.into(), now, Duration::from_secs(60), Generation::NONE);
        Verbatim.prepare(Some(&grant), now)
    }

    #[test]
    fn every_identity_gets_the_unchanged_grant() {
        // A JSON text with more bytes than characters.
        let text = r#"[{"urls":"stun:a","credential":"é ="}]"#;
        let signer = prepared(text).unwrap();
        let call_signer = signer.at(TIMES, &Call { resource: "a", params: &[] }).unwrap();
        for (identity, serial) in [("alice", Serial::SELF_TEST), ("bob", Serial::SELF_TEST.plus(7))]
        {
            let token = call_signer.sign(identity, serial).unwrap();
            assert_eq!(
                (token.bytes(), call_signer.token_bytes(identity)),
                (text.len(), text.len())
            );
            let mut put = Vec::new();
            token.put_into(&mut put);
            assert_eq!(put, text.as_bytes());
            assert_eq!(String::from(token), text);
            assert_eq!(call_signer.token_id(serial), Some(fingerprint(text)));
        }
        assert!(!format!("{signer:?} {call_signer:?}").contains("stun"));
    }

    #[test]
    fn malformed_credential_is_refused() {
        for json in ["[\n {\"urls\": \"a\"}\r\n]", "{\t}"] {
            assert!(prepared(json).is_ok(), "{json:?}");
        }
        for unfit in ["", "a\nb", "a\r", "\0", "a\u{85}b", "\u{7f}", "[\0]", "a[\n]"] {
            assert_eq!(prepared(unfit).unwrap_err(), PrepareError::GrantUnfit, "{unfit:?}");
        }
        let none = Verbatim.prepare(None, Clock::system().now());
        assert_eq!(none.unwrap_err(), PrepareError::NoGrant);
    }
}
