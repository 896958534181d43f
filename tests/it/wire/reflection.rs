//! Reflection and health, as generic clients use them.

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::harness::{VJ, World, profile};
use crate::support::{soon, until};

/// Both versions of the protocol have the same messages in different packages.
macro_rules! ask {
    ($version:ident, $world:expr, $question:ident($text:expr)) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($world.channel.clone());
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::$question($text.to_owned())),
        };
        let asked = client.server_reflection_info(tokio_stream_of(request));
        let mut answers = soon(asked).await.unwrap().into_inner();
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
async fn reflection_lists_the_services_and_resolves_errors_in_both_versions() {
    let world = World::simple().await;
    for answer in [ask!(v1, world, ListServices("")), ask!(v1alpha, world, ListServices(""))] {
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
            ask!(v1, world, FileContainingSymbol(symbol)),
            ask!(v1alpha, world, FileContainingSymbol(symbol)),
        ];
        for answer in answers {
            let Answer::Files(files) = answer else { panic!("{symbol}: {answer:?}") };
            let package = symbol.split(|c: char| c.is_ascii_uppercase()).next().unwrap();
            let package = package.trim_end_matches('.');
            assert!(files.iter().any(|file| file.package() == package), "{symbol}");
        }
    }
    for file in ["grantmint/v1/token_service.proto", "google/protobuf/timestamp.proto"] {
        let Answer::Files(files) = ask!(v1, world, FileByFilename(file)) else { panic!("{file}") };
        assert_eq!(files[0].name(), file);
    }
}

async fn check(world: &World, service: &str) -> Result<ServingStatus, tonic::Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = soon(HealthClient::new(world.channel.clone()).check(request)).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_readiness_and_each_profile_its_grants() {
    let tables = profile("live", &VJ[..1], "") + &profile("other", &VJ[1..2], "");
    let world = World::with_faults(&tables, &[&format!("hang,resource={}", VJ[1])]).await;
    until("live serves", async || {
        check(&world, "profiles/live").await == Ok(ServingStatus::Serving)
    })
    .await;
    for service in ["", "grantmint.v1.TokenService", "grantmint.v1.GrantService", "profiles/other"]
    {
        assert_eq!(check(&world, service).await, Ok(ServingStatus::NotServing), "{service:?}");
    }
    for unknown in ["profiles/", "profiles/none", "grantmint.v1", "\u{7}"] {
        assert_eq!(check(&world, unknown).await, Err(tonic::Code::NotFound), "{unknown:?}");
    }

    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(world.channel.clone());
    let mut watch = soon(watch.watch(request)).await.unwrap().into_inner();
    let told = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    world.sandbox.clear_faults();
    let told = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);
    for service in ["", "grantmint.v1.TokenService", "grantmint.v1.GrantService", "profiles/other"]
    {
        until(service, async || check(&world, service).await == Ok(ServingStatus::Serving)).await;
    }
}
