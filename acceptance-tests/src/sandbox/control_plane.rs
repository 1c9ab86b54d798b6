//! etcd, the API server, the controllers, the scheduler and DNS, all in the control plane's namespace.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::audit;
use super::layout::{
    API_ADDRESS, API_PORT, API_PROXY_ADDRESS, CLIENT, CONTROL_PLANE, DNS_ADDRESS, Layout, POD_NETWORK,
    SERVICE_NETWORK,
};
use super::network::command_in;
use super::pki::Authority;
use crate::poll::Seen;
use crate::process::Daemon;

/// Port of etcd for its clients; the next one is for its peers.
const ETCD_PORT: u16 = 2379;
/// Users of the controllers and of the scheduler.
pub(super) const CONTROLLERS: &str = "system:kube-controller-manager";
pub(super) const SCHEDULER: &str = "system:kube-scheduler";
/// How long a part may take to answer. A machine that builds beside it is slow.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// Address of the API server inside the namespaces, as its own components use it.
pub fn direct_server() -> String {
    format!("https://{API_ADDRESS}:{API_PORT}")
}

/// Address of the API server as nodes know it: behind the faulty proxy.
pub fn proxied_server() -> String {
    format!("https://{API_PROXY_ADDRESS}:{API_PORT}")
}

/// Starts etcd.
///
/// # Errors
/// When it does not come up.
pub fn start_etcd(layout: &Layout, programs: &Path) -> Result<()> {
    let args = etcd_arguments(&layout.state().join("etcd"), (ETCD_PORT, ETCD_PORT + 1))?;
    start(layout, programs, "etcd", args, Vec::new())
}

/// etcd's arguments: where its data is, and its ports for clients and for peers.
pub(super) fn etcd_arguments(data: &Path, (clients, peers): (u16, u16)) -> Result<Vec<String>> {
    fs::create_dir_all(data)?;
    let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    Ok(vec![
        "--name=etcd".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=etcd={peers}"),
        // What it holds ends with the sandbox; the disk is PostgreSQL's.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--data-dir={}", data.display()),
    ])
}

