//! Requests of arbitrary bytes to a running server.

use std::{net::SocketAddr, sync::OnceLock};

use bytes::Bytes;
use grantmint::{
    app::{App, Running},
    clock::Clock,
    config::Config,
    provider,
    sandbox::{self, Sandbox},
};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, runtime::Runtime};
use tonic::{Code, Status};
use tonic_types::StatusExt;

type Client = http2::SendRequest<Full<Bytes>>;

struct Served {
    runtime: Runtime,
    client: Client,
    _sandbox: Sandbox,
    _running: Running,
}

fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let (client, sandbox, running) = runtime.block_on(serve());
        Served { runtime, client, _sandbox: sandbox, _running: running }
    })
}

async fn serve() -> (Client, Sandbox, Running) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let demo = provider::demo().expect("a demo");
    let endpoint = demo.endpoint().expect("an upstream");
    let emulated = sandbox::Config::new(vec![endpoint]);
    let sandbox = Sandbox::bind(any.into(), emulated, Clock::system()).await.expect("a sandbox");
    let text = format!(
        "{}upstream = \"{}\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        provider::configuration(std::slice::from_ref(&demo)),
        sandbox.base_url().to_string().trim_end_matches('/')
    );
    let secret = |name: &str| demo.variable(name);
    let config = Config::parse_with("fuzz.toml", &text, &secret).expect("a good configuration");
    let app = App::build(&config, Clock::system()).await.expect("a server");
    let addr = app.addr().expect("TCP");
    let running = app.spawn();
    let stream = TcpStream::connect(addr).await.expect("a connection");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    (client, sandbox, running)
}

/// Any bytes of a mint request receive a token or a documented code. The first byte selects the
/// method.
pub fn mint_request(data: &[u8]) {
    let Some((method, message)) = data.split_first() else { return };
    let path = if method % 2 == 0 { "MintToken" } else { "MintTokens" };
    let served = served();
    let status = served.runtime.block_on(call(&served.client, path, message));
    let reason = status.get_details_error_info().map(|info| info.reason);
    match status.code() {
        Code::Ok => {}
        // Only bytes that are not protobuf.
        Code::Internal => assert_eq!(reason, None, "a bug met: {status:?}"),
        Code::InvalidArgument | Code::NotFound | Code::Unavailable | Code::DeadlineExceeded => {
            assert!(reason.is_some(), "no reason: {status:?}");
        }
        _ => panic!("not documented: {status:?}"),
    }
}

async fn call(client: &Client, method: &str, message: &[u8]) -> Status {
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    let body: Bytes = [&[0], &length[..], message].concat().into();
    let request = Request::post(format!("http://grantmint/grantmint.v1.TokenService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        // Many selections take long.
        .header("grpc-timeout", "200m")
        .body(Full::new(body))
        .expect("a request");
    let mut client = client.clone();
    client.ready().await.expect("the server continues");
    let answer = client.send_request(request).await.expect("an answer");
    let (head, mut body) = answer.into_parts();
    let of = |headers: &HeaderMap| Status::from_header_map(headers);
    if let Some(status) = of(&head.headers) {
        return status;
    }
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("no reset");
        if let Some(status) = frame.trailers_ref().and_then(of) {
            return status;
        }
        received += frame.into_data().map_or(0, |data| data.len());
        // A long bulk call that succeeds.
        if received > 1 << 20 {
            return Status::new(Code::Ok, "");
        }
    }
    panic!("an answer without a status");
}
