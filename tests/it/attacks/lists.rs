//! Callers that request tokens for long lists and do not read them.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use grantmint::rpc::proto::{IdentityList, MintTokensRequest, mint_tokens_request::Selection};
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{Request, Response};
use prost::Message;

use super::honest::{Attacked, Honest, Transport};
use crate::{
    frames::{HEADERS, call},
    support::{mint, series, soon},
};

const CONNECTIONS: usize = 2;
const STREAMS: u32 = 128;

/// Length of each listed identity in bytes, of at most 256.
const LENGTH: usize = 100;

/// A request with the longest list allowed.
fn long_list() -> Bytes {
    let identities = (0..10_000).map(|number| format!("{number:0>LENGTH$}")).collect();
    let selection = Some(Selection::IdentityList(IdentityList { identities }));
    let request = MintTokensRequest { selection, ..series(0, 0) };
    let length = request.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("in range"));
    request.encode(&mut bytes).expect("room");
    bytes.freeze()
}

/// Starts bulks on one connection until each is accepted or refused, without opening a window.
async fn begin_bulks(
    attacked: &Attacked,
    list: Bytes,
) -> (SendRequest<Bytes>, Vec<Response<RecvStream>>) {
    let stream = attacked.stream().await;
    let shaken = client::Builder::new().initial_window_size(0).handshake(stream).await;
    let (mut send, connection) = shaken.expect("HTTP/2");
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        let request = Request::post("http://server/grantmint.v1.TokenService/MintTokens")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        send = soon(send.ready()).await.expect("an open connection");
        let request = request.body(()).expect("a request");
        let (answer, mut body) = send.send_request(request, false).expect("a stream");
        body.send_data(list.clone(), true).expect("a stream");
        answers.push(soon(answer).await.expect("an answer"));
    }
    (send, answers)
}

async fn hold_lists(transport: Transport, list: Bytes) {
    let attacked = transport.limited("").await;
    let honest = Honest::begin(&attacked).await;
    let bulks = (0..CONNECTIONS).map(|_| begin_bulks(&attacked, list.clone()));
    let bulks = join_all(bulks).await;
    let refused = bulks.iter().flat_map(|(_, answers)| answers).filter(|answer| {
        // A response that ends at once.
        let status = answer.headers().get("grpc-status");
        assert!(status.is_none_or(|it| it == "14"), "{answer:?}");
        status.is_some()
    });
    let refused = refused.count();
    assert!((64..CONNECTIONS * STREAMS as usize).contains(&refused), "{transport:?}: {refused}");
    if transport == Transport::MutualTls {
        let one = MintTokensRequest::decode(&list[5..]).expect("a request");
        soon(attacked.tokens().await.mint_tokens(one)).await.expect("another entry's list");
    }
    let mut unread = attacked.with_window(0).await;
    let calls = (0..STREAMS).flat_map(|number| {
        call(2 * number + 1, "/grantmint.v1.TokenService/MintToken", &mint("reader", None))
    });
    assert!(unread.send(&calls.collect::<Vec<_>>()).await);
    let mut answered = 0;
    while answered < STREAMS {
        let frame = unread.next().await.expect("an open connection");
        answered += u32::from(frame.kind == HEADERS);
    }
    honest.end(&attacked).await;
    drop((bulks, unread));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_unread_lists_use_little_memory() {
    let list = long_list();
    for transport in Transport::BOTH {
        hold_lists(transport, list.clone()).await;
    }
}