/// Starts the API server and waits until it answers that it is ready.
///
/// # Errors
/// When it does not come up; the message holds the end of its log.
pub fn start_api_server(layout: &Layout, programs: &Path) -> Result<()> {
    let pki = layout.pki();
    let file = |name: &str| pki.join(name).display().to_string();
    let mut args = api_server_arguments(layout, (API_ADDRESS, API_PORT), ETCD_PORT);
    args.extend([
        // What pods find behind the Service `kubernetes`: the proxy.
        format!("--advertise-address={API_PROXY_ADDRESS}"),
        format!("--kubelet-client-certificate={}", file("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", file("apiserver-kubelet.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--allow-privileged=true".to_owned(),
    ]);
    args.extend(audit::arguments(layout)?);
    start(layout, programs, "kube-apiserver", args, Vec::new())?;
    layout.daemons().await_ready("kube-apiserver", START_DEADLINE, || api_is_ready(layout))
}

/// What every API server of the sandbox needs: the files of its layout, the address it listens on, and its etcd's port.
pub(super) fn api_server_arguments(
    layout: &Layout,
    (address, port): (&str, u16),
    etcd_port: u16,
) -> Vec<String> {
    let pki = layout.pki();
    let file = |name: &str| pki.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--bind-address={address}"),
        format!("--secure-port={port}"),
        format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

/// Asks the API server itself, without the forwarder or the proxy between.
fn api_is_ready(layout: &Layout) -> Result<Seen<()>> {
    let kubeconfig = layout.run().join("direct.kubeconfig");
    let kubectl = layout.run().join("bin/kubectl");
    let output = command_in(CONTROL_PLANE, &kubectl.display().to_string())
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["get", "--raw", "/readyz", "--request-timeout=2s"])
        .output()?;
    let text = crate::process::both(&output);
    Ok(Seen::when(output.status.success() && text.trim() == "ok", text.trim()))
}

/// Starts the controllers and the scheduler.
///
/// # Errors
/// When one can't be started.
pub fn start_controllers(layout: &Layout, programs: &Path, authority: &Authority) -> Result<()> {
    let local = "--bind-address=127.0.0.1".to_owned();
    let config = kubeconfig(layout, authority, &direct_server(), CONTROLLERS)?;
    let mut args = controller_arguments(layout, &config);
    args.extend([format!("--cluster-cidr={POD_NETWORK}"), local.clone()]);
    start(layout, programs, "kube-controller-manager", args, Vec::new())?;
    let config = kubeconfig(layout, authority, &direct_server(), SCHEDULER)?;
    let mut args = scheduler_arguments(&config);
    args.push(local);
    start(layout, programs, "kube-scheduler", args, Vec::new())
}

/// What the controllers of every control plane need.
pub(super) fn controller_arguments(layout: &Layout, kubeconfig: &str) -> Vec<String> {
    let pki = layout.pki();
    let mut args = scheduler_arguments(kubeconfig);
    args.extend([
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", pki.join("accounts.key").display()),
        format!("--root-ca-file={}", pki.join("ca.crt").display()),
        "--allocate-node-cidrs=false".to_owned(),
        format!("--flex-volume-plugin-dir={}", layout.run().join("volume-plugins").display()),
    ]);
    args
}

/// What the scheduler of every control plane needs.
pub(super) fn scheduler_arguments(kubeconfig: &str) -> Vec<String> {
    vec![
        format!("--kubeconfig={kubeconfig}"),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

/// Starts the cluster's DNS server.
///
/// # Errors
/// When it can't be started.
pub fn start_dns(layout: &Layout, programs: &Path, authority: &Authority) -> Result<()> {
    let config = kubeconfig(layout, authority, &direct_server(), "system:coredns")?;
    let corefile = layout.run().join("Corefile");
    fs::write(
        &corefile,
        format!(
            ".:53 {{\n  bind {DNS_ADDRESS}\n  errors\n  ready {DNS_ADDRESS}:8181\n  \
             kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {config}\n    pods insecure\n    ttl 5\n  }}\n}}\n"
        ),
    )?;
    start(layout, programs, "coredns", vec!["-conf".to_owned(), corefile.display().to_string()], Vec::new())?;
    let ready = format!("http://{DNS_ADDRESS}:8181/ready");
    layout.daemons().await_ready("coredns", START_DEADLINE, || {
        // kubectl is the one client of ours that speaks HTTP in there.
        let output = command_in(CONTROL_PLANE, &programs.join("kubectl").display().to_string())
            .args(["--server", &format!("http://{DNS_ADDRESS}:8181"), "get", "--raw", "/ready"])
            .output()?;
        Ok(Seen::when(output.status.success(), format!("{ready}: {}", crate::process::both(&output))))
    })
}

/// Starts the proxy that gives the client namespace the Services' addresses.
///
/// # Errors
/// When it can't be started.
pub fn start_client_proxy(layout: &Layout, programs: &Path, authority: &Authority) -> Result<()> {
    start_service_proxy(layout, programs, authority, "client", CLIENT)
}

/// Starts a kube-proxy in a namespace; it sees the API server through the faulty proxy, as on a node.
///
/// # Errors
/// When it can't be started.
pub fn start_service_proxy(
    layout: &Layout,
    programs: &Path,
    authority: &Authority,
    name: &str,
    namespace: &str,
) -> Result<()> {
    let folder = layout.run().join(name);
    fs::create_dir_all(&folder)?;
    let client = folder.join("kube-proxy.kubeconfig");
    authority.kubeconfig(&client, &proxied_server(), "system:kube-proxy", &["system:node-proxier"])?;
    let config = serde_json::json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": { "kubeconfig": client },
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": name,
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        // The machine's own settings stay as they are.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    });
    let file = folder.join("kube-proxy.json");
    fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    let daemon = Daemon {
        name: &format!("kube-proxy-{name}"),
        namespace: Some(namespace),
        program: &programs.join("kube-proxy"),
        args: vec![format!("--config={}", file.display())],
        env: Vec::new(),
    };
    layout.daemons().start(&daemon)?;
    Ok(())
}

/// A kubeconfig for a component of a control plane, whose API server is there.
pub(super) fn kubeconfig(layout: &Layout, authority: &Authority, server: &str, user: &str) -> Result<String> {
    let file = layout.run().join(format!("{}.kubeconfig", user.replace(':', "-")));
    authority.kubeconfig(&file, server, user, &[])?;
    Ok(file.display().to_string())
}

fn start(
    layout: &Layout,
    programs: &Path,
    name: &str,
    args: Vec<String>,
    env: Vec<(String, String)>,
) -> Result<()> {
    let program = programs.join(name);
    let daemon = Daemon { name, namespace: Some(CONTROL_PLANE), program: &program, args, env };
    layout.daemons().start(&daemon).with_context(|| format!("start {name}"))?;
    Ok(())
}
