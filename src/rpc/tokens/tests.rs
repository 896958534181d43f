//! A bulk whose deadline passes before its first chunk.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower_service::Service;

use super::*;
use crate::{
    clock::{Clock, WallTime},
    drain::drain,
    grant::{Grant, cell::Prepare},
    mint::{Grants, Limits, minter::Profile, terms::ExpiryPolicy},
    name::{GrantName, ProfileName, Resource},
    rpc::{self, layers::Guarded, proto::token_service_server::TokenServiceServer},
    telemetry::Metrics,
    token::{Signer, id::Serials},
};

/// No grant ever comes.
struct Never;

impl Prepare for Never {
    type Ready = Box<dyn Signer>;
    type Error = ();

    fn prepare(&self, _: &Grant) -> Result<Box<dyn Signer>, ()> {
        Err(())
    }
}

fn tokens() -> Tokens {
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let profile = Profile {
        name: ProfileName::parse("live").unwrap(),
        default_resource: Some(Resource::parse("a").unwrap()),
        parse_resource: Resource::parse,
        token_ttl: Duration::from_secs(60),
        max_token_ttl: Duration::from_secs(60),
        grant_ttl: Duration::from_secs(60),
        margin: Duration::from_secs(2),
        policy: ExpiryPolicy::ClampToGrant,
        allow_independent: false,
    };
    let (name, resource) = (profile.name.clone(), Resource::parse("a").unwrap());
    let mut grants = Grants::default();
    let grant = GrantName { profile: name.clone(), resource: resource.clone() };
    drop(grants.add(grant, profile.margin, Never));
    let (_, drain) = drain();
    let minter = Minter::new(
        vec![(profile, vec![resource])],
        Some(name),
        &grants,
        Limits::default(),
        Serials::draw().unwrap(),
        clock.clone(),
        drain.clone(),
    );
    Tokens::new(&Parts {
        minter: Arc::new(minter),
        roster: grants.roster(),
        drain,
        clock,
        metrics: Metrics::default(),
        limits: rpc::Limits::default(),
    })
}

/// The end of a `MintTokens` call with a deadline of 1 s, whose request comes after that long.
async fn ended(request: MintTokensRequest, after: Duration) -> Status {
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed: Bytes = [&[0], &length[..], &message].concat().into();
    let body = StreamBody::new(Box::pin(stream::once(async move {
        tokio::time::sleep(after).await;
        Ok::<_, Infallible>(Frame::data(framed))
    })));
    let request = http::Request::post("/grantmint.v1.TokenService/MintTokens")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "1S")
        .body(body)
        .unwrap();
    let mut calls = Guarded::new(TokenServiceServer::new(tokens()), &Metrics::default());
    let Ok(response) = calls.call(request).await;
    Status::from_header_map(response.headers()).expect("an end")
}

#[tokio::test(start_paused = true)]
async fn a_bulk_that_was_read_says_where_to_go_on_though_its_deadline_passed_in_planning() {
    // As many as are validated in more than one slice.
    let identities = (0..3_000).map(|number| format!("viewer-{number}")).collect();
    let list = selection::Selection::IdentityList(IdentityList { identities });
    let request =
        MintTokensRequest { selection: Some(list), start_index: 7, ..MintTokensRequest::default() };
    for (after, resume_index) in [(1_000, Some("7")), (1_001, None)] {
        let status = ended(request.clone(), Duration::from_millis(after)).await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "DEADLINE_EXCEEDED");
        let told = info.metadata.get("resume_index").map(String::as_str);
        assert_eq!(told, resume_index, "where the request came after {after} ms");
    }
}
