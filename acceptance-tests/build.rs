//! Compiles the provider's protocol files for the tests' own client, and those of the sandbox's storage driver.

use std::error::Error;

const PROVIDER: [&str; 3] = ["tfplugin6.proto", "plugin.proto", "health.proto"];
const STORAGE: [&str; 2] = ["csi.proto", "pluginregistration.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../provider/proto");
    println!("cargo::rerun-if-changed=proto");
    let all = || tonic_prost_build::configure().build_transport(false).btree_map(".");
    all().build_server(false).compile_fds(protox::compile(PROVIDER, ["../provider/proto"])?)?;
    all().build_client(false).compile_fds(protox::compile(STORAGE, ["proto"])?)?;
    Ok(())
}
