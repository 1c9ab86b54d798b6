//! Compiles the provider's protocol files for the tests' own client.

use std::error::Error;

const PROTOS: [&str; 3] = ["tfplugin6.proto", "plugin.proto", "health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../provider/proto");
    let descriptors = protox::compile(PROTOS, ["../provider/proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
