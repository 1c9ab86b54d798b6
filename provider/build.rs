//! Compiles the protocol files without a system `protoc`.

use std::error::Error;

const PROTOS: [&str; 3] = ["tfplugin6.proto", "plugin.proto", "health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        // Answers are compared byte for byte by tests and caches: maps keep one order.
        .btree_map(".")
        // Values carry the user's secrets: no derived Debug may print them into a log.
        .skip_debug(["tfplugin6.DynamicValue", "tfplugin6.RawState"])
        .compile_fds(descriptors)?;
    Ok(())
}
