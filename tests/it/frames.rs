//! HTTP/2 in raw frames, for clients that misbehave as no library does.

use std::net::SocketAddr;

use prost::Message;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpSocket, TcpStream},
};

use crate::support::soon;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The error code of a stream that the server cancels.
pub(crate) const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a call.
pub(crate) fn call_headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend(b"\x01\x01x\x0f\x10\x10application/grpc\x00\x02te\x08trailers");
    block
}

/// A call's HEADERS without its body.
pub(crate) fn half_a_call(stream: u32) -> Vec<u8> {
    let block = call_headers("/grantmint.v1.TokenService/MintToken");
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A complete call.
pub(crate) fn call(stream: u32, path: &str, request: &impl Message) -> Vec<u8> {
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    let head = frame(HEADERS, END_HEADERS, stream, &call_headers(path));
    [head, frame(DATA, END_STREAM, stream, &body)].concat()
}

/// Enlarges the window of a stream, or of the connection (0), by this many bytes.
pub(crate) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// The transport of HTTP/2.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) type Read = ReadHalf<Box<dyn Stream>>;
pub(crate) type Write = WriteHalf<Box<dyn Stream>>;

/// A connection after its preface.
pub(crate) struct Conversation {
    pub(crate) read: Read,
    pub(crate) write: Write,
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Conversation {
    /// With HTTP/2's default windows.
    pub(crate) async fn begin(addr: SocketAddr) -> Self {
        Self::over(connect(addr).await, None).await
    }

    /// Over this transport, with this initial window for each HTTP/2 stream or the default.
    pub(crate) async fn over(stream: impl Stream + 'static, window: Option<u32>) -> Self {
        let (read, mut write) = io::split(Box::new(stream) as Box<dyn Stream>);
        let settings = window.map(|window| [&[0, 4][..], &window.to_be_bytes()].concat());
        let settings = frame(SETTINGS, 0, 0, &settings.unwrap_or_default());
        assert!(send(&mut write, &[PREFACE, &settings].concat()).await);
        Self { read, write }
    }

    /// The next frame, or none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        next_frame(&mut self.read).await
    }

    /// The next frame's kind and payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let Frame { kind, payload, .. } = self.next().await.expect("a frame");
        (kind, payload)
    }

    /// Sends bytes; returns whether the peer still accepts them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        send(&mut self.write, bytes).await
    }
}

/// Sends bytes; returns whether the peer still accepts them.
pub(crate) async fn send(write: &mut Write, bytes: &[u8]) -> bool {
    let sent = async {
        write.write_all(bytes).await?;
        // A TLS session may have buffered some of it.
        write.flush().await
    };
    soon(sent).await.is_ok()
}

/// The next frame, or none at the end of the connection.
pub(crate) async fn next_frame(read: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    soon(read.read_exact(&mut head)).await.ok()?;
    let [high, mid, low, kind, _, stream @ ..] = head;
    let length = u32::from_be_bytes([0, high, mid, low]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    soon(read.read_exact(&mut payload)).await.ok()?;
    Some(Frame { kind, stream: u32::from_be_bytes(stream), payload })
}

/// A connection without Nagle's delay.
pub(crate) async fn connect(to: SocketAddr) -> TcpStream {
    let stream = soon(TcpStream::connect(to)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection from another loopback address.
pub(crate) async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    soon(socket.connect(to)).await.unwrap()
}
