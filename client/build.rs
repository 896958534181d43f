//! Generates the messages and clients with protox, so that no protoc is needed.

use std::error::Error;

const PROTOS: [&str; 2] = ["grantmint/v1/token_service.proto", "grantmint/v1/grant_service.proto"];

/// Messages that hold a token (fields marked `debug_redact`): prost would derive a `Debug` that
/// prints it, `src/proto.rs` has one that does not.
const REDACTED: [&str; 2] = [".grantmint.v1.MintTokenResponse", ".grantmint.v1.MintTokensResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(PROTOS)?;
    for file in PROTOS {
        println!("cargo:rerun-if-changed=proto/{file}");
    }
    tonic_prost_build::configure()
        .build_server(false)
        .skip_debug(REDACTED)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
