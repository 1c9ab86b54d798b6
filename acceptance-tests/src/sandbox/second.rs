//! A second Kubernetes beside the sandbox: an API server with an etcd, an authority, controllers and a scheduler of its own, and no node.
//! It listens on this machine's loopback alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::Request;
use kube::Client;

use super::layout::Layout;
use super::pki::Authority;
use super::{Sandbox, assets, client_of, control_plane};
use crate::poll::{Seen, until};
use crate::process::{Daemon, Daemons};
use crate::progress::Progress;

const READY: Duration = Duration::from_secs(90);
/// Its programs.
const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
const CONTROLLERS: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

/// It ends with this value.
pub struct SecondKubernetes {
    layout: Layout,
    daemons: Daemons,
    data: PathBuf,
    port: u16,
    client: Client,
}

impl Sandbox {
    /// Starts a second Kubernetes and waits until it answers.
    ///
    /// # Errors
    /// When a part does not come up; the message holds the end of its log.
    pub async fn second_kubernetes(&self) -> Result<SecondKubernetes> {
        let programs = assets::kubernetes(self.layout(), &Progress::quiet())?;
        let layout = self.layout().second();
        let [etcd, peers, port] = free_ports()?;
        let authority = Authority::create(&layout)?;
        let (server, admin) = (format!("https://127.0.0.1:{port}"), ["system:masters"]);
        authority.kubeconfig(&layout.kubeconfig(), &server, "second-admin", &admin)?;
        let client = client_of(&layout.kubeconfig()).await?;
        // From here on whatever was started ends with it, however this ends.
        let data = self.layout().state().join("second-etcd");
        let second = SecondKubernetes { daemons: self.layout().daemons(), layout, data, port, client };
        second.start(&programs, ETCD, control_plane::etcd_arguments(&second.data, (etcd, peers))?)?;
        let address = ("127.0.0.1", port);
        let args = control_plane::api_server_arguments(&second.layout, address, etcd);
        second.start(&programs, API_SERVER, args)?;
        second.until_ready().await?;
        let controllers =
            control_plane::kubeconfig(&second.layout, &authority, &server, control_plane::CONTROLLERS)?;
        let mut args = control_plane::controller_arguments(&second.layout, &controllers);
        args.push("--secure-port=0".to_owned());
        second.start(&programs, CONTROLLERS, args)?;
        let scheduler =
            control_plane::kubeconfig(&second.layout, &authority, &server, control_plane::SCHEDULER)?;
        let mut args = control_plane::scheduler_arguments(&scheduler);
        args.push("--secure-port=0".to_owned());
        second.start(&programs, SCHEDULER, args)?;
        Ok(second)
    }
}

impl SecondKubernetes {
    /// Its administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// Its administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where its API server listens, as `127.0.0.1:26444`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it; what was in it is gone.
    ///
    /// # Errors
    /// When a process resists.
    pub fn stop(&self) -> Result<()> {
        for program in [SCHEDULER, CONTROLLERS, API_SERVER, ETCD] {
            self.daemons.stop(&daemon_name(program), Duration::ZERO)?;
        }
        for folder in [&self.data, self.layout.run()] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("remove {}", folder.display()))?,
            }
        }
        Ok(())
    }

    fn start(&self, programs: &Path, program: &str, args: Vec<String>) -> Result<()> {
        let (name, program) = (&daemon_name(program), &programs.join(program));
        let daemon = Daemon { name, namespace: None, program, args, env: Vec::new() };
        self.daemons.start(&daemon).with_context(|| format!("start {name}"))?;
        Ok(())
    }

    async fn until_ready(&self) -> Result<()> {
        let waited = until("the second API server to be ready", READY, || async {
            let request = Request::get("/readyz").body(Vec::new())?;
            let text = self.client.request_text(request).await?;
            Ok(Seen::when(text == "ok", text))
        });
        let log = self.daemons.log(&daemon_name(API_SERVER));
        waited.await.with_context(|| format!("the end of its log:\n{}", crate::process::tail(&log, 30)))
    }
}

impl Drop for SecondKubernetes {
    fn drop(&mut self) {
        // What resists is found when the sandbox goes down.
        let _ = self.stop();
    }
}

/// Tells it from the sandbox's own.
fn daemon_name(program: &str) -> String {
    format!("second-{program}")
}

/// Three that nobody listens on now.
fn free_ports() -> Result<[u16; 3]> {
    let bind = || std::net::TcpListener::bind(("127.0.0.1", 0));
    // All are held until each is known, so that they differ.
    let held = [bind()?, bind()?, bind()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
