//! The messages of the Workload API that are used here. They are written by hand: the standard's
//! file has no package, which our lint of protos refuses, and two messages do not need one
//! (<https://github.com/spiffe/go-spiffe/blob/main/proto/spiffe/workload/workload.proto>).

use std::{collections::BTreeMap, fmt};

use prost::Message;
use zeroize::Zeroize;

/// Asks for all SVIDs, and for each change of them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct X509SvidRequest {}

/// All that the workload has. Field 2, revocation lists, is left out: no agent sends them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct X509SvidResponse {
    /// The first is the default.
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Svid>,
    /// Certificates in DER, one after the other, by the SPIFFE ID of their trust domain.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: BTreeMap<String, Vec<u8>>,
}

/// A certificate with its key, and the bundle of its trust domain.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// The chain, its own certificate first: in DER, one after the other.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) chain: Vec<u8>,
    /// PKCS#8 in DER. It is cleared when the message is dropped.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    /// Certificates in DER, one after the other.
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
