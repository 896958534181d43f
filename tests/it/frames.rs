//! HTTP/2 in raw frames, for clients that no library would be.

use std::net::SocketAddr;

use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
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

/// The reason of a stream that its server gives up.
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

/// A call's HEADERS, whose body never comes.
pub(crate) fn half_a_call(stream: u32) -> Vec<u8> {
    let block = call_headers("/grantmint.v1.TokenService/MintToken");
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A whole call.
pub(crate) fn call(stream: u32, path: &str, request: &impl Message) -> Vec<u8> {
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    let head = frame(HEADERS, END_HEADERS, stream, &call_headers(path));
    [head, frame(DATA, END_STREAM, stream, &body)].concat()
}

/// A window opened by that many bytes, on a stream or (0) on the connection.
pub(crate) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A connection after its preface.
pub(crate) struct Conversation {
    pub(crate) read: OwnedReadHalf,
    pub(crate) write: OwnedWriteHalf,
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Conversation {
    /// With the windows that HTTP/2 begins with.
    pub(crate) async fn begin(addr: SocketAddr) -> Self {
        Self::with_settings(addr, &[]).await
    }

    /// With this first window of each stream.
    pub(crate) async fn with_window(addr: SocketAddr, window: u32) -> Self {
        Self::with_settings(addr, &[&[0, 4][..], &window.to_be_bytes()].concat()).await
    }

    async fn with_settings(addr: SocketAddr, settings: &[u8]) -> Self {
        let stream = soon(TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, mut write) = stream.into_split();
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
        write.write_all(&hello).await.unwrap();
        Self { read, write }
    }

    /// The next frame; none where the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        next_frame(&mut self.read).await
    }

    /// The next frame's kind and payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let Frame { kind, payload, .. } = self.next().await.expect("a frame");
        (kind, payload)
    }

    /// Sends this; whether the other end still takes it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        soon(self.write.write_all(bytes)).await.is_ok()
    }
}

/// The next frame; none where the connection has ended.
pub(crate) async fn next_frame(read: &mut OwnedReadHalf) -> Option<Frame> {
    let mut head = [0; 9];
    soon(read.read_exact(&mut head)).await.ok()?;
    let [high, mid, low, kind, _, stream @ ..] = head;
    let length = u32::from_be_bytes([0, high, mid, low]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    soon(read.read_exact(&mut payload)).await.ok()?;
    Some(Frame { kind, stream: u32::from_be_bytes(stream), payload })
}

/// A connection from another address of this machine.
pub(crate) async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    soon(socket.connect(to)).await.unwrap()
}
