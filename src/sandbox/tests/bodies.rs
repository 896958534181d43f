//! Bodies that no client should take, as they are on the wire.

use super::*;

/// All that comes back on a connection that asks once, up to its end.
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
async fn a_cut_body_ends_in_the_middle_of_its_length() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=cut"));
    let (head, body) = raw(&sandbox).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
    assert!(body.starts_with(b"{\"credential\""));
}

#[tokio::test]
async fn a_huge_body_is_a_good_one_with_white_space_behind() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=huge"));
    let reply = ask(&sandbox).await;
    assert_eq!((reply.body.len(), &reply.json()["life"]), (1024 * 1024, &json!(60)));
    assert_eq!(reply.headers[header::CONTENT_LENGTH], "1048576");
}

#[tokio::test]
async fn an_endless_body_goes_on_until_the_client_goes() {
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
async fn a_slow_body_takes_a_second_a_byte() {
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
async fn a_gzip_body_is_said_to_be_one() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("body=gzip"));
    let reply = ask(&sandbox).await;
    assert_eq!(reply.headers[header::CONTENT_ENCODING], "gzip");
    assert!(reply.body.starts_with(&[0x1f, 0x8b]));
    // Its one block is stored as it is: 15 bytes before it, 8 behind.
    let stored = reply.body.slice(15..reply.body.len() - 8);
    let inside: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(inside["key"], KEY);
}

#[tokio::test]
async fn a_truncated_body_stops_in_the_middle() {
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
async fn an_idle_connection_is_closed_without_a_word() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("keep-alive=0s"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    // Not told to close it by the client.
    ask_raw(&mut stream).await;
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with('}'), "{answer}");
    assert!(!answer.to_lowercase().contains("connection:"), "{answer}");

    // Not while it is used, and not after an answer that met no fault.
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
