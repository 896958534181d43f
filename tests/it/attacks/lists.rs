//! Callers that ask for tokens of long lists, and do not read them.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use grantmint::rpc::proto::{IdentityList, MintTokensRequest, mint_tokens_request::Selection};
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{Request, Response};
use prost::Message;

use super::honest::{Attacked, Honest, Way};
use crate::{
    frames::{HEADERS, call},
    support::{mint, series, soon},
};

const CONNECTIONS: usize = 2;
const STREAMS: u32 = 128;

/// Bytes of each identity in a list, of the 256 that it may have.
const LENGTH: usize = 100;

/// A call for the tokens of a list that is as long as it may be.
fn long_list() -> Bytes {
    let identities = (0..10_000).map(|number| format!("{number:0>LENGTH$}")).collect();
    let selection = Some(Selection::IdentityList(IdentityList { identities }));
    let request = MintTokensRequest { selection, ..series(0, 0) };
    let length = request.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("few"));
    request.encode(&mut bytes).expect("room");
    bytes.freeze()
}

/// Begins bulks of one connection, until each has been answered or refused, and opens no window.
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
        send = soon(send.ready()).await.expect("the connection goes on");
        let request = request.body(()).expect("a request");
        let (answer, mut body) = send.send_request(request, false).expect("a stream");
        body.send_data(list.clone(), true).expect("a stream");
        answers.push(soon(answer).await.expect("an answer"));
    }
    (send, answers)
}

async fn hold_lists(way: Way, list: Bytes) {
    let attacked = way.limited("").await;
    let honest = Honest::begin(&attacked).await;
    let bulks = (0..CONNECTIONS).map(|_| begin_bulks(&attacked, list.clone()));
    let bulks = join_all(bulks).await;
    let refused = bulks.iter().flat_map(|(_, answers)| answers).filter(|answer| {
        // An answer that ends at once.
        let status = answer.headers().get("grpc-status");
        assert!(status.is_none_or(|it| it == "14"), "{answer:?}");
        status.is_some()
    });
    let refused = refused.count();
    assert!((64..CONNECTIONS * STREAMS as usize).contains(&refused), "{way:?}: {refused}");
    if way == Way::MutualTls {
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
        let frame = unread.next().await.expect("the connection goes on");
        answered += u32::from(frame.kind == HEADERS);
    }
    honest.end(&attacked).await;
    drop((bulks, unread));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_unread_lists_use_little_memory() {
    let list = long_list();
    for way in Way::BOTH {
        hold_lists(way, list.clone()).await;
    }
}
