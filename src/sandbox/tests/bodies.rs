//! Bodies that no client should accept, as sent on the wire.

use super::*;

/// Everything received on a connection after one request, until it closes.
async fn raw(sandbox: &Sandbox) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    ask_raw(&mut stream).await;
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let at = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let body = bytes.split_off(at + 4);
    (String::from_utf8(bytes).unwrap(), body)
}

#[tokio::test]
async fn cut_body_ends_in_the_middle() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=cut"));
    let (head, body) = raw(&sandbox).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
    assert!(body.starts_with(b"{\"credential\""));
}

#[tokio::test]
async fn huge_body_is_followed_by_white_space() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=huge"));
    let reply = ask(&sandbox).await;
    assert_eq!((reply.body.len(), &reply.json()["life"]), (1024 * 1024, &json!(60)));
    assert_eq!(reply.headers[header::CONTENT_LENGTH], "1048576");
}

#[tokio::test]
async fn endless_body_continues_until_the_client_leaves() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=endless"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    ask_raw(&mut stream).await;
    let mut bytes = Vec::new();
    while bytes.len() < 200_000 {
        assert!(within(stream.read_buf(&mut bytes)).await.unwrap() > 0, "it ended");
    }
    let head = String::from_utf8_lossy(&bytes[..400]).into_owned();
    assert!(
        head.contains("transfer-encoding: chunked") && head.contains("{\"credential\""),
        "{head}"
    );
}

#[tokio::test]
async fn slow_body_sends_a_byte_per_second() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=slow"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    ask_raw(&mut stream).await;
    let mut bytes = Vec::new();
    let start = tokio::time::Instant::now();
    while !bytes.ends_with(b"\r\n\r\n{\"") {
        assert!(within(stream.read_buf(&mut bytes)).await.unwrap() > 0, "it ended");
    }
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(String::from_utf8_lossy(&bytes).contains("content-length: "));
}

#[tokio::test]
async fn gzip_body_is_labeled_gzip() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=gzip"));
    let reply = ask(&sandbox).await;
    assert_eq!(reply.headers[header::CONTENT_ENCODING], "gzip");
    assert!(reply.body.starts_with(&[0x1f, 0x8b]));
    // One stored block, with 15 bytes before it and 8 after it.
    let stored = reply.body.slice(15..reply.body.len() - 8);
    let inside: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(inside["key"], KEY);
}

#[tokio::test]
async fn truncated_body_stops_in_the_middle() {
    let sandbox = demo().await;
    let whole = ask(&sandbox).await.body.len();
    sandbox.set_fault(fault("body=truncated"));
    let reply = ask(&sandbox).await;
    let error = serde_json::from_slice::<Value>(&reply.body).unwrap_err();
    assert!(error.is_eof() && reply.body.len() == whole / 2, "{error}");
    sandbox.set_fault(fault("body-text=[1]"));
    assert_eq!(ask(&sandbox).await.body, "[1]");
    assert_eq!(sandbox.counters().granted, 1);
}

#[tokio::test]
async fn idle_connection_is_closed_without_notice() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("keep-alive=0s"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    // The client keeps the connection open.
    ask_raw(&mut stream).await;
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with('}'), "{answer}");
    assert!(!answer.to_lowercase().contains("connection:"), "{answer}");

    // Neither while in use nor after a response without the fault.
    sandbox.set_fault(fault("keep-alive=10ms,requests=1"));
    sandbox.add_fault(fault("latency=50ms,requests=2"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    for _ in 0..3 {
        ask_raw(&mut stream).await;
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            assert!(within(stream.read_buf(&mut bytes)).await.unwrap() > 0, "closed");
        }
    }
}
