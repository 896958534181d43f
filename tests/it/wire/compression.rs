//! Compressed requests, as a single option of a channel sends them.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use grantmint::rpc::proto::{GetGrantRequest, MintOptions, MintTokenResponse};
use prost::Message;
use tonic::Code;

use super::{
    bulk::series_with,
    harness::{TestServer, VJ, framed, post},
    transport::{METHODS, MINT, alice},
};

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

type Compress = fn(&[u8]) -> Vec<u8>;

const ENCODINGS: [(&str, Compress); 2] = [("gzip", gzip), ("deflate", deflate)];

fn compressed(message: &[u8]) -> Bytes {
    let mut framed = framed(message).to_vec();
    framed[0] = 1;
    framed.into()
}

/// A valid request for each method that ends.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let get = GetGrantRequest { name: format!("profiles/live/grants/{}", VJ[0]) };
    let list_services = vec![7 << 3 | 2, 0];
    vec![
        (MINT, alice()[5..].to_vec()),
        ("/grantmint.v1.TokenService/MintTokens", series_with(None, "p", 3).encode_to_vec()),
        ("/grantmint.v1.GrantService/GetGrant", get.encode_to_vec()),
        ("/grantmint.v1.GrantService/ListGrants", Vec::new()),
        ("/grpc.health.v1.Health/Check", Vec::new()),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", list_services.clone()),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", list_services),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_accepts_compressed_requests() {
    let server = TestServer::simple().await;
    for (path, message) in requests() {
        for (encoding, compress) in ENCODINGS {
            let headers = [("grpc-encoding", encoding), ("grpc-accept-encoding", "gzip,deflate")];
            let answer = post(&server.raw, path, &headers, compressed(&compress(&message))).await;
            assert_eq!(answer.status().code(), Code::Ok, "{encoding} {path}: {answer:?}");
            assert_eq!(answer.body[0], 0, "{path}: a compressed response");
            // A message may be sent uncompressed.
            let answer = post(&server.raw, path, &headers, framed(&message)).await;
            assert_eq!(answer.status().code(), Code::Ok, "{encoding} {path}");
        }
        let answer = post(&server.raw, path, &[("grpc-encoding", "identity")], framed(&message));
        assert_eq!(answer.await.status().code(), Code::Ok, "{path}");
    }
    let answer = post(&server.raw, MINT, &[("grpc-encoding", "gzip")], alice()).await;
    assert!(!answer.message::<MintTokenResponse>().token.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decompressed_size_over_the_limit_is_refused() {
    let server = TestServer::simple().await;
    for (encoding, compress) in ENCODINGS {
        // The compressed size of the larger two is within the limit.
        for (expanded, method) in
            [(65 << 10, MINT), (60 << 20, MINT), (5 << 20, METHODS[1]), (60 << 20, METHODS[1])]
        {
            let bomb = compressed(&compress(&vec![0; expanded]));
            let answer = post(&server.raw, method, &[("grpc-encoding", encoding)], bomb).await;
            assert_eq!(answer.status().code(), Code::ResourceExhausted, "{encoding} {expanded}");
        }
        for (method, message) in requests() {
            let whole = compress(&message);
            let broken = compressed(&whole[..whole.len() - 5]);
            let answer = post(&server.raw, method, &[("grpc-encoding", encoding)], broken).await;
            assert_eq!(answer.status().code(), Code::Internal, "{encoding} {method}");
        }
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_encoding_lists_the_supported_ones() {
    let server = TestServer::simple().await;
    for (path, message) in requests() {
        for encoding in ["zstd", "snappy", "br", "GZIP"] {
            let headers = [("grpc-encoding", encoding)];
            let answer = post(&server.raw, path, &headers, compressed(&message)).await;
            assert_eq!(answer.status().code(), Code::Unimplemented, "{encoding} {path}");
            let known = answer.status().metadata().get("grpc-accept-encoding").unwrap();
            assert_eq!(known, "gzip,deflate,identity", "{path}");
        }
    }
}
