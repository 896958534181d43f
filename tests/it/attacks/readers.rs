//! Clients that request responses and do not read them.

use std::time::Duration;

use futures_util::future::join_all;
use grantmint::rpc::proto::MintTokensRequest;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::honest::{Attacked, Honest, Transport, memory};
use crate::{
    binary::metrics::page,
    frames::{CANCEL, Conversation, DATA, RST_STREAM, call, next_frame, send, window_update},
    support::{Serve, mint, reason, series, soon, until},
};

const CONNECTIONS: usize = 2;
const STREAMS: u32 = 128;
const CALLS: f64 = 256.0;

const MINT: &str = "/grantmint.v1.TokenService/MintToken";
const BULK: &str = "/grantmint.v1.TokenService/MintTokens";

/// The most memory that one call may use, in bytes.
const MOST_EACH: u64 = 256 << 10;

fn streams() -> impl Iterator<Item = u32> {
    (0..STREAMS).map(|call| 2 * call + 1)
}

fn calls(of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    streams().flat_map(of).collect()
}

fn endless(stream: u32) -> Vec<u8> {
    call(stream, BULK, &series(0, 1_000_000))
}

fn one_chunk(stream: u32) -> Vec<u8> {
    call(stream, BULK, &MintTokensRequest { chunk_size: 64, ..series(0, 64) })
}

fn unary(stream: u32) -> Vec<u8> {
    call(stream, MINT, &mint("reader", None))
}

async fn figure(serve: &Serve, metric: &str, method: &str) -> f64 {
    page(serve).await.figure(metric, &[("grpc_method", method)])
}

async fn cut(serve: &Serve, cause: &str) -> f64 {
    page(serve).await.figure("grantmint_streams_reset_total", &[("cause", cause)])
}

/// Waits until all calls have started and asserts the memory that each uses.
async fn assert_memory_per_call(serve: &Serve, method: &str, already: f64, before: u64) {
    until("all calls have started", async || {
        figure(serve, "grpc_server_started_total", method).await >= already + CALLS
    })
    .await;
    let each = memory(serve).saturating_sub(before) / 256;
    assert!(each <= MOST_EACH, "{each} bytes each");
}

/// The frames of a call on one stream.
type Calls = fn(u32) -> Vec<u8>;

