//! A Workload API, as an agent of SPIRE serves it to who sends its header.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{self, Poll},
};

use futures_util::{
    Stream, StreamExt,
    future::{BoxFuture, Ready, ready},
    stream,
};
use prost::Message;
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::watch, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::pki::Entity;

/// `X509SVIDRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AskForSvids {}

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: std::collections::BTreeMap<String, Vec<u8>>,
}

/// `X509SVID`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) chain: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

/// Certificates in DER, one after the other.
pub(super) fn ders(certificates: &[&Entity]) -> Vec<u8> {
    certificates.iter().flat_map(|entity| entity.certificate.to_vec()).collect()
}

impl Svid {
    /// Of this name, with this certificate; `bundle` vouches for its trust domain.
    pub(super) fn new(id: &str, certificate: &Entity, bundle: &[&Entity]) -> Self {
        Self {
            spiffe_id: id.to_owned(),
            chain: ders(&[certificate]),
            key: certificate.key().secret_der().to_vec(),
            bundle: ders(bundle),
            hint: "internal".to_owned(),
        }
    }
}

impl From<Svid> for Answer {
    fn from(svid: Svid) -> Self {
        Self { svids: vec![svid], ..Self::default() }
    }
}

/// What the agent has for whoever asks.
#[derive(Clone)]
pub(super) enum Has {
    /// Nothing yet: it lets them wait.
    Nothing,
    /// There is no entry for them.
    NoEntry,
    /// These.
    Svids(Answer),
    /// It is about to end.
    Ended,
}

/// An agent that serves on a Unix socket of its own.
pub(super) struct Agent {
    dir: TempDir,
    has: watch::Sender<Has>,
    serving: JoinHandle<()>,
}

impl Agent {
    pub(super) fn new(has: Has) -> Self {
        let dir = TempDir::new().expect("a directory");
        let has = watch::Sender::new(has);
        let serving = serve(&dir.path().join("agent.sock"), has.subscribe());
        Self { dir, has, serving }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    /// Sends this to all who ask and have asked.
    pub(super) fn send(&self, has: Has) {
        self.has.send_replace(has);
    }

    /// Ends, with every call and its socket.
    pub(super) fn stop(&mut self) {
        self.send(Has::Ended);
        self.serving.abort();
        fs::remove_file(self.socket()).expect("removed");
    }

    /// Starts again at the same place.
    pub(super) fn start(&mut self, has: Has) {
        self.has = watch::Sender::new(has);
        self.serving = serve(&self.socket(), self.has.subscribe());
    }
}

fn serve(socket: &Path, has: watch::Receiver<Has>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let incoming = stream::unfold(listener, async |listener| {
        let accepted: io::Result<_> = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    tokio::spawn(async move {
        let served = Server::builder().add_service(Api(has)).serve_with_incoming(incoming).await;
        served.expect("it serves");
    })
}

#[derive(Clone)]
struct Api(watch::Receiver<Has>);

impl NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fetch = Fetch(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != "/SpiffeWorkloadAPI/FetchX509SVID" {
                return Ok(Status::unimplemented("another method").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).server_streaming(fetch, request).await)
        })
    }
}

struct Fetch(watch::Receiver<Has>);

type Sent = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

impl ServerStreamingService<AskForSvids> for Fetch {
    type Response = Answer;
    type ResponseStream = Sent;
    type Future = Ready<Result<Response<Sent>, Status>>;

    fn call(&mut self, request: Request<AskForSvids>) -> Self::Future {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|value| value != "true") {
            return ready(Err(Status::invalid_argument("security header missing from request")));
        }
        let mut has = self.0.clone();
        has.mark_changed();
        let sent = stream::unfold(has, async |mut has| {
            loop {
                if has.changed().await.is_err() {
                    return None;
                }
                let sent = match has.borrow_and_update().clone() {
                    Has::Nothing => continue,
                    Has::NoEntry => Err(Status::permission_denied("no identity issued")),
                    Has::Svids(svids) => Ok(svids),
                    Has::Ended => Err(Status::unavailable("the agent ends")),
                };
                return Some((sent, has));
            }
        });
        ready(Ok(Response::new(sent.boxed())))
    }
}
