//! Reflection and health, as generic clients use them.

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::harness::{TestServer, VJ, profile};
use crate::support::{soon, until};

/// Both versions of the protocol have the same messages in different packages.
macro_rules! ask {
    ($version:ident, $server:expr, $question:ident($text:expr)) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($server.channel.clone());
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::$question($text.to_owned())),
        };
        let requested = client.server_reflection_info(tokio_stream_of(request));
        let mut answers = soon(requested).await.unwrap().into_inner();
        let answer = soon(answers.message()).await.unwrap().unwrap();
        match answer.message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                Answer::Services(list.service.into_iter().map(|service| service.name).collect())
            }
            MessageResponse::FileDescriptorResponse(files) => Answer::Files(
                files
                    .file_descriptor_proto
                    .iter()
                    .map(|file| FileDescriptorProto::decode(&file[..]).unwrap())
                    .collect(),
            ),
            other => panic!("{other:?}"),
        }
    }};
}

#[derive(Debug)]
enum Answer {
    Services(Vec<String>),
    Files(Vec<FileDescriptorProto>),
}

fn tokio_stream_of<T: Send + 'static>(one: T) -> impl futures_util::Stream<Item = T> + Send {
    futures_util::stream::iter([one])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_v1_and_v1alpha_list_services_and_resolve() {
    let server = TestServer::simple().await;
    for answer in [ask!(v1, server, ListServices("")), ask!(v1alpha, server, ListServices(""))] {
        let Answer::Services(services) = answer else { panic!("{answer:?}") };
        for service in
            ["grantmint.v1.TokenService", "grantmint.v1.GrantService", "grpc.health.v1.Health"]
        {
            assert!(services.iter().any(|listed| listed == service), "{service}: {services:?}");
        }
    }
    for symbol in [
        "grantmint.v1.TokenService",
        "grantmint.v1.TokenService.MintToken",
        "grantmint.v1.Validity",
        "google.protobuf.Duration",
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
        "google.rpc.RetryInfo",
        "grpc.health.v1.Health",
    ] {
        let answers = [
            ask!(v1, server, FileContainingSymbol(symbol)),
            ask!(v1alpha, server, FileContainingSymbol(symbol)),
        ];
        for answer in answers {
            let Answer::Files(files) = answer else { panic!("{symbol}: {answer:?}") };
            let package = symbol.split(|c: char| c.is_ascii_uppercase()).next().unwrap();
            let package = package.trim_end_matches('.');
            assert!(files.iter().any(|file| file.package() == package), "{symbol}");
        }
    }
    for file in ["grantmint/v1/token_service.proto", "google/protobuf/timestamp.proto"] {
        let Answer::Files(files) = ask!(v1, server, FileByFilename(file)) else { panic!("{file}") };
        assert_eq!(files[0].name(), file);
    }
}

async fn check(server: &TestServer, service: &str) -> Result<ServingStatus, tonic::Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = soon(HealthClient::new(server.channel.clone()).check(request)).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_readiness_and_each_profile_its_grants() {
    let tables = profile("live", &VJ[..1], "") + &profile("other", &VJ[1..2], "");
    let server = TestServer::with_faults(&tables, &[&format!("hang,resource={}", VJ[1])]).await;
    until("profile live is serving", async || {
        check(&server, "profiles/live").await == Ok(ServingStatus::Serving)
    })
    .await;
    for service in ["", "grantmint.v1.TokenService", "grantmint.v1.GrantService", "profiles/other"]
    {
        assert_eq!(check(&server, service).await, Ok(ServingStatus::NotServing), "{service:?}");
    }
    for unknown in ["profiles/", "profiles/none", "grantmint.v1", "\u{7}"] {
        assert_eq!(check(&server, unknown).await, Err(tonic::Code::NotFound), "{unknown:?}");
    }

    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(server.channel.clone());
    let mut watch = soon(watch.watch(request)).await.unwrap().into_inner();
    let reported = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(reported.status(), ServingStatus::NotServing);
    server.sandbox.clear_faults();
    let reported = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(reported.status(), ServingStatus::Serving);
    for service in ["", "grantmint.v1.TokenService", "grantmint.v1.GrantService", "profiles/other"]
    {
        until(service, async || check(&server, service).await == Ok(ServingStatus::Serving)).await;
    }
}

