//! Code of this process that runs inside the client namespace, so that a test can open connections where an application would.

use std::future::Future;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::layout::{CLIENT, Layout};

/// Moves the calling thread, and threads that it starts from now on, into a network namespace.
///
/// # Errors
/// When the namespace does not exist.
pub fn enter(namespace: &str) -> Result<()> {
    let path = format!("/run/netns/{namespace}");
    let file = std::fs::File::open(&path).with_context(|| format!("open {path}: is the sandbox up?"))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))
}

/// Gives the calling thread the client namespace's network and its `resolv.conf`.
fn enter_client(layout: &Layout) -> Result<()> {
    enter(CLIENT)?;
    unshare(CloneFlags::CLONE_NEWNS).context("leave the mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("keep our mounts to ourselves")?;
    let resolv = layout.client_resolv_conf();
    mount(Some(resolv.as_path()), Path::new("/etc/resolv.conf"), none, MsFlags::MS_BIND, none)
        .context("put the cluster's resolv.conf in place")
}

/// Runs what `make` gives on a thread of its own inside the client namespace: names of Services resolve, their addresses answer.
///
/// Dropping the returned future does not end the work; give it a way to be told.
///
/// # Errors
/// When the namespace can't be entered.
pub async fn in_client_namespace<F, Fut, T>(make: F) -> Result<T>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T>,
    T: Send + 'static,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("client-namespace".to_owned()).spawn(move || {
        let outcome = enter_client(&Layout::new()).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(make()))
        });
        let _ = sender.send(outcome);
    })?;
    receiver.await.context("the thread in the client namespace ended without a result")?
}
