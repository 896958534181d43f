//! Limits per user.

use tokio::io::AsyncReadExt;

use super::{Socket, own_uid};
use crate::support::{soon, until};

#[tokio::test]
async fn user_has_the_per_caller_connection_limit() {
    let socket = Socket::with("", "[limits]\nconnections_per_caller = 2\n");
    let serve = socket.serve().await;
    let (first, is_in) = socket.try_connect().await;
    assert!(is_in);
    let (_second, is_in) = socket.try_connect().await;
    assert!(is_in);
    assert!(!socket.try_connect().await.1, "a third connection was accepted");
    drop(first);
    until("there is space again", async || socket.try_connect().await.1).await;
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    let user = format!("uid:{}", own_uid());
    let line = log.lines().find(|it| it.contains("connection limit reached")).expect("a line");
    assert!(line.contains(&format!("\"address\":\"{user}\"")), "{line}");
    assert!(line.contains(&format!("\"name\":\"{user}\"")), "{line}");
}

#[tokio::test]
async fn users_in_no_entry_share_the_stranger_limit() {
    let other = own_uid() + 1;
    let callers = format!(
        "[callers.other]\nmatch = [\"uid:{other}\"]\nallow = [{{ profiles = [\"demo\"] }}]\n"
    );
    let socket = Socket::with("", &callers);
    let _serve = socket.serve().await;
    let mut held = Vec::new();
    for _ in 0..64 {
        let (stream, is_in) = socket.try_connect().await;
        assert!(is_in, "{}", held.len());
        held.push(stream);
    }
    assert!(!socket.try_connect().await.1, "a connection over the user's limit was accepted");
}

#[tokio::test]
async fn silent_connections_of_a_user_yield_to_newer_ones() {
    let socket = Socket::with("", "");
    let _serve = socket.serve().await;
    let mut first = socket.connect().await;
    let mut held = Vec::new();
    let mut byte = [0];
    // Once the first have settled, a user has 32 of the 256 slots.
    while held.len() < 1_000 {
        held.push(socket.connect().await);
        tokio::select! {
            biased;
            read = first.read(&mut byte) => {
                assert_eq!(read.expect("an end"), 0);
                break;
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(10)) => {}
        }
    }
    assert!(held.len() > 31, "only {} came after it", held.len());
    assert!(held.len() < 256, "it was closed before all slots were taken");
    let (_stream, is_in) = soon(socket.try_connect()).await;
    assert!(is_in, "an active connection has no slot");
}
