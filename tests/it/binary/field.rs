//! Problems that users of other products reported, on the real binary: caches and gateways in front
//! of the upstream, and tools that send several requests on a stream.

use grantmint::{provider::twilio_live::DEMO_RESOURCE, rpc::proto::MintOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Configured, Serve, mint, reason, soon, until};

#[tokio::test]
async fn cached_grant_is_used_to_its_expiry_with_few_requests() {
    let serve = Serve::sandboxed(&[]).await;
    let first = serve.first_token().await.validity.expect("a validity");
    serve.set_fault("shorter-life=56s").await;
    let mut client = serve.tokens().await;
    // A caller that needs more than the remaining life pulls the next attempt forward, to the
    // cache.
    let needs = MintOptions {
        min_remaining_validity: Some(prost_types::Duration { seconds: 56, nanos: 0 }),
        max_wait: Some(prost_types::Duration::default()),
        ..MintOptions::default()
    };
    until("a response of the cache", async || {
        let refused = soon(client.mint_token(mint("viewer", Some(needs.clone())))).await;
        let too_short = refused.is_err_and(|status| reason(&status) == "GRANT_TOO_SHORT");
        too_short && serve.counters().await["faults"].as_u64() == Some(1)
    })
    .await;
    until("it is reported", async || serve.page("/readyz").await.1.contains("GRANT_UNCHANGED"))
        .await;
    let minted = soon(client.mint_token(mint("viewer", None))).await.expect("a token");
    let validity = minted.into_inner().validity.expect("a validity");
    assert_eq!(validity.generation, first.generation);
    assert!(validity.use_within.expect("a length").seconds > 40, "{:?}", validity.use_within);
    assert_eq!(
        serve.counters().await["faults"].as_u64(),
        Some(1),
        "the cache was requested again at once"
    );
    assert!(
        serve.page("/readyz").await.1.contains("refresh ok"),
        "it warns although there is time left"
    );
}

#[tokio::test]
async fn harmless_gateway_additions_are_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let upstream = format!("upstream = \"http://{}\"", listener.local_addr().expect("bound"));
    let body = format!(
        "\u{feff} {{\"grant\":{{\"playbackUrl\":\"https://h.example/p\",\"playerStreamerSid\":\"{DEMO_RESOURCE}\"}}}}\r\n"
    );
    let answer = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n\
         HTTP/1.1 201 Created\r\ncontent-encoding: \r\nCONTENT-ENCODING: Identity, identity\r\n\
         content-type: application/json;charset=UTF-8\r\nx-folded: a,\r\n  b\r\n{}\
         transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         {:x};ext=1\r\n{body}\r\n0\r\nx-sum: 1\r\n\r\n",
        "x-gateway: 1\r\n".repeat(150),
        body.len(),
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let config = Configured::profile(&upstream);
    let serve = Serve::start(&["--config", config.path()]).await;
    serve.first_token().await;
}

#[tokio::test]
async fn reflection_continues_after_an_unknown_name() {
    let serve = Serve::sandboxed(&[]).await;
    let mut client = ServerReflectionClient::new(serve.channel().await);
    let ask =
        |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = [
        ask(MessageRequest::FileContainingSymbol("no.Such".to_owned())),
        ask(MessageRequest::FileByFilename("no/such.proto".to_owned())),
        ask(MessageRequest::ListServices(String::new())),
    ];
    let requested = client.server_reflection_info(futures_util::stream::iter(questions));
    let mut answers = soon(requested).await.expect("a stream").into_inner();
    for _ in 0..2 {
        let answer = soon(answers.message()).await.expect("no error").expect("an answer");
        let Some(MessageResponse::ErrorResponse(error)) = answer.message_response else {
            panic!("no error: {answer:?}")
        };
        assert_eq!(error.error_code, 5);
    }
    let answer = soon(answers.message()).await.expect("no error").expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list: {answer:?}")
    };
    assert!(list.service.iter().any(|it| it.name == "grantmint.v1.TokenService"));
}
