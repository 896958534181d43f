//! Gateways that add to a response: harmless additions are accepted, ambiguous framing is refused.

use super::{Act, RawUpstream, failure, fetch, good, source};
use crate::wire::upstream::STREAMER;

fn body() -> String {
    good().split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A valid response with these header lines.
fn with(headers: &str) -> String {
    good().replacen("\r\n", &format!("\r\n{headers}"), 1)
}

/// A valid response with this status line.
fn status(line: &str) -> String {
    good().replacen("HTTP/1.1 201 Created", line, 1)
}

/// A valid response with its body in chunks.
fn chunked(headers: &str, end: &str) -> String {
    let body = body();
    let (first, rest) = body.split_at(7);
    let rest_length = rest.len();
    format!(
        "HTTP/1.1 201 Created\r\n{headers}\r\n\
         7;name=value;other=\"a;b\"\r\n{first}\r\n{rest_length:05X} ; x\r\n{rest}\r\n0{end}"
    )
}

/// A valid response with this body.
fn with_body(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 201 Created\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn harmless_additions_are_accepted() {
    let length = format!("content-length: {}\r\n", body().len());
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nx: y\r\n\r\n\
                 HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n";
    let chunks = "Transfer-Encoding: Chunked\r\n";
    let many = "x-gateway: y\r\n".repeat(800);
    let cases = [
        with("Content-Encoding: identity\r\n"),
        with("content-encoding:\r\n"),
        with("CONTENT-ENCODING: Identity , IDENTITY\r\nContent-Encoding: , identity\r\n"),
        with("Content-Type: application/json; charset=utf-8\r\n"),
        with("content-type: Text/Plain;charset=\"UTF-8\"\r\ncontent-type: x\r\n"),
        with("Via: 1.1 a\r\nVIA: 1.1 b\r\nset-cookie: a=b\r\nset-cookie: c=d\r\nx-empty:\r\n"),
        with("Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nKeep-Alive: timeout=5\r\n"),
        with("connection: close\r\nconnection: keep-alive\r\n"),
        with("x-folded: a\r\n b\r\n\tc\r\nwarning : 110 - \"stale\u{e9}\"\r\n"),
        with("date: yesterday\r\ndate: today\r\nage: 0\r\nx-tab:\ta\tb\r\n"),
        with(&format!("x-long: {}\r\n", "y".repeat(50_000))),
        with(&many),
        with(&length),
        with(&length.replacen(": ", ": 00", 1)),
        good().replacen("content-length: ", &format!("content-length: {}, ", body().len()), 1),
        status("HTTP/1.1 200"),
        status("HTTP/1.1 200 "),
        status("HTTP/1.1 200 \u{fc}ber   gut\t!"),
        status("HTTP/1.0 200 OK"),
        status("HTTP/1.0 200 OK\r\nconnection: keep-alive"),
        format!("\r\n{}", good()),
        good().replace("\r\n", "\n"),
        format!("{early}{}", good()),
        chunked(chunks, "\r\n\r\n"),
        chunked(chunks, ";last\r\ngrpc-status: 0\r\nx-checksum: 7\r\nx-checksum: 8\r\n\r\n"),
        format!("{early}{}", chunked(chunks, "\r\n\r\n")),
        with_body(&format!(" \r\n\t{}\n\r\n ", body())),
        with_body(&format!("\u{feff}{}", body())),
        with_body(&format!("\u{feff}\r\n{}\r\n", body())),
    ];
    for text in cases {
        let upstream = RawUpstream::bind(vec![Act::Answer(text.clone())]).await;
        let source = source(&upstream.url(), "");
        for _ in 0..2 {
            let fetched = fetch(&source, STREAMER).await;
            assert!(fetched.is_ok(), "{fetched:?}: {text:.300}");
        }
    }
    // The body ends with the connection.
    for head in ["HTTP/1.1 201 Created", "HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nconnection: close"]
    {
        let text = format!("{head}\r\ncontent-type: application/json\r\n\r\n{}", body());
        let upstream = RawUpstream::bind(vec![Act::Last(text)]).await;
        let source = source(&upstream.url(), "");
        for _ in 0..2 {
            assert!(fetch(&source, STREAMER).await.is_ok(), "{head}");
        }
    }
    // Bytes after a response are not part of the next one.
    let behind = Act::Answer(format!("{}\r\nHTTP/1.1 500 No\r\n\r\n", good()));
    let upstream = RawUpstream::bind(vec![behind]).await;
    let source = source(&upstream.url(), "");
    for _ in 0..3 {
        assert!(fetch(&source, STREAMER).await.is_ok());
    }
}

#[tokio::test]
async fn ambiguous_or_encoded_responses_are_refused() {
    let length = body().len();
    let many = "x-gateway: y\r\n".repeat(2_000);
    let gzip = "transfer-encoding: gzip, chunked\r\n";
    let both = format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n");
    let cases = [
        (with("content-length: 5\r\n"), "MALFORMED_ANSWER"),
        (with("content-length: -1\r\n"), "MALFORMED_ANSWER"),
        (good().replacen("content-length: ", "content-length: 5, ", 1), "MALFORMED_ANSWER"),
        (good().replacen("content-length: ", "content-length: +", 1), "MALFORMED_ANSWER"),
        (chunked(&both, "\r\n\r\n"), "MALFORMED_ANSWER"),
        (status("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked"), "MALFORMED_ANSWER"),
        (status("HTTP/2.0 200 OK"), "MALFORMED_ANSWER"),
        (with(" x: y\r\n"), "MALFORMED_ANSWER"),
        (with(&many), "MALFORMED_ANSWER"),
        (with_body(&format!("\u{feff}\u{feff}{}", body())), "MALFORMED_ANSWER"),
        (with("content-encoding: identity, gzip\r\n"), "ENCODED_ANSWER"),
        (with("content-encoding: identity\r\ncontent-encoding: BR\r\n"), "ENCODED_ANSWER"),
        (chunked(gzip, "\r\n\r\n"), "ENCODED_ANSWER"),
    ];
    for (text, reason) in cases {
        let upstream = RawUpstream::bind(vec![Act::Answer(text.clone())]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        assert_eq!(seen, ("transient", reason.to_owned(), None), "{text:.300}");
        assert_eq!(upstream.requests().len(), 1, "{text:.300}");
    }
}