/// The responses to a stream of requests, one each.
macro_rules! converse {
    ($version:ident, $server:expr) => {{
        use tonic_reflection::pb::$version::{
            ExtensionRequest, ServerReflectionRequest,
            server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let extension = |containing_type: &str, extension_number| {
            let containing_type = containing_type.to_owned();
            let requested = ExtensionRequest { containing_type, extension_number };
            Some(MessageRequest::FileContainingExtension(requested))
        };
        let numbers = |of: &str| Some(MessageRequest::AllExtensionNumbersOfType(of.to_owned()));
        let questions = [
            (Some(MessageRequest::FileContainingSymbol("no.such.Symbol".into())), 5),
            (Some(MessageRequest::FileContainingSymbol(String::new())), 5),
            (Some(MessageRequest::FileByFilename("none.proto".into())), 5),
            (extension("grantmint.v1.Validity", 1), 5),
            (extension("no.such.Type", 1), 5),
            (numbers("no.such.Type"), 5),
            (None, 3),
            (numbers("grantmint.v1.Validity"), 0),
            (Some(MessageRequest::ListServices(String::new())), 0),
        ];
        let requests = questions.map(|(message_request, code)| {
            (ServerReflectionRequest { host: "a.host".into(), message_request }, code)
        });
        let mut client = ServerReflectionClient::new($server.channel.clone());
        let stream = futures_util::stream::iter(requests.clone().map(|(request, _)| request));
        let mut answers = soon(client.server_reflection_info(stream)).await.unwrap().into_inner();
        for (request, code) in requests {
            let answer =
                soon(answers.message()).await.unwrap().expect("a response to each request");
            assert_eq!(answer.valid_host, "a.host");
            assert_eq!(answer.original_request.as_ref(), Some(&request));
            let reported = match answer.message_response.unwrap() {
                MessageResponse::ErrorResponse(error) => {
                    assert!(!error.error_message.is_empty());
                    error.error_code
                }
                MessageResponse::AllExtensionNumbersResponse(numbers) => {
                    assert_eq!(numbers.base_type_name, "grantmint.v1.Validity");
                    assert!(numbers.extension_number.is_empty());
                    0
                }
                _ => 0,
            };
            assert_eq!(reported, code, "{request:?}");
        }
        assert!(
            soon(answers.message()).await.unwrap().is_none(),
            "the stream did not end with its requests"
        );
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_errors_do_not_end_the_stream() {
    let server = TestServer::simple().await;
    converse!(v1, server);
    converse!(v1alpha, server);
    // A file comes with its imports.
    let Answer::Files(files) = ask!(v1, server, FileContainingSymbol("grantmint.v1.TokenService"))
    else {
        panic!("no files")
    };
    for import in files.iter().flat_map(|file| &file.dependency) {
        assert!(files.iter().any(|file| file.name() == import), "{import}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_watch_of_an_unknown_service_stays_open() {
    let server = TestServer::simple().await;
    let request = HealthCheckRequest { service: "no.such.Service".into() };
    let mut client = HealthClient::new(server.channel.clone());
    let mut watch = soon(client.watch(request)).await.unwrap().into_inner();
    let reported = soon(watch.message()).await.unwrap().expect("the stream is open");
    assert_eq!(reported.status(), ServingStatus::ServiceUnknown);
    assert_eq!(check(&server, "").await, Ok(ServingStatus::Serving));
    assert!(
        futures_util::FutureExt::now_or_never(watch.message()).is_none(),
        "the stream has ended"
    );
}
