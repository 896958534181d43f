//! Generates the gRPC code from `proto` with protox, so that building needs no protoc.

use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 2] = ["grantmint/v1/token_service.proto", "grantmint/v1/grant_service.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(PROTOS)?;

    // The encoded set keeps field options such as debug_redact, the decoded one loses them.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("grantmint.v1.bin"), compiler.encode_file_descriptor_set())?;

    // The client generates the messages.
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".grantmint.v1", "::grantmint_client::proto")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
