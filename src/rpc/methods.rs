//! The table of methods, with the access rule of each.

use super::{GRANT_SERVICE, TOKEN_SERVICE};
use crate::auth::method::Method;

/// A method of the API. Other paths are refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) rule: Rule,
}

/// The streaming type of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

/// The access rule of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Any connected client may call it.
    Connected,
    /// Callers with a row that names it may call it.
    Rows(Method),
}

impl Rule {
    /// The method that a row must name.
    pub(super) const fn method(self) -> Option<Method> {
        match self {
            Self::Connected => None,
            Self::Rows(method) => Some(method),
        }
    }
}

impl Kind {
    /// The name in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

const fn rows(service: &'static str, kind: Kind, method: Method) -> Entry {
    Entry { service, name: method.as_str(), kind, rule: Rule::Rows(method) }
}

const fn connected(service: &'static str, kind: Kind, name: &'static str) -> Entry {
    Entry { service, name, kind, rule: Rule::Connected }
}

/// The name of the health service.
pub(super) const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// The names of the reflection service, by version.
pub(super) const REFLECTION_SERVICES: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// All methods.
pub(super) const METHODS: [Entry; 10] = [
    rows(TOKEN_SERVICE, Kind::Unary, Method::MintToken),
    rows(TOKEN_SERVICE, Kind::ServerStream, Method::MintTokens),
    rows(GRANT_SERVICE, Kind::Unary, Method::GetGrant),
    rows(GRANT_SERVICE, Kind::Unary, Method::ListGrants),
    rows(GRANT_SERVICE, Kind::ServerStream, Method::WatchGrants),
    rows(GRANT_SERVICE, Kind::Unary, Method::RefreshGrant),
    connected(HEALTH_SERVICE, Kind::Unary, "Check"),
    connected(HEALTH_SERVICE, Kind::ServerStream, "Watch"),
    rows(REFLECTION_SERVICES[0], Kind::BidiStream, Method::ServerReflectionInfo),
    rows(REFLECTION_SERVICES[1], Kind::BidiStream, Method::ServerReflectionInfo),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::rpc::proto;

    #[test]
    fn every_described_method_has_a_rule_and_kind() {
        let sets = [
            proto::DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut described = BTreeMap::new();
        for set in sets {
            let pool = DescriptorPool::decode(set).unwrap();
            for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>())
            {
                let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => Kind::Unary,
                    (false, true) => Kind::ServerStream,
                    (true, true) => Kind::BidiStream,
                    (true, false) => panic!("{}: no such kind", method.full_name()),
                };
                described.insert(method.full_name().to_owned(), kind);
            }
        }
        // From a newer version of the health protocol than is served.
        let not_served = |name: &str| name == format!("{HEALTH_SERVICE}.List");
        described.retain(|name, _| !not_served(name));
        let table = METHODS.map(|it| (format!("{}.{}", it.service, it.name), it.kind));
        assert_eq!(described, BTreeMap::from(table));
        for method in Method::ALL {
            assert!(METHODS.iter().any(|it| it.rule == Rule::Rows(method)), "{method:?}");
        }
    }
}
