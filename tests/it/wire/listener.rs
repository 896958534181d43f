//! The listener, tested with raw bytes.

use std::{collections::BTreeMap, time::Duration};

use grantmint::rpc::proto::MintOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::harness::TestServer;
use crate::{
    frames::{Conversation, GOAWAY, PREFACE, RST_STREAM, SETTINGS, frame, half_a_call},
    support::soon,
};

/// The frames on one stream.
type Attack<'a> = &'a dyn Fn(u32) -> Vec<u8>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_or_partial_prefaces_are_closed_after_5_s() {
    let server = TestServer::simple().await;
    let (addr, started) = (server.addr, Instant::now());
    let beginnings = [&b""[..], &PREFACE[..12], PREFACE, b"GET / HTTP/1.1\r\n"];
    let ends = beginnings.map(|beginning| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
        started.elapsed()
    });
    let ends = futures_util::future::join_all(ends).await;
    // Anything but HTTP/2 is closed at once.
    for (beginning, end) in beginnings.into_iter().zip(ends).take(3) {
        assert!(end >= Duration::from_millis(4_500), "{beginning:?} closed after {end:?}");
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn excess_resets_close_only_their_connection() {
    let server = TestServer::simple().await;
    // Cancellations by the client, and malformed requests that the server must reset.
    let malformed = |stream| frame(1, 5, stream, b"\x83\x86\x84\x01\x04a b%");
    let cancelled =
        |stream| [half_a_call(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    // On a busy machine, calls are cancelled before the server handles them.
    let attacks: [(&[&[u8]], Attack<'_>); 2] = [
        (&[b"too_many_cancels", b"too_many_unanswered_streams"], &cancelled),
        (&[b"too_many_forced_resets"], &malformed),
    ];
    for (reasons, attack) in attacks {
        let mut conversation = Conversation::begin(server.addr).await;
        let mut payload = None;
        // In portions: the kernel would discard unread bytes if more arrived after the close.
        for portion in 0_u32..300 {
            let burst = (0..100).flat_map(|call| attack(2 * (100 * portion + call) + 1));
            let burst = burst.chain(frame(6, 0, 0, &[0; 8])).collect::<Vec<_>>();
            assert!(conversation.send(&burst).await);
            payload = loop {
                match conversation.frame().await {
                    (GOAWAY, payload) => break Some(payload),
                    (6, payload) if payload == [0; 8] => break None,
                    _ => {}
                }
            };
            assert!(
                payload.is_none() || portion > 10,
                "closed after a legitimate burst: {portion}"
            );
            if payload.is_some() {
                break;
            }
        }
        let payload = payload.expect("an end");
        assert_eq!(payload[4..8], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");
        assert!(reasons.contains(&&payload[8..]), "{:?}", String::from_utf8_lossy(&payload[8..]));
        server.serves(MintOptions::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_128_are_refused_per_connection() {
    let server = TestServer::simple().await;
    let mut conversation = Conversation::begin(server.addr).await;
    let (kind, payload) = conversation.frame().await;
    assert_eq!(kind, SETTINGS);
    let settings: BTreeMap<u16, u32> = payload
        .chunks(6)
        .map(|setting| {
            let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
            (u16::from_be_bytes([setting[0], setting[1]]), value)
        })
        .collect();
    assert_eq!(settings.get(&3), Some(&128), "MAX_CONCURRENT_STREAMS");
    assert_eq!(settings.get(&6), Some(&12_288), "MAX_HEADER_LIST_SIZE");

    let calls: Vec<u8> = (0..200).flat_map(|call| half_a_call(2 * call + 1)).collect();
    assert!(conversation.send(&calls).await);
    for _ in 128..200 {
        let (kind, payload) = loop {
            let (kind, payload) = conversation.frame().await;
            if kind == RST_STREAM || kind == GOAWAY {
                break (kind, payload);
            }
        };
        assert_eq!((kind, payload.as_slice()), (RST_STREAM, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
    }
    server.serves(MintOptions::default()).await;
}
