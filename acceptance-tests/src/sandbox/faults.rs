//! Faults of the network and of the control plane. What happens to processes of pods is in `pods.rs`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::Sandbox;
use super::control_plane;
use super::forwarder::{ApiFault, Who, set_fault};
use super::layout::{API_ADDRESS, API_PROXY_ADDRESS, CLIENT_ADDRESS, Node};
use super::network::command_in;
use super::pki::Authority;
use crate::process::run;

const API_SERVER: &str = "kube-apiserver";

/// From what a node, with its pods, is cut off. Open connections are cut as new ones are: packets get lost, nothing is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// From everything.
    All,
    /// From the API server.
    ApiOnly,
    /// From the other nodes and their pods; the API server and clients are reached.
    PeersOnly,
    /// From clients outside the nodes.
    ClientsOnly,
    /// Nothing arrives at the node; what it sends gets out.
    OneWayIn,
    /// Nothing that the node sends gets out; it receives.
    OneWayOut,
}

impl Cut {
    /// Networks on the other side of the cut; none: all there are.
    fn others(self, node: Node) -> Option<Vec<String>> {
        match self {
            Cut::All | Cut::OneWayIn | Cut::OneWayOut => None,
            Cut::ApiOnly => Some(vec![API_ADDRESS.to_owned(), API_PROXY_ADDRESS.to_owned()]),
            Cut::ClientsOnly => Some(vec![CLIENT_ADDRESS.to_owned()]),
            Cut::PeersOnly => {
                let peers = Node::all().filter(|other| *other != node);
                Some(peers.flat_map(|other| [other.address(), other.pod_network()]).collect())
            }
        }
    }

    fn inwards(self) -> bool {
        self != Cut::OneWayOut
    }

    fn outwards(self) -> bool {
        self != Cut::OneWayIn
    }
}

/// Where packets from outside are dropped: before anything else looks at them, for the node and for its pods.
const IN_TABLE: &str = "raw";
const IN_HOOK: &str = "PREROUTING";
/// Where packets to the outside are dropped: after the address of a Service has become that of a pod.
const OUT_TABLE: &str = "mangle";
const OUT_HOOK: &str = "POSTROUTING";
const CHAIN: &str = "PGHA-CUT";

impl Sandbox {
    /// Cuts a node off. A cut that is in force is replaced.
    ///
    /// # Errors
    /// When `iptables` fails.
    pub fn cut(&self, node: Node, cut: Cut) -> Result<()> {
        self.heal(node)?;
        // One call per table, so that a cut begins at once for all that it names.
        if cut.inwards() {
            drop_packets(node, IN_TABLE, IN_HOOK, "-i", "-s", cut.others(node).as_deref())?;
        }
        if cut.outwards() {
            drop_packets(node, OUT_TABLE, OUT_HOOK, "-o", "-d", cut.others(node).as_deref())?;
        }
        Ok(())
    }

    /// Brings a node back, whatever cut it off; one that is not cut off stays as it is.
    ///
    /// # Errors
    /// When `iptables` fails.
    pub fn heal(&self, node: Node) -> Result<()> {
        for (table, hook) in [(IN_TABLE, IN_HOOK), (OUT_TABLE, OUT_HOOK)] {
            let rules = run(command_in(&node.namespace(), "iptables-save").args(["-t", table]))?;
            if rules.contains(&format!(":{CHAIN} ")) {
                let text = format!("*{table}\n-D {hook} -j {CHAIN}\n-F {CHAIN}\n-X {CHAIN}\nCOMMIT\n");
                restore(node, &text)?;
            }
        }
        Ok(())
    }

    /// Brings all nodes back, starts or resumes the API server, and ends its faults: what a test calls in its end.
    ///
    /// # Errors
    /// When one part does not come back.
    pub async fn heal_everything(&self) -> Result<()> {
        for node in Node::all() {
            self.heal(node)?;
        }
        for who in [Who::Nodes, Who::Client, Who::Host] {
            self.api_fault(who, ApiFault::None).await?;
        }
        self.resume_api_server()?;
        self.start_api_server().await
    }

    /// Puts a fault before the API server, for some askers; `ApiFault::None` ends it.
    ///
    /// # Errors
    /// When the forwarder does not answer.
    pub async fn api_fault(&self, who: Who, fault: ApiFault) -> Result<()> {
        set_fault(self.layout(), who, fault).await
    }

    /// Kills the API server. Connections to it are reset.
    ///
    /// # Errors
    /// When it resists.
    pub fn stop_api_server(&self) -> Result<()> {
        self.layout().daemons().stop(API_SERVER, Duration::ZERO)
    }

    /// Starts the API server unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_api_server(&self) -> Result<()> {
        if self.layout().daemons().find(API_SERVER).is_some() {
            return Ok(());
        }
        let layout = self.layout().clone();
        let programs = layout.run().join("bin");
        tokio::task::spawn_blocking(move || control_plane::start_api_server(&layout, &programs)).await?
    }

    /// Starts the controllers, the scheduler and the DNS server anew: what they saw before an outage of the API server, they see
    /// afresh. The DNS server, left alone, may not know a new Service for half a minute.
    ///
    /// # Errors
    /// When one can't be started.
    pub async fn restart_controllers(&self) -> Result<()> {
        let layout = self.layout().clone();
        let work = move || {
            for name in ["kube-controller-manager", "kube-scheduler", "coredns"] {
                layout.daemons().stop(name, Duration::ZERO)?;
            }
            let (programs, authority) = (layout.run().join("bin"), Authority::open(&layout)?);
            control_plane::start_controllers(&layout, &programs, &authority)?;
            control_plane::start_dns(&layout, &programs, &authority)
        };
        tokio::task::spawn_blocking(work).await?
    }

    /// Suspends the API server: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause_api_server(&self) -> Result<()> {
        self.signal_daemon(API_SERVER, Signal::SIGSTOP)
    }

    /// Lets a suspended API server go on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume_api_server(&self) -> Result<()> {
        if self.layout().daemons().find(API_SERVER).is_none() {
            return Ok(());
        }
        self.signal_daemon(API_SERVER, Signal::SIGCONT)
    }

    /// Sends a signal to a part of the cluster by its name, such as `kubelet-node2` or `kube-scheduler`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal_daemon(&self, name: &str, signal: Signal) -> Result<()> {
        let daemon = self.layout().daemons().find(name).with_context(|| format!("{name} does not run"))?;
        daemon.signal(signal)
    }
}

fn drop_packets(
    node: Node,
    table: &str,
    hook: &str,
    link_option: &str,
    address_option: &str,
    others: Option<&[String]>,
) -> Result<()> {
    let rules: Vec<String> = match others {
        None => vec![format!("-A {CHAIN} {link_option} eth0 -j DROP")],
        Some(networks) => networks
            .iter()
            .map(|network| format!("-A {CHAIN} {link_option} eth0 {address_option} {network} -j DROP"))
            .collect(),
    };
    let text = format!("*{table}\n:{CHAIN} - [0:0]\n{}\n-I {hook} 1 -j {CHAIN}\nCOMMIT\n", rules.join("\n"));
    restore(node, &text)
}

/// Applies rules in one step, beside those that are there.
fn restore(node: Node, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut rules = tempfile::NamedTempFile::new()?;
    rules.write_all(text.as_bytes())?;
    run(command_in(&node.namespace(), "iptables-restore").arg("--noflush").arg(rules.path()))
        .with_context(|| format!("change the rules of {node}:\n{text}"))?;
    Ok(())
}
