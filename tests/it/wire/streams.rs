//! Streaming calls are counted over all connections.

use grantmint::rpc::proto::{
    WatchGrantsRequest, grant_service_client::GrantServiceClient,
    token_service_client::TokenServiceClient,
};
use tonic::{Code, transport::Endpoint};
use tonic_types::StatusExt;

use super::harness::TestServer;
use crate::support::{reason, resume_index, series, soon, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_over_the_limit_is_refused_until_one_ends() {
    let server = TestServer::simple().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addr)).unwrap();
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut grants = GrantServiceClient::new(soon(endpoint.connect()).await.unwrap());
        for _ in 0..128 {
            open.push(soon(grants.watch_grants(WatchGrantsRequest::default())).await.unwrap());
        }
    }
    let mut grants = GrantServiceClient::new(server.channel.clone());
    let refused = soon(grants.watch_grants(WatchGrantsRequest::default())).await.err().unwrap();
    let mut tokens = TokenServiceClient::new(server.channel.clone());
    let bulk = soon(tokens.mint_tokens(series(7, 10))).await.err().unwrap();
    for status in [&refused, &bulk] {
        assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, "OVERLOADED"));
        assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs() == 1);
        assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
    }
    assert_eq!(resume_index(&bulk), 7);

    open.pop();
    until("a free slot", async || soon(tokens.mint_tokens(series(7, 10))).await.is_ok()).await;
}
