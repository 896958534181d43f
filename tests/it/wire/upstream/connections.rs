//! Slow, broken, stale and redirected connections.

use std::time::Duration;

use tokio::{net::TcpSocket, time::Instant};

use grantmint::clock::{Clock, WallTime};

use super::{Act, RawUpstream, STREAMER, answer, failure, fetch, good, source, source_by};
use crate::support::until;

#[tokio::test]
async fn a_redirect_is_refused_and_never_followed() {
    let elsewhere = RawUpstream::bind(vec![Act::Answer(good())]).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let headers = format!("location: {}/\r\n", elsewhere.url());
        let upstream = RawUpstream::bind(vec![Act::Answer(answer(status, &headers, ""))]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        let reason = format!("HTTP_STATUS_{}", &status[..3]);
        assert_eq!(seen, ("misconfigured", reason, None));
        assert_eq!(upstream.requests().len(), 1);
    }
    assert_eq!((elsewhere.connections(), elsewhere.requests().len()), (0, 0));
}

#[tokio::test]
async fn body_over_64_kib_is_refused_with_or_without_length() {
    let spaces =
        |count: usize| good().split_once("\r\n\r\n").unwrap().1.to_owned() + &" ".repeat(count);
    let body = spaces(0).len();
    let fits = answer("201 Created", "", &spaces(64 * 1024 - body));
    let upstream = RawUpstream::bind(vec![Act::Answer(fits)]).await;
    assert!(fetch(&source(&upstream.url(), ""), STREAMER).await.is_ok());

    let head = "HTTP/1.1 201 Created\r\n";
    let chunk: &'static str =
        Box::leak(format!("1000\r\n{}\r\n", " ".repeat(4_096)).into_boxed_str());
    let cases = [
        Act::Answer(answer("201 Created", "", &spaces(64 * 1024 + 1 - body))),
        Act::Answer(format!("{head}content-length: 99999999999\r\n\r\n{}", spaces(70_000))),
        Act::GoesOn(format!("{head}transfer-encoding: chunked\r\n\r\n"), chunk, Duration::ZERO),
        Act::GoesOn(format!("{head}\r\n"), chunk, Duration::ZERO),
    ];
    for act in cases {
        let case = format!("{act:.80?}");
        let upstream = RawUpstream::bind(vec![act]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        assert_eq!(seen, ("transient", "ANSWER_TOO_LARGE".to_owned(), None), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_exchange_times_out_after_2_s() {
    let head = "HTTP/1.1 201 Created\r\n";
    let slow = Duration::from_millis(50);
    let cases = [
        Act::Hang,
        Act::GoesOn(head.to_owned(), "x: y\r\n", slow),
        Act::GoesOn("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), "", slow),
        Act::GoesOn(format!("{head}content-length: 9000\r\n\r\n"), " ", slow),
        Act::GoesOn(format!("{head}transfer-encoding: chunked\r\n\r\n"), "1\r\n \r\n", slow),
    ];
    let cut = cases.map(|act| async move {
        let upstream = RawUpstream::bind(vec![act]).await;
        let started = Instant::now();
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        assert_eq!(seen, ("transient", "TIMEOUT".to_owned(), None));
        started.elapsed()
    });
    for took in futures_util::future::join_all(cut).await {
        assert!(took >= Duration::from_millis(1_950), "{took:?}");
    }
}

#[tokio::test]
async fn encoded_or_non_http_response_is_refused() {
    let head = "HTTP/1.1 201 Created\r\n";
    let cases = [
        (answer("201 Created", "content-encoding: gzip\r\n", "\u{1f}\u{8b}"), "ENCODED_ANSWER"),
        (answer("201 Created", "content-encoding: br\r\n", "x"), "ENCODED_ANSWER"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "MALFORMED_ANSWER"),
        (format!("{head}content-length: x\r\n\r\n"), "MALFORMED_ANSWER"),
        (format!("{head}no colon\r\n\r\n"), "MALFORMED_ANSWER"),
        (format!("{head}{}\r\n", "x: y\r\n".repeat(2_000)), "MALFORMED_ANSWER"),
        (format!("{head}content-length: 9\r\n\r\n{{"), "CONNECTION_LOST"),
        (format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"), "CONNECTION_LOST"),
    ];
    for (text, reason) in cases {
        let upstream = RawUpstream::bind(vec![Act::Last(text.clone())]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        assert_eq!(seen, ("transient", reason.to_owned(), None), "{text:.60}");
        assert_eq!(upstream.requests().len(), 1, "{text:.60}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_body_changes_nothing() {
    let head = "HTTP/1.1 429 Slow down\r\nretry-after: 7\r\n";
    let slow = Duration::from_millis(50);
    let cases = [
        Act::Last(format!("{head}content-length: 9\r\n\r\n{{")),
        Act::Last(format!("{head}content-length: 2\r\ncontent-encoding: gzip\r\n\r\n{{}}")),
        Act::Last(format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n")),
        Act::Last(format!(
            "{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        )),
        Act::Answer(format!("{head}content-length: 70000\r\n\r\n{}", " ".repeat(70_000))),
        Act::Answer(format!("{head}content-length: 9\r\n\r\n")),
        Act::GoesOn(format!("{head}content-length: 9000\r\n\r\n"), " ", slow),
        Act::GoesOn(format!("{head}\r\n"), " ", slow),
    ];
    let refused = cases.map(|act| async move {
        let case = format!("{act:.90?}");
        let upstream = RawUpstream::bind(vec![act, Act::Last(good())]).await;
        let source = source(&upstream.url(), "");
        let started = Instant::now();
        let seen = failure(fetch(&source, STREAMER).await);
        let requested = Some(Duration::from_secs(7));
        assert_eq!(seen, ("throttled", "HTTP_STATUS_429".to_owned(), requested), "{case}");
        assert!(started.elapsed() < Duration::from_millis(1_900), "{case}");
        assert!(fetch(&source, STREAMER).await.is_ok(), "{case}");
        assert_eq!((upstream.connections(), upstream.requests().len()), (2, 2), "{case}");
    });
    futures_util::future::join_all(refused).await;
}

#[tokio::test]
async fn lost_connection_is_transient_and_not_retried_if_new() {
    for act in [Act::Close, Act::Reset] {
        let upstream = RawUpstream::bind(vec![act]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        assert_eq!(seen, ("transient", "CONNECTION_LOST".to_owned(), None));
        assert_eq!((upstream.connections(), upstream.requests().len()), (1, 1));
    }
    // Bound, so that nothing else listens there, but not listening.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    let seen = failure(fetch(&source(&url, ""), STREAMER).await);
    assert_eq!(seen, ("transient", "CONNECT_FAILED".to_owned(), None));
}

#[tokio::test]
async fn connection_is_reused() {
    let upstream = RawUpstream::bind(vec![Act::Answer(good())]).await;
    let source = source(&upstream.url(), "");
    for _ in 0..5 {
        assert!(fetch(&source, STREAMER).await.is_ok());
    }
    assert_eq!((upstream.connections(), upstream.requests().len()), (1, 5));
}

#[tokio::test]
async fn long_idle_connection_is_not_reused() {
    let upstream = RawUpstream::bind(vec![Act::Answer(good())]).await;
    let (clock, hand) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let source = source_by(clock, &upstream.url(), "");
    for (idle, connections) in [(0, 1), (50, 1), (50, 1), (55, 2), (50, 2)] {
        hand.suspend(Duration::from_secs(idle));
        assert!(fetch(&source, STREAMER).await.is_ok());
        assert_eq!(upstream.connections(), connections, "after {idle} s more");
    }
}

#[tokio::test]
async fn timeout_discards_older_connections() {
    let acts = vec![Act::Answer(good()), Act::Answer(good()), Act::Hang, Act::Answer(good())];
    let upstream = RawUpstream::bind(acts).await;
    let source = source(&upstream.url(), "");
    let both = tokio::join!(fetch(&source, STREAMER), fetch(&source, STREAMER));
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(failure(fetch(&source, STREAMER).await).1, "TIMEOUT");
    assert_eq!(upstream.connections(), 2);
    assert!(fetch(&source, STREAMER).await.is_ok());
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn stale_connection_is_replaced_at_once() {
    // Closed right after the response, closed when used again, or reset then.
    for stale in [
        vec![Act::Last(good())],
        vec![Act::Answer(good()), Act::Close],
        vec![Act::Answer(good()), Act::Reset],
    ] {
        let (seen, acts) = (stale.len(), [stale, vec![Act::Answer(good())]].concat());
        let case = format!("{acts:.30?}");
        let upstream = RawUpstream::bind(acts).await;
        let source = source(&upstream.url(), "");
        assert!(fetch(&source, STREAMER).await.is_ok());
        assert!(fetch(&source, STREAMER).await.is_ok(), "{case}");
        assert_eq!((upstream.connections(), upstream.requests().len()), (2, seen + 1), "{case}");
    }
}

#[tokio::test]
async fn only_stale_connections_are_retried_and_only_once() {
    let garbage = Act::Answer("no HTTP at all\r\n\r\n".to_owned());
    let cases = [
        (garbage, "MALFORMED_ANSWER", 2),
        (Act::Answer(answer("500 Error", "", "")), "HTTP_STATUS_500", 2),
        (Act::Close, "CONNECTION_LOST", 3),
    ];
    for (act, reason, requests) in cases {
        let upstream = RawUpstream::bind(vec![Act::Answer(good()), act]).await;
        let source = source(&upstream.url(), "");
        assert!(fetch(&source, STREAMER).await.is_ok());
        let seen = failure(fetch(&source, STREAMER).await);
        assert_eq!(seen, ("transient", reason.to_owned(), None));
        assert_eq!(upstream.requests().len(), requests, "{reason}");
    }
}

#[tokio::test]
async fn connection_with_a_refused_response_is_not_kept() {
    let refused = Act::Answer(answer("503 Unavailable", "", "later"));
    let upstream = RawUpstream::bind(vec![refused, Act::Answer(good())]).await;
    let source = source(&upstream.url(), "");
    assert_eq!(failure(fetch(&source, STREAMER).await).1, "HTTP_STATUS_503");
    assert!(fetch(&source, STREAMER).await.is_ok());
    until("a second connection", async || upstream.connections() == 2).await;
}
