//! Compiles the `.proto` files with protox, so that no protoc need be installed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 3] = ["signalbox/v1/types.proto", "signalbox/v1/signaling.proto", "signalbox/v1/session.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");

    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let (client, server) = (has_feature("CLIENT"), has_feature("SERVER"));
    if server {
        // Reflection serves the same descriptors that the code was generated from.
        let out = PathBuf::from(env::var("OUT_DIR")?);
        fs::write(out.join("signalbox.v1.bin"), descriptors.encode_to_vec())?;
    }

    tonic_prost_build::configure()
        .build_client(client)
        .build_server(server)
        .build_transport(true)
        .compile_fds(descriptors)?;
    Ok(())
}

/// Whether the package is built with this feature. `cfg` would tell as much,
/// but of what this script was built with.
fn has_feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}
