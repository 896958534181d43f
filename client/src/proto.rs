//! The messages and clients generated from `grantmint.v1`.

#![expect(missing_docs, unused_qualifications, reason = "generated; the protos document it")]
#![allow(clippy::pedantic, clippy::allow_attributes, reason = "generated")]

use std::fmt;

tonic::include_proto!("grantmint.v1");

impl fmt::Debug for MintTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintTokenResponse")
            .field("token_id", &self.token_id)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MintTokensResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintTokensResponse")
            .field("tokens", &self.tokens.len())
            .field("first_index", &self.first_index)
            .field("validity", &self.validity)
            .finish()
    }
}
