//! Code of this process that runs inside the client namespace, so that a test can open connections where an application would.

use std::future::Future;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow};
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
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("keep our mounts to ourselves")?;
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

/// A connection that somebody wants.
struct Call {
    host: String,
    port: u16,
    answer: tokio::sync::oneshot::Sender<Result<std::net::TcpStream>>,
}

/// The thread that makes connections, and the namespace that it is in: a sandbox that was taken down and started again has a new one.
static CALLER: Mutex<Option<(u64, tokio::sync::mpsc::UnboundedSender<Call>)>> = Mutex::new(None);

/// Opens a TCP connection from the client namespace; the name is looked up there too. Use it from any thread.
///
/// # Errors
/// When the name does not resolve or the connection is refused. There is no deadline: set one around the call.
pub async fn dial(host: &str, port: u16) -> Result<tokio::net::TcpStream> {
    let (answer, receiver) = tokio::sync::oneshot::channel();
    caller()?
        .send(Call { host: host.to_owned(), port, answer })
        .map_err(|_| anyhow!("the thread that connects from the client namespace has ended"))?;
    let stream = receiver.await.context("the thread that connects from the client namespace has ended")??;
    Ok(tokio::net::TcpStream::from_std(stream)?)
}

fn caller() -> Result<tokio::sync::mpsc::UnboundedSender<Call>> {
    use std::os::unix::fs::MetadataExt as _;
    let namespace = std::fs::metadata(format!("/run/netns/{CLIENT}")).context("is the sandbox up?")?.ino();
    let mut caller = CALLER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((at, sender)) = caller.as_ref()
        && *at == namespace
        && !sender.is_closed()
    {
        return Ok(sender.clone());
    }
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    std::thread::Builder::new().name("client-dialler".to_owned()).spawn(move || answer_calls(receiver))?;
    *caller = Some((namespace, sender.clone()));
    Ok(sender)
}

/// Makes the connections that are asked for until nobody can ask any more. Ends at once when the namespace can't be entered.
fn answer_calls(mut calls: tokio::sync::mpsc::UnboundedReceiver<Call>) {
    if enter_client(&Layout::new()).is_err() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        while let Some(call) = calls.recv().await {
            tokio::spawn(async move {
                let mut answer = call.answer;
                let outcome = tokio::select! {
                    // Nobody waits any more: a lost packet would keep the task for minutes.
                    () = answer.closed() => return,
                    outcome = connect(&call.host, call.port) => outcome,
                };
                let _ = answer.send(outcome);
            });
        }
    });
}

async fn connect(host: &str, port: u16) -> Result<std::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect((host, port))
        .await
        .with_context(|| format!("connect to {host}:{port} from the client namespace"))?;
    Ok(stream.into_std()?)
}
