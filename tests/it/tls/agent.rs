//! A Workload API like that of a SPIRE agent, for clients that send its header.

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
pub(super) struct SvidRequest {}

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SvidResponse {
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

/// Certificates in DER, concatenated.
pub(super) fn ders(certificates: &[&Entity]) -> Vec<u8> {
    certificates.iter().flat_map(|entity| entity.certificate.to_vec()).collect()
}

impl Svid {
    /// An SVID with this name and certificate; `bundle` verifies its trust domain.
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

impl From<Svid> for SvidResponse {
    fn from(svid: Svid) -> Self {
        Self { svids: vec![svid], ..Self::default() }
    }
}

/// What the agent sends to its clients.
#[derive(Clone)]
pub(super) enum Content {
    /// Nothing yet: clients wait.
    Nothing,
    /// There is no entry for the client.
    NoEntry,
    /// These SVIDs and bundles.
    Svids(SvidResponse),
    /// The agent is shutting down.
    Ended,
}

/// An agent on its own Unix socket.
pub(super) struct Agent {
    dir: TempDir,
    content: watch::Sender<Content>,
    serving: JoinHandle<()>,
}

impl Agent {
    pub(super) fn new(content: Content) -> Self {
        let dir = TempDir::new().expect("a directory");
        let content = watch::Sender::new(content);
        let serving = serve(&dir.path().join("agent.sock"), content.subscribe());
        Self { dir, content, serving }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    /// Sends this to all current and future clients.
    pub(super) fn send(&self, content: Content) {
        self.content.send_replace(content);
    }

    /// Stops, closing every call and the socket.
    pub(super) fn stop(&mut self) {
        self.send(Content::Ended);
        self.serving.abort();
        fs::remove_file(self.socket()).expect("removed");
    }

    /// Starts again on the same path.
    pub(super) fn start(&mut self, content: Content) {
        self.content = watch::Sender::new(content);
        self.serving = serve(&self.socket(), self.content.subscribe());
    }
}

fn serve(socket: &Path, content: watch::Receiver<Content>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let incoming = stream::unfold(listener, async |listener| {
        let accepted: io::Result<_> = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    tokio::spawn(async move {
        let served =
            Server::builder().add_service(Api(content)).serve_with_incoming(incoming).await;
        served.expect("a running server");
    })
}

#[derive(Clone)]
struct Api(watch::Receiver<Content>);

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

struct Fetch(watch::Receiver<Content>);

type Sent = Pin<Box<dyn Stream<Item = Result<SvidResponse, Status>> + Send>>;

impl ServerStreamingService<SvidRequest> for Fetch {
    type Response = SvidResponse;
    type ResponseStream = Sent;
    type Future = Ready<Result<Response<Sent>, Status>>;

    fn call(&mut self, request: Request<SvidRequest>) -> Self::Future {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|value| value != "true") {
            return ready(Err(Status::invalid_argument("security header missing from request")));
        }
        let mut content = self.0.clone();
        content.mark_changed();
        let sent = stream::unfold(content, async |mut content| {
            loop {
                if content.changed().await.is_err() {
                    return None;
                }
                let sent = match content.borrow_and_update().clone() {
                    Content::Nothing => continue,
                    Content::NoEntry => Err(Status::permission_denied("no identity issued")),
                    Content::Svids(svids) => Ok(svids),
                    Content::Ended => Err(Status::unavailable("the agent ends")),
                };
                return Some((sent, content));
            }
        });
        ready(Ok(Response::new(sent.boxed())))
    }
}
