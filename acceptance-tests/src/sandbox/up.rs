//! Bringing the sandbox up.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::{Node as KubeNode, ServiceAccount};
use kube::Api;
use kube::api::ListParams;
use nix::fcntl::{Flock, FlockArg};

use super::layout::{Layout, NODE_COUNT, Node};
use super::node::Containerd;
use super::pki::Authority;
use super::{
    assets, cgroups, client_of, control_plane, down, images, machine, network, node, objects, packages,
    store, volumes,
};
use crate::poll::{self, Seen};
use crate::process::Daemon;
use crate::progress::Progress;

/// Port that is tried first, so that kubeconfigs of one day work on the next.
const FIRST_PORT: u16 = 26443;
const NODES_DEADLINE: Duration = Duration::from_mins(2);

/// What `up` starts from.
pub struct Prepared {
    programs: PathBuf,
    store: PathBuf,
}

/// Only one process at a time brings the sandbox up or down.
pub fn lock(layout: &Layout) -> Result<Flock<fs::File>> {
    fs::create_dir_all(layout.cache())?;
    let file = fs::File::create(layout.cache().join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| anyhow!("lock the sandbox: {error}"))
}

/// Builds and fetches what is missing.
pub fn prepare(layout: &Layout, progress: &Progress) -> Result<Prepared> {
    let _lock = lock(layout)?;
    prepare_locked(layout, progress)
}

fn prepare_locked(layout: &Layout, progress: &Progress) -> Result<Prepared> {
    packages::ensure(progress)?;
    layout.record_state()?;
    machine::remember(layout)?;
    // The build takes minutes of processor, the rest waits for the network: both at once.
    let (programs, store) = std::thread::scope(|scope| {
        let programs = scope.spawn(|| assets::kubernetes(layout, progress));
        let store =
            images::archive(layout, progress).and_then(|archive| store::template(layout, &archive, progress));
        (programs.join().map_err(|_| anyhow!("the build of Kubernetes panicked")), store)
    });
    Ok(Prepared { programs: programs??, store: store? })
}

/// Whether all is there: every daemon runs, and the API server says that the nodes are ready.
pub async fn is_complete(layout: &Layout) -> bool {
    let daemons = layout.daemons();
    let names = daemons.names();
    // Control plane, DNS, forwarder and the client's proxy; and three on each node.
    let expected = 7 + 3 * usize::from(NODE_COUNT);
    if names.len() < expected || !names.iter().all(|name| daemons.find(name).is_some()) {
        return false;
    }
    let Ok(client) = client_of(&layout.kubeconfig()).await else { return false };
    let looked = tokio::time::timeout(Duration::from_secs(5), ready_nodes(&client)).await;
    matches!(looked, Ok(Ok(Seen::Yes(()))))
}

/// Brings the sandbox up unless it is.
pub async fn up(layout: &Layout, progress: &Progress) -> Result<()> {
    let _lock = lock(layout)?;
    if is_complete(layout).await {
        return Ok(());
    }
    let (own, shown) = (layout.clone(), progress.clone());
    // What is left of another run would be in the way.
    let prepared = tokio::task::spawn_blocking(move || {
        down::down(&own, &shown)?;
        prepare_locked(&own, &shown)
    })
    .await??;
    let stage = progress.stage("start the sandbox");
    let outcome = start(layout, prepared, &stage).await;
    match outcome {
        Ok(()) => stage.done(),
        Err(error) => {
            stage.failed();
            return Err(error);
        }
    }
    Ok(())
}

async fn start(layout: &Layout, prepared: Prepared, stage: &crate::progress::Stage) -> Result<()> {
    stage.update("network and control plane");
    let (own, port) = (layout.clone(), free_port()?);
    let programs = prepared.programs.clone();
    let authority = tokio::task::spawn_blocking(move || {
        let authority = foundations(&own, &programs, port)?;
        start_machines(&own, &prepared, &authority)?;
        anyhow::Ok(authority)
    })
    .await??;
    stage.update("nodes");
    let client = client_of(&layout.kubeconfig()).await?;
    poll::until("the cluster's first objects", Duration::from_mins(1), || async {
        objects::apply(layout, &client).await.map(Seen::Yes)
    })
    .await?;
    // Only now has it the rights to look at Services.
    let own = layout.clone();
    tokio::task::spawn_blocking(move || control_plane::start_dns(&own, &own.run().join("bin"), &authority))
        .await??;
    let waited = poll::until("all nodes to be ready", NODES_DEADLINE, || ready_nodes(&client)).await;
    waited.with_context(|| {
        let log = layout.daemons().log("kubelet-node1");
        format!("the end of {}:\n{}", log.display(), crate::process::tail(&log, 25))
    })?;
    // Pods are refused until the controllers have made it.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    poll::until("the default service account", Duration::from_secs(30), || async {
        accounts.get("default").await?;
        Ok(Seen::Yes(()))
    })
    .await
}

