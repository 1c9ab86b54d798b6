//! Network namespaces: one of the control plane with a bridge and no way out of the machine, one per node, one for clients.
//!
//! ```text
//!   pgha-cp:  br0 10.97.0.1 (API server) .2 (faulty proxy) .3 (DNS)
//!              ├── pgha-node1 eth0 10.97.0.11   pods 10.98.1.0/24
//!              ├── pgha-node2 eth0 10.97.0.12   pods 10.98.2.0/24
//!              ├── pgha-node3 eth0 10.97.0.13   pods 10.98.3.0/24
//!              └── pgha-client eth0 10.97.0.100
//! ```
//! The machine's own namespace gets no link, no route and no rule.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::layout::{
    API_ADDRESS, API_PROXY_ADDRESS, CLIENT, CLIENT_ADDRESS, CONTROL_PLANE, DNS_ADDRESS, Layout, Node,
    POD_NETWORK, SERVICE_NETWORK,
};
use crate::process::{run, run_args};

/// Makes all namespaces with their links and routes.
///
/// # Errors
/// When `ip` fails.
pub fn create(layout: &Layout) -> Result<()> {
    namespace(CONTROL_PLANE)?;
    let mut lines = vec!["link add br0 type bridge".to_owned()];
    for address in [API_ADDRESS, API_PROXY_ADDRESS, DNS_ADDRESS] {
        lines.push(format!("address add {address}/24 dev br0"));
    }
    lines.push("link set br0 up".to_owned());
    // A Service without any rule: say so at once, where clients would wait for an answer.
    lines.push(format!("route add unreachable {SERVICE_NETWORK}"));
    for node in Node::all() {
        lines.push(format!("route add {} via {}", node.pod_network(), node.address()));
    }
    ip_batch(CONTROL_PLANE, &lines)?;
    for node in Node::all() {
        member(&node.namespace(), &node.name(), &node.address(), Some(node))?;
    }
    member(CLIENT, "client", CLIENT_ADDRESS, None)?;
    std::fs::write(
        layout.client_resolv_conf(),
        format!(
            "nameserver {DNS_ADDRESS}\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:1\n"
        ),
    )?;
    Ok(())
}

/// A namespace on the bridge.
fn member(namespace_name: &str, link: &str, address: &str, node: Option<Node>) -> Result<()> {
    namespace(namespace_name)?;
    ip_batch(
        CONTROL_PLANE,
        &[
            format!("link add {link} type veth peer name eth0 netns {namespace_name}"),
            format!("link set {link} master br0"),
            format!("link set {link} up"),
        ],
    )?;
    let mut lines = vec![format!("address add {address}/24 dev eth0"), "link set eth0 up".to_owned()];
    lines.push(format!("route add {SERVICE_NETWORK} via {API_ADDRESS}"));
    for other in Node::all().filter(|other| Some(*other) != node) {
        lines.push(format!("route add {} via {}", other.pod_network(), other.address()));
    }
    // Pods that this namespace does not know are nowhere.
    lines.push(format!("route add unreachable {POD_NETWORK}"));
    ip_batch(namespace_name, &lines)
}

fn namespace(name: &str) -> Result<()> {
    run_args("ip", &["netns", "add", name])?;
    ip_batch(name, &["link set lo up".to_owned()])?;
    // Without the second line packets between pods of one node miss the rules of the Services.
    for (setting, value) in [("net.ipv4.ip_forward", "1"), ("net.bridge.bridge-nf-call-iptables", "1")] {
        set_in(name, setting, value)?;
    }
    Ok(())
}

fn set_in(namespace: &str, setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{}", setting.replace('.', "/"));
    if !std::path::Path::new(&path).exists() {
        // The module is loaded on demand where it is not built in.
        let _ = run_args("modprobe", &["br_netfilter"]);
    }
    run(Command::new("nsenter").arg(format!("--net=/run/netns/{namespace}")).args([
        "sh",
        "-c",
        &format!("echo {value} > {path}"),
    ]))
    .with_context(|| format!("set {setting} in {namespace}"))?;
    Ok(())
}

/// Many `ip` commands in one process.
fn ip_batch(namespace: &str, lines: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-netns", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.join("\n").as_bytes())?;
        input.write_all(b"\n")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip in {namespace}: {}\n{}", String::from_utf8_lossy(&output.stderr), lines.join("\n"));
    }
    Ok(())
}

/// A command that runs in a network namespace.
pub fn command_in(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

/// A command that runs where an application would: in the client namespace, with the cluster's names.
pub fn client_command(layout: &Layout, program: &std::ffi::OsStr) -> Command {
    let mut command = command_in(CLIENT, "unshare");
    // The mount is the command's own and ends with it.
    command
        .args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""])
        .arg(layout.client_resolv_conf())
        .arg(program);
    command
}
