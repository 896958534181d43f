//! The messages of the Workload API that are used here. They are written by hand: the standard's
//! proto file has no package, which the project's proto lint refuses, and two messages do not need
//! one (<https://github.com/spiffe/go-spiffe/blob/main/proto/spiffe/workload/workload.proto>).

use std::{collections::BTreeMap, fmt};

use prost::Message;
use zeroize::Zeroize;

/// Requests all SVIDs, and again after each change.
#[derive(Clone, PartialEq, Message)]
pub(super) struct X509SvidRequest {}

/// The workload's SVIDs and bundles. Field 2, revocation lists, is omitted: no agent sends it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct X509SvidResponse {
    /// The first SVID is the default.
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Svid>,
    /// Concatenated DER certificates, by the SPIFFE ID of their trust domain.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: BTreeMap<String, Vec<u8>>,
}

/// A certificate with its key, and the bundle of its trust domain.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// The chain as concatenated DER certificates, the SVID's own first.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) chain: Vec<u8>,
    /// The PKCS#8 key in DER. It is zeroized on drop.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    /// Concatenated DER certificates.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
}

impl Drop for X509Svid {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X509Svid")
    }
}
