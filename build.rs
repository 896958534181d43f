//! Generates the gRPC code from `proto` with protox, so that building needs no protoc.

use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 2] = ["grantmint/v1/token_service.proto", "grantmint/v1/grant_service.proto"];

/// Messages that hold a token (fields marked `debug_redact`): prost would derive a `Debug`
/// that prints it, `rpc` writes a silent one by hand.
const SILENT: [&str; 2] = [".grantmint.v1.MintTokenResponse", ".grantmint.v1.MintTokensResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(PROTOS)?;

    // The encoded set keeps field options such as debug_redact, the decoded one loses them.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("grantmint.v1.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .skip_debug(SILENT)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
