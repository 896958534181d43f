//! Clients that start large requests and do not finish them.

use std::collections::HashMap;

use futures_util::future::join_all;
use grantmint::rpc::proto::{IdentityList, MintTokensRequest, mint_tokens_request::Selection};

use super::honest::{Attacked, Honest, Transport};
use crate::{
    frames::{DATA, END_HEADERS, HEADERS, RST_STREAM, WINDOW_UPDATE, call_headers, frame},
    support::{series, soon},
};

const STREAMS: u32 = 128;

/// Bytes sent of each request: one less than its declared length.
const LENGTH: usize = 3 << 20;

/// Bytes received of all requests, except the one that proceeds, at most.
const MOST_BESIDE: usize = 2 << 20;

const FRAME: usize = 16 * 1024;

/// The flow-control windows granted by the server: of the connection (0) and of each stream.
struct Windows(HashMap<u32, usize>);

impl Windows {
    /// The connection's window before the server enlarges it.
    fn new() -> Self {
        Self((0..STREAMS).map(|call| (2 * call + 1, 65_535)).chain([(0, 65_535)]).collect())
    }

    fn take(&mut self, stream: u32, most: usize) -> usize {
        let of = |stream| self.0.get(&stream).copied().unwrap_or(0);
        let taken = of(0).min(of(stream)).min(most);
        for stream in [0, stream] {
            self.0.entry(stream).and_modify(|windows| *windows -= taken);
        }
        taken
    }
}

async fn upload_over_transport(transport: Transport) {
    let attacked = transport.limited("").await;
    let honest = Honest::begin(&attacked).await;
    upload(&attacked).await;
    // On other connections a large request is accepted as usual.
    let identities = (0..10_000).map(|number| format!("{number:0>200}")).collect();
    let selection = Some(Selection::IdentityList(IdentityList { identities }));
    let request = MintTokensRequest { selection, ..series(0, 0) };
    soon(attacked.tokens().await.mint_tokens(request)).await.expect("a bulk");
    honest.end(&attacked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_use_little_memory_and_one_proceeds() {
    join_all(Transport::BOTH.map(upload_over_transport)).await;
}

/// Starts many large requests until one of them has been read.
async fn upload(attacked: &Attacked) {
    let mut uploader = attacked.conversation().await;
    let path = "/grantmint.v1.TokenService/MintTokens";
    let says = u32::try_from(LENGTH - 5 + 1).expect("in range").to_be_bytes();
    let (mut windows, mut sent) = (Windows::new(), HashMap::new());
    for call in 0..STREAMS {
        let stream = 2 * call + 1;
        let started = [
            frame(HEADERS, END_HEADERS, stream, &call_headers(path)),
            frame(DATA, 0, stream, &[&[0], &says[..]].concat()),
        ];
        assert!(uploader.send(&started.concat()).await);
        windows.take(stream, 5);
        sent.insert(stream, 5);
    }
    while !sent.values().any(|sent| *sent == LENGTH) {
        for (stream, sent) in &mut sent {
            loop {
                let bytes = windows.take(*stream, FRAME.min(LENGTH - *sent));
                if bytes == 0 {
                    break;
                }
                assert!(uploader.send(&frame(DATA, 0, *stream, &vec![0; bytes])).await);
                *sent += bytes;
            }
        }
        let frame = uploader.next().await.expect("an open connection");
        match frame.kind {
            WINDOW_UPDATE => {
                let more = u32::from_be_bytes(frame.payload.try_into().expect("four bytes"));
                let more = usize::try_from(more).expect("in range");
                *windows.0.entry(frame.stream).or_default() += more;
            }
            // Too many requests wait to proceed: what was received of this one is dropped.
            RST_STREAM | HEADERS => {
                windows.0.remove(&frame.stream);
                sent.remove(&frame.stream);
            }
            _ => {}
        }
    }
    let all: usize = sent.values().sum();
    assert!(all <= LENGTH + MOST_BESIDE, "{all}");
}
