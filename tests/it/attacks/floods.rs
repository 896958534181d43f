//! Connections that flood the server with frames.

use tokio::task::JoinSet;

use super::honest::{Attacked, Honest, Transport};
use crate::{
    frames::{
        CONTINUATION, Conversation, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, SETTINGS,
        call_headers, frame, half_a_call, next_frame, send,
    },
    support::soon,
};

/// Streams that an attack opens on one connection, at most.
const ROUNDS: u32 = 50_000;

/// The last ping of an attack.
const LAST: [u8; 8] = [9; 8];

/// What an attack does to its own connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The server closes it.
    Cut,
    /// It stays open: the attack costs the server almost nothing.
    Tolerated,
}

/// The frames of one round; rounds count from 0.
type Round = fn(u32) -> Vec<u8>;

const MINT: &str = "/grantmint.v1.TokenService/MintToken";

/// A malformed request, whose stream must be reset.
fn malformed(round: u32) -> Vec<u8> {
    frame(HEADERS, 5, 2 * round + 1, b"\x83\x86\x84\x01\x04a b%")
}

fn cancelled(round: u32) -> Vec<u8> {
    let stream = 2 * round + 1;
    [half_a_call(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
}

fn half_open(round: u32) -> Vec<u8> {
    half_a_call(2 * round + 1)
}

/// A header block that never ends.
fn continued(round: u32) -> Vec<u8> {
    let block = call_headers(MINT);
    match round {
        0 => frame(HEADERS, 0, 1, &block),
        _ => frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b"),
    }
}

fn empty_data(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, END_HEADERS, 1, &call_headers(MINT)),
        _ => frame(DATA, 0, 1, &[]),
    }
}

fn pings(_: u32) -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

fn settings(_: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

fn priorities(round: u32) -> Vec<u8> {
    const PRIORITY: u8 = 2;
    frame(PRIORITY, 0, 2 * round + 1, &[0, 0, 0, 0, 9])
}

/// Sends all rounds and returns the outcome.
async fn flood(attacked: &Attacked, round: Round) -> impl Future<Output = End> + use<> {
    let Conversation { mut read, mut write } = attacked.conversation().await;
    // Unread frames would close the connection by themselves.
    let heard = tokio::spawn(async move {
        while let Some(frame) = next_frame(&mut read).await {
            // A tolerated flood gets a response to its last ping.
            if frame.kind == PING && frame.payload == LAST {
                return End::Tolerated;
            }
        }
        End::Cut
    });
    async move {
        for first in (0..ROUNDS).step_by(500) {
            let burst: Vec<u8> = (first..first + 500).flat_map(round).collect();
            if !send(&mut write, &burst).await {
                break;
            }
        }
        send(&mut write, &frame(PING, 0, 0, &LAST)).await;
        let ended = soon(heard).await.expect("a listening server");
        drop(write);
        ended
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_floods_fail_no_honest_call() {
    for (name, round, expected) in [
        ("malformed", malformed as Round, End::Cut),
        ("cancelled", cancelled, End::Cut),
        ("half open", half_open, End::Cut),
        ("continued", continued, End::Cut),
        ("empty data", empty_data, End::Cut),
        ("pings", pings, End::Tolerated),
        ("settings", settings, End::Tolerated),
        ("priorities", priorities, End::Tolerated),
    ] {
        for transport in Transport::BOTH {
            let attacked = transport.limited("").await;
            let honest = Honest::begin(&attacked).await;
            let mut attackers = JoinSet::new();
            for _ in 0..2 {
                attackers.spawn(flood(&attacked, round).await);
            }
            for ended in attackers.join_all().await {
                assert_eq!(ended, expected, "{name}, {transport:?}");
            }
            honest.end(&attacked).await;
        }
    }
}
