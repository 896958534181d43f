//! Traces of the real binary, received by a collector that speaks OTLP's official messages.

pub(crate) mod collector;
mod export;
mod log;

use std::collections::BTreeMap;

use grantmint::{
    provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_RESOURCE},
    rpc::proto::{MintOptions, MintTokenRequest, MintTokenResponse},
};
use tonic::{Code, Request, Response, Status};

pub(crate) use self::collector::Collector;
use self::collector::Received;
use crate::{
    markers::Markers,
    support::{Configured, Serve, mint, series, soon},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A server that exports to this endpoint this share of what has no parent. `top` precedes it.
async fn serve(top: &str, endpoint: &str, sample: &str, arguments: &[&str]) -> Serve {
    let top = format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\nsample = {sample}\n{top}");
    let config = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
    Serve::configured(&config, arguments).await
}

/// A call in a trace, with these flags.
async fn call(
    serve: &Serve,
    flags: &str,
    request: MintTokenRequest,
) -> Result<Response<MintTokenResponse>, Status> {
    let mut request = Request::new(request);
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().expect("ASCII"));
    request.metadata_mut().insert("tracestate", "vendor=1".parse().expect("ASCII"));
    soon(serve.tokens().await.mint_token(request)).await
}

/// Everything that was received, once the server has ended.
async fn ended(serve: Serve, collector: &Collector) -> Vec<Received> {
    serve.signal("INT");
    assert_eq!(serve.ended().await.0.code(), Some(0));
    collector.spans()
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn only_calls_with_a_sampled_parent_are_recorded() {
    let collector = Collector::start().await;
    let serve = serve("", &collector.url, "0", &[]).await;
    serve.first_token().await;
    call(&serve, "00", mint("viewer", None)).await.expect("a token");
    call(&serve, "01", mint("viewer", None)).await.expect("a token");
    let invalid = call(&serve, "01", mint("", None)).await.expect_err("refused");
    assert_eq!(invalid.code(), Code::InvalidArgument);
    let spans = ended(serve, &collector).await;
    let [served, refused] = &spans[..] else { panic!("{spans:?}") };
    for span in [served, refused] {
        assert_eq!(span.name, "grantmint.v1.TokenService/MintToken");
        assert_eq!((&*span.trace_id, &*span.parent_id), (TRACE, PARENT));
        assert_eq!((span.kind, &*span.state, span.flags), (2, "vendor=1", 0x301));
        assert!(!span.is_error && span.took_nanos > 0, "{span:?}");
        assert_eq!(span.service, "grantmint");
    }
    assert_ne!(served.span_id, refused.span_id);
    let of_code = |code| {
        attributes(&[
            ("rpc.method", "grantmint.v1.TokenService/MintToken"),
            ("rpc.response.status_code", code),
            ("rpc.system.name", "grpc"),
        ])
    };
    assert_eq!(served.attributes, of_code("OK"));
    assert_eq!(refused.attributes, of_code("INVALID_ARGUMENT"));
}

#[tokio::test]
async fn failed_call_is_an_error_with_its_wait_inside() {
    let collector = Collector::start().await;
    let serve = serve("", &collector.url, "0", &["--fault", "status=503"]).await;
    let status = call(&serve, "01", mint("viewer", None)).await.expect_err("no grant");
    assert_eq!(status.code(), Code::Unavailable);
    let spans = ended(serve, &collector).await;
    let [wait, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*wait.name, &*wait.parent_id, wait.kind), ("wait for grant", &*call.span_id, 1));
    assert_eq!((&*wait.trace_id, wait.flags), (TRACE, 0x101));
    let expected = [("error.type", "grant_pending"), ("grantmint.profile", "demo")];
    assert_eq!(wait.attributes, attributes(&expected));
    assert!(wait.is_error && call.is_error);
    assert_eq!(call.attributes["error.type"], "UNAVAILABLE");
    assert!(call.took_nanos >= wait.took_nanos, "{spans:?}");
}

