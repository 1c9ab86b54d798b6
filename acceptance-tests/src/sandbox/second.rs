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
/// Its programs, and the daemons' names, which tell them from the sandbox's own.
const PARTS: [(&str, &str); 4] = [
    ("etcd", "second-etcd"),
    ("kube-apiserver", "second-kube-apiserver"),
    ("kube-controller-manager", "second-kube-controller-manager"),
    ("kube-scheduler", "second-kube-scheduler"),
];

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
        second.start(&programs, 0, control_plane::etcd_arguments(&second.data, (etcd, peers))?)?;
        let address = ("127.0.0.1", port);
        let args = control_plane::api_server_arguments(&second.layout, address, etcd);
        second.start(&programs, 1, args)?;
        second.until_ready().await?;
        let controllers = second.kubeconfig_of(&authority, control_plane::CONTROLLERS)?;
        let mut args = control_plane::controller_arguments(&second.layout, &controllers);
        args.push("--secure-port=0".to_owned());
        second.start(&programs, 2, args)?;
        let scheduler = second.kubeconfig_of(&authority, control_plane::SCHEDULER)?;
        let mut args = control_plane::scheduler_arguments(&scheduler);
        args.push("--secure-port=0".to_owned());
        second.start(&programs, 3, args)?;
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
        for (_, name) in PARTS.iter().rev() {
            self.daemons.stop(name, Duration::ZERO)?;
        }
        for folder in [&self.data, self.layout.run()] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("remove {}", folder.display()))?,
            }
        }
        Ok(())
    }

    fn start(&self, programs: &Path, part: usize, args: Vec<String>) -> Result<()> {
        let (program, name) = PARTS[part];
        let daemon =
            Daemon { name, namespace: None, program: &programs.join(program), args, env: Vec::new() };
        self.daemons.start(&daemon).with_context(|| format!("start {name}"))?;
        Ok(())
    }

    async fn until_ready(&self) -> Result<()> {
        let (_, name) = PARTS[1];
        let waited = until("the second API server to be ready", READY, || async {
            let request = Request::get("/readyz").body(Vec::new())?;
            let text = self.client.request_text(request).await?;
            Ok(Seen::when(text == "ok", text))
        });
        let log = self.daemons.log(name);
        waited.await.with_context(|| format!("the end of its log:\n{}", crate::process::tail(&log, 30)))
    }

    fn kubeconfig_of(&self, authority: &Authority, user: &str) -> Result<String> {
        let file = self.layout.run().join(format!("{}.kubeconfig", user.replace(':', "-")));
        authority.kubeconfig(&file, &format!("https://{}", self.address()), user, &[])?;
        Ok(file.display().to_string())
    }
}

impl Drop for SecondKubernetes {
    fn drop(&mut self) {
        // What resists is found when the sandbox goes down.
        let _ = self.stop();
    }
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
