//! The upstream client over real TCP: what it accepts, what it refuses and why, and how it handles
//! an upstream that misbehaves.

mod additions;
mod answers;
mod connections;
mod sandboxed;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use grantmint::{
    clock::Clock,
    config::Config,
    name::Resource,
    provider::twilio_live::DEMO_API_KEY_SECRET,
    source::{FetchError, FetchRequest, Fetched, GrantSource, Urgency},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::harness::profile;

/// What an upstream does with a request.
#[derive(Clone, Debug)]
enum Act {
    /// Responds, and keeps the connection.
    Answer(String),
    /// Responds, and closes the connection.
    Last(String),
    /// Closes the connection without a response.
    Close,
    /// Resets the connection.
    Reset,
    /// Responds, then repeats this text with a pause each time.
    GoesOn(String, &'static str, Duration),
    /// Never responds.
    Hang,
}

/// An upstream that writes raw bytes: it follows the list request by request, and repeats the last
/// entry.
struct RawUpstream {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    serving: AbortHandle,
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl RawUpstream {
    async fn bind(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, requests) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, log) = (Arc::clone(&connections), Arc::clone(&requests));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, acts.clone(), Arc::clone(&log)));
            }
        });
        Self { addr, connections, requests, serving: serving.abort_handle() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, acts: Vec<Act>, log: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        let at = {
            let mut log = log.lock().unwrap();
            log.push(request);
            log.len() - 1
        };
        match acts.get(at).or_else(|| acts.last()).cloned().expect("an act") {
            Act::Answer(answer) => drop(stream.write_all(answer.as_bytes()).await),
            Act::Last(answer) => return drop(stream.write_all(answer.as_bytes()).await),
            Act::Close => return,
            Act::Reset => return drop(stream.set_zero_linger()),
            Act::GoesOn(answer, more, pause) => {
                let mut sent = stream.write_all(answer.as_bytes()).await;
                while sent.is_ok() {
                    tokio::time::sleep(pause).await;
                    sent = stream.write_all(more.as_bytes()).await;
                }
                return;
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

/// Head and body as text, or none at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        let read = stream.read_buf(&mut bytes).await.ok()?;
        if read == 0 {
            return None;
        }
    }
}

/// A response with this status line, these header lines and this body.
fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

const STREAMER: &str = "VJa1b2c3d4e5f60718293a4b5c6d7e8f90";

/// A valid response for [`STREAMER`].
fn good() -> String {
    let grant =
        format!(r#"{{"playbackUrl":"https://v.example/a.m3u8","playerStreamerSid":"{STREAMER}"}}"#);
    answer("201 Created", "", &format!(r#"{{"sid":"{STREAMER}","grant":{grant}}}"#))
}

/// The source of a profile with this upstream and extra keys.
fn source(upstream: &str, more: &str) -> Arc<dyn GrantSource> {
    source_by(Clock::system(), upstream, more)
}

/// The same with another clock.
fn source_by(clock: Clock, upstream: &str, more: &str) -> Arc<dyn GrantSource> {
    let text = profile("live", &[STREAMER], more).replace("UPSTREAM", upstream);
    let env = |_: &str| Some(DEMO_API_KEY_SECRET.to_owned());
    let config = Config::parse_with("test.toml", &text, &env).unwrap_or_else(|e| panic!("{e}"));
    let profile = &config.profiles[0];
    let upstream = profile.provider.upstream().unwrap();
    upstream.source(
        clock,
        &upstream.egress().unwrap(),
        profile.grants().unwrap().policy.grant_ttl(),
    )
}

async fn fetch(source: &Arc<dyn GrantSource>, resource: &str) -> Result<Fetched, FetchError> {
    let request = FetchRequest {
        resource: Resource::parse(resource).unwrap(),
        urgency: Urgency::Early,
        give_up_at: Clock::system().now().boot,
    };
    crate::support::soon(source.fetch(request)).await
}

/// A failed fetch's class, reason and Retry-After.
fn failure(fetched: Result<Fetched, FetchError>) -> (&'static str, String, Option<Duration>) {
    match fetched {
        Err(FetchError::Failed { fault, retry_after }) => {
            (fault.class.as_str(), fault.reason.into_owned(), retry_after)
        }
        other => panic!("not a failure: {other:?}"),
    }
}