#[tokio::test]
async fn bulk_and_unknown_methods_have_spans() {
    let collector = Collector::start().await;
    let serve = serve("", &collector.url, "1", &[]).await;
    serve.first_token().await;
    let mut chunks =
        soon(serve.tokens().await.mint_tokens(series(0, 200))).await.expect("a bulk").into_inner();
    while soon(chunks.message()).await.expect("no error").is_some() {}
    let channel = serve.channel().await;
    let mut other = tonic::client::Grpc::new(channel);
    soon(other.ready()).await.expect("ready");
    let path = http::uri::PathAndQuery::from_static("/planted.Service/Method");
    let codec = tonic_prost::ProstCodec::<MintTokenRequest, MintTokenResponse>::default();
    let request = Request::new(mint("viewer", None));
    let unknown = soon(other.unary(request, path, codec)).await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::Unimplemented);
    let spans = ended(serve, &collector).await;
    let of_name = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let [bulk] = &of_name("grantmint.v1.TokenService/MintTokens")[..] else { panic!("{spans:?}") };
    assert_eq!(bulk.attributes["rpc.response.status_code"], "OK");
    assert_eq!(bulk.parent_id, "");
    let [unknown] = &of_name("_OTHER")[..] else { panic!("{spans:?}") };
    assert!(unknown.is_error);
    assert_eq!(unknown.attributes["error.type"], "UNIMPLEMENTED");
    assert!(!format!("{spans:?}").contains("planted"));
}

#[tokio::test]
async fn refresh_holds_its_upstream_exchange() {
    let collector = Collector::start().await;
    let hidden = "[admin]\ndetails = false\n";
    let serve = serve(hidden, &collector.url, "1", &["--fault", "status=503,times=1"]).await;
    serve.first_token().await;
    let spans = ended(serve, &collector).await;
    let named = |name| spans.iter().filter(move |span| span.name == name);
    let refreshes: Vec<_> = named("refresh").collect();
    let exchanges: Vec<_> = named("POST").collect();
    assert_eq!((refreshes.len(), exchanges.len()), (2, 2), "{spans:?}");
    for ((refresh, exchange), (result, status)) in
        refreshes.iter().zip(exchanges).zip([("transient", "503"), ("ok", "201")])
    {
        assert_eq!((refresh.kind, &*refresh.parent_id), (1, ""));
        assert_eq!((exchange.kind, &exchange.parent_id), (3, &refresh.span_id));
        assert_eq!(exchange.trace_id, refresh.trace_id);
        assert_eq!(refresh.attributes["grantmint.refresh.result"], result);
        assert_eq!(refresh.attributes["grantmint.profile"], "demo");
        assert_eq!(refresh.attributes["grantmint.resource"].len(), 12);
        assert_eq!(exchange.attributes["http.response.status_code"], status);
        assert_eq!(exchange.attributes["server.address"], "127.0.0.1");
        let failed = result != "ok";
        assert_eq!((refresh.is_error, exchange.is_error), (failed, failed));
        let keys: Vec<_> = exchange.attributes.keys().filter(|it| *it != "error.type").collect();
        let expected =
            ["http.request.method", "http.response.status_code", "server.address", "server.port"];
        assert_eq!(keys, expected);
    }
    assert_eq!(refreshes[0].attributes["error.type"], "HTTP_STATUS_503");
    Markers::of(&[DEMO_RESOURCE]).in_none_of("a trace", &collector.text());
}

#[tokio::test]
async fn trace_names_no_identity() {
    let collector = Collector::start().await;
    let serve = serve("", &collector.url, "1", &[]).await;
    serve.first_token().await;
    let identity = "planted-viewer-5e884898da28047151d0e56f8dc62927";
    let options = MintOptions { resource: DEMO_RESOURCE.to_owned(), ..<_>::default() };
    call(&serve, "01", mint(identity, Some(options))).await.expect("a token");
    let spans = ended(serve, &collector).await;
    assert!(spans.iter().any(|span| span.trace_id == TRACE), "{spans:?}");
    Markers::of(&[identity]).in_none_of("a trace", &collector.text());
}