async fn opens_no_window(transport: Transport, window: u32, method: &str, calls_of: Calls) {
    let attacked = transport.limited("stall = \"2s\"").await;
    let Attacked { serve, .. } = &attacked;
    let honest = Honest::begin(&attacked).await;
    let before = memory(serve);
    let already = figure(serve, "grpc_server_started_total", method).await;
    let mut readers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut reader = attacked.with_window(window).await;
        assert!(reader.send(&calls(calls_of)).await);
        readers.spawn(async move {
            for _ in 0..STREAMS {
                let reset = loop {
                    let frame = reader.next().await.expect("an open connection");
                    if frame.kind == RST_STREAM {
                        break frame;
                    }
                };
                assert_eq!(reset.payload, CANCEL);
            }
            reader
        });
    }
    // Unary calls may end before all of them have arrived.
    if method == "MintTokens" {
        assert_memory_per_call(serve, method, already, before).await;
    }
    let readers = readers.join_all().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?}");
    assert!(cut(serve, "stalled").await >= CALLS, "{transport:?} {window} {method}");
    assert!(cut(serve, "unread").await < 0.5);
    honest.end(&attacked).await;
    drop(readers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_responses_are_reset_and_the_connection_survives() {
    for (window, method, calls_of) in [
        (0, "MintTokens", endless as Calls),
        (1, "MintTokens", endless),
        (1, "MintTokens", one_chunk),
        (0, "MintToken", unary),
        (1, "MintToken", unary),
    ] {
        join_all(
            Transport::BOTH.map(|transport| opens_no_window(transport, window, method, calls_of)),
        )
        .await;
    }
}

async fn small_bulk_keeps_its_permit(transport: Transport) {
    let attacked = transport.limited("streaming_calls = 2\nstall = \"2s\"").await;
    let mut reader = attacked.with_window(0).await;
    let bulks = [1, 3].map(|stream| call(stream, BULK, &series(0, 10)));
    let began = Instant::now();
    assert!(reader.send(&bulks.concat()).await);
    let mut tokens = attacked.tokens().await;
    let mut bulk = async || tokens.mint_tokens(series(0, 10)).await.map(drop);
    until("both slots are taken", async || {
        bulk().await.is_err_and(|status| reason(&status) == "OVERLOADED")
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(2));
    until("they are reset", async || bulk().await.is_ok()).await;
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_bulk_keeps_its_permit_until_it_is_written() {
    join_all(Transport::BOTH.map(small_bulk_keeps_its_permit)).await;
}

async fn slow_reader_is_served(transport: Transport) {
    const WINDOW: u32 = 8 * 1024;
    const READ: usize = 400 << 10;
    // As many unread responses as one connection may have; each holds a chunk less its window.
    const HELD: usize = 12;
    let attacked = transport.limited("").await;
    let mut client = attacked.with_window(WINDOW).await;
    let unread = streams().take(HELD).flat_map(endless).collect::<Vec<_>>();
    assert!(client.send(&[window_update(0, 1 << 30), unread].concat()).await);
    let mut full = 0;
    while full < HELD {
        let frame = client.next().await.expect("an open connection");
        full += usize::from(frame.kind == DATA);
    }
    let (requested, bulk) = (unary(101), endless(103));
    assert!(client.send(&[requested, bulk].concat()).await);
    let (mut answered, mut read) = (false, 0);
    while !answered || read < READ {
        let frame = client.next().await.expect("an open connection");
        assert_ne!(frame.kind, RST_STREAM, "stream {}", frame.stream);
        match (frame.stream, frame.kind) {
            (101, DATA) => answered = true,
            (103, DATA) => {
                let bytes = frame.payload.len();
                read += bytes;
                let more = u32::try_from(bytes).expect("in range");
                assert!(client.send(&window_update(103, more)).await);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_client_with_small_windows_is_served() {
    join_all(Transport::BOTH.map(slow_reader_is_served)).await;
}

async fn byte_by_byte_reader_is_closed(transport: Transport, method: &str, calls_of: Calls) {
    let attacked = transport.limited("stall = \"3s\"").await;
    let Attacked { serve, .. } = &attacked;
    let honest = Honest::begin(&attacked).await;
    let before = memory(serve);
    let already = figure(serve, "grpc_server_started_total", method).await;
    let mut readers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut reader = attacked.with_window(1).await;
        assert!(reader.send(&calls(calls_of)).await);
        let Conversation { mut read, mut write } = reader;
        readers.spawn(async move {
            let mut ticks = interval(Duration::from_millis(250));
            let opened: Vec<u8> = streams().flat_map(|it| window_update(it, 1)).collect();
            loop {
                tokio::select! {
                    frame = next_frame(&mut read) => {
                        if frame.is_none() {
                            return;
                        }
                    }
                    _ = ticks.tick() => {
                        if !send(&mut write, &opened).await {
                            return;
                        }
                    }
                }
            }
        });
    }
    if method == "MintTokens" {
        assert_memory_per_call(serve, method, already, before).await;
    }
    soon(readers.join_all()).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?}");
    // Calls without a response before there was window are reset first.
    let (unread, stalled) = (cut(serve, "unread").await, cut(serve, "stalled").await);
    assert!(
        unread > 0.5 && unread + stalled >= CALLS,
        "{transport:?} {method}: {unread} {stalled}"
    );
    honest.end(&attacked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_reading_byte_by_byte_is_closed() {
    for (method, calls_of) in
        [("MintTokens", endless as Calls), ("MintTokens", one_chunk), ("MintToken", unary)]
    {
        join_all(
            Transport::BOTH
                .map(|transport| byte_by_byte_reader_is_closed(transport, method, calls_of)),
        )
        .await;
    }
}
