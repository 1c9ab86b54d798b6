//! `cargo dev fault …`: the sandbox's faults by hand.

use anyhow::{Context as _, Result};
use clap::{Subcommand, ValueEnum};

use crate::progress::Progress;
use crate::sandbox::{ApiFault, Cut, Node, Sandbox, Who};

/// A fault.
#[derive(Subcommand)]
pub enum Fault {
    /// Cut a node off
    Cut {
        /// node1, node2 or node3
        node: String,
        /// From what
        #[arg(value_enum, default_value_t = From::All)]
        from: From,
    },
    /// Put a fault before the API server, for all nodes
    Api {
        /// What happens to requests
        #[arg(value_enum)]
        what: Trouble,
    },
    /// Bring everything back
    Heal,
}

/// From what a node is cut off.
#[derive(Clone, Copy, ValueEnum)]
pub enum From {
    /// Everything
    All,
    /// The API server
    Api,
    /// The other nodes and their pods
    Peers,
    /// Clients outside the nodes
    Clients,
    /// Nothing arrives
    OneWayIn,
    /// Nothing gets out
    OneWayOut,
}

/// What happens to the API server or to requests to it.
#[derive(Clone, Copy, ValueEnum)]
pub enum Trouble {
    /// Every piece takes half a second longer
    Delay,
    /// Nothing passes
    Drop,
    /// Requests pass, answers don't
    LoseReplies,
    /// Connections are reset
    Refuse,
    /// The API server is killed
    Stop,
    /// The API server is suspended
    Pause,
}

/// Does it.
///
/// # Errors
/// When the sandbox is not up or something does not obey.
pub async fn run(fault: Fault, progress: &Progress) -> Result<()> {
    let sandbox = Sandbox::connect().await?;
    match fault {
        Fault::Cut { node, from } => {
            let node = Node::named(&node).with_context(|| format!("there is no node {node}"))?;
            sandbox.cut(node, cut_of(from))?;
        }
        Fault::Api { what } => match what {
            Trouble::Delay => sandbox.api_fault(Who::Nodes, ApiFault::Delay { delay_ms: 500 }).await?,
            Trouble::Drop => sandbox.api_fault(Who::Nodes, ApiFault::Drop).await?,
            Trouble::LoseReplies => sandbox.api_fault(Who::Nodes, ApiFault::LoseReplies).await?,
            Trouble::Refuse => sandbox.api_fault(Who::Nodes, ApiFault::Refuse).await?,
            Trouble::Stop => sandbox.stop_api_server()?,
            Trouble::Pause => sandbox.pause_api_server()?,
        },
        Fault::Heal => sandbox.heal_everything().await?,
    }
    progress.say("done; `cargo dev fault heal` brings everything back");
    Ok(())
}

fn cut_of(from: From) -> Cut {
    match from {
        From::All => Cut::All,
        From::Api => Cut::ApiOnly,
        From::Peers => Cut::PeersOnly,
        From::Clients => Cut::ClientsOnly,
        From::OneWayIn => Cut::OneWayIn,
        From::OneWayOut => Cut::OneWayOut,
    }
}