/// Everything up to a control plane that answers.
fn foundations(layout: &Layout, programs: &Path, port: u16) -> Result<Authority> {
    cgroups::create()?;
    network::create(layout)?;
    let bin = layout.run().join("bin");
    fs::create_dir_all(&bin)?;
    for program in assets::KUBERNETES_PROGRAMS {
        symlink(programs.join(program), bin.join(program))?;
    }
    let authority = Authority::create(layout)?;
    let admin = ["system:masters"];
    let host = format!("https://127.0.0.1:{port}");
    fs::write(layout.api_port_file(), port.to_string())?;
    authority.kubeconfig(
        &layout.run().join("direct.kubeconfig"),
        &control_plane::direct_server(),
        "admin-inside",
        &admin,
    )?;
    authority.kubeconfig(&layout.kubeconfig(), &host, "admin", &admin)?;
    control_plane::start_etcd(layout, programs)?;
    start_forwarder(layout, port)?;
    Ok(authority)
}

/// The API server and the nodes' containerds at the same time, then what needs both.
fn start_machines(layout: &Layout, prepared: &Prepared, authority: &Authority) -> Result<()> {
    let programs = &prepared.programs;
    std::thread::scope(|scope| {
        let nodes: Vec<_> = Node::all()
            .map(|node| {
                scope.spawn(move || {
                    volumes::create_folders(layout, node)?;
                    store::copy_to(layout, &prepared.store, node)?;
                    Containerd::of(layout, node).start(layout)
                })
            })
            .collect();
        control_plane::start_api_server(layout, programs)?;
        control_plane::start_controllers(layout, programs, authority)?;
        control_plane::start_client_proxy(layout, programs, authority)?;
        for (node, thread) in Node::all().zip(nodes) {
            thread.join().map_err(|_| anyhow!("the start of {node} panicked"))??;
            node::start(layout, programs, authority, node)?;
        }
        Ok(())
    })
}

fn start_forwarder(layout: &Layout, port: u16) -> Result<()> {
    let own = dev_program()?;
    layout.daemons().start(&Daemon {
        name: "forwarder",
        namespace: None,
        program: &own,
        args: vec!["sandbox-forwarder".to_owned(), "--port".to_owned(), port.to_string()],
        env: vec![("PGHA_CACHE".to_owned(), layout.cache().display().to_string())],
    })?;
    layout.daemons().await_ready("forwarder", Duration::from_secs(20), || {
        Ok(Seen::when(layout.fault_socket().exists(), "no socket for faults yet"))
    })
}

/// The `dev` program: this one, or the one beside a test's.
fn dev_program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    if own.file_name().is_some_and(|name| name == "dev") {
        return Ok(own);
    }
    let candidates = own.ancestors().skip(1).take(2).map(|folder| folder.join("dev"));
    candidates
        .into_iter()
        .find(|file| file.is_file())
        .context("the program `dev` is not built; run `cargo dev up` first")
}

fn free_port() -> Result<u16> {
    let wanted = std::net::TcpListener::bind(("127.0.0.1", FIRST_PORT));
    let listener = wanted.or_else(|_| std::net::TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.port())
}

async fn ready_nodes(client: &kube::Client) -> Result<Seen<()>> {
    let api: Api<KubeNode> = Api::all(client.clone());
    let nodes = api.list(&ListParams::default()).await?.items;
    let is_ready = |node: &KubeNode| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    let ready = nodes.iter().filter(|node| is_ready(node)).count();
    Ok(Seen::when(
        ready == usize::from(NODE_COUNT),
        format!("{ready} of {} registered nodes are ready", nodes.len()),
    ))
}
