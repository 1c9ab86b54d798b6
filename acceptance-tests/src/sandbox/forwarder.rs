//! The one process of ours that stays while the sandbox is up (`dev sandbox-forwarder`).
//!
//! ```text
//!   programs on this machine ──> 127.0.0.1:port ──┐
//!                                                 ├── faults ──> API server
//!   nodes, their pods, clients ──> 10.97.0.2 ─────┘
//! ```
//! All requests pass through it all the time, so that a fault can begin and end under open connections. It also empties
//! released volumes, as a provisioner would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use super::layout::{API_ADDRESS, API_PORT, API_PROXY_ADDRESS, CONTROL_PLANE, Layout, NODE_COUNT, Node};
use super::{netns, volumes};

/// What happens to requests to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ApiFault {
    /// Nothing: they pass.
    #[default]
    None,
    /// Every piece, in both directions, is held up for so long.
    Delay {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Nothing passes and nothing is closed, as when packets get lost. What was sent meanwhile arrives after the end.
    Drop,
    /// Requests pass, and are carried out; their answers don't.
    LoseReplies,
    /// Open connections are reset, new ones too.
    Refuse,
}

/// Whose requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// A node with its pods, by number.
    Node(u8),
    /// All nodes with their pods.
    Nodes,
    /// The client namespace (only its kube-proxy asks the API server).
    Client,
    /// Programs on this machine: terraform, kubectl, the tests.
    Host,
}

/// The fault in force for each asker: nodes by number, then the client, then this machine.
#[derive(Debug, Clone, Default)]
struct Faults([ApiFault; NODE_COUNT as usize + 2]);

const CLIENT_PLACE: usize = NODE_COUNT as usize;
const HOST_PLACE: usize = NODE_COUNT as usize + 1;

impl Faults {
    fn set(&mut self, who: Who, fault: ApiFault) -> Result<()> {
        match who {
            Who::Node(number) if (1..=NODE_COUNT).contains(&number) => {
                self.0[usize::from(number) - 1] = fault;
            }
            Who::Node(number) => bail!("there is no node {number}"),
            Who::Nodes => self.0[..usize::from(NODE_COUNT)].fill(fault),
            Who::Client => self.0[CLIENT_PLACE] = fault,
            Who::Host => self.0[HOST_PLACE] = fault,
        }
        Ok(())
    }
}

/// Order to the running forwarder.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    who: Who,
    fault: ApiFault,
}

/// Sets a fault in the running forwarder; it is in force when this returns.
///
/// # Errors
/// When the forwarder does not answer.
pub async fn set_fault(layout: &Layout, who: Who, fault: ApiFault) -> Result<()> {
    let stream = UnixStream::connect(layout.fault_socket())
        .await
        .context("reach the forwarder: is the sandbox up?")?;
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{}\n", serde_json::to_string(&Order { who, fault })?).as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(read).read_line(&mut answer).await?;
    if answer.trim() != "ok" {
        bail!("the forwarder refused: {answer}");
    }
    Ok(())
}

/// Runs the forwarder until it is killed.
///
/// # Errors
/// When a socket can't be had.
pub fn run(layout: &Layout, port: u16) -> Result<()> {
    // Made out here, so that it answers on the machine's own loopback; used in there.
    let host = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("listen on 127.0.0.1:{port}"))?;
    host.set_nonblocking(true)?;
    std::thread::spawn({
        let layout = layout.clone();
        move || recycle(&layout)
    });
    netns::enter(CONTROL_PLANE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(layout, host))
}

async fn serve(layout: &Layout, host: std::net::TcpListener) -> Result<()> {
    let (orders, faults) = watch::channel(Faults::default());
    let host = TcpListener::from_std(host)?;
    let inside = TcpListener::bind((API_PROXY_ADDRESS, API_PORT)).await.context("listen inside")?;
    let _ = std::fs::remove_file(layout.fault_socket());
    let control = UnixListener::bind(layout.fault_socket()).context("listen for faults")?;
    loop {
        tokio::select! {
            accepted = host.accept() => accept(accepted.map(|(stream, _)| (stream, HOST_PLACE)), &faults),
            accepted = inside.accept() => accept(accepted.map(|(stream, peer)| (stream, place_of(peer))), &faults),
            accepted = control.accept() => {
                if let Ok((stream, _)) = accepted
                    && let Err(error) = obey(stream, &orders).await
                {
                    complain(&format!("fault order: {error:#}"));
                }
            }
        }
    }
}

fn accept(accepted: std::io::Result<(TcpStream, usize)>, faults: &watch::Receiver<Faults>) {
    match accepted {
        Ok((stream, place)) => {
            let faults = faults.clone();
            tokio::spawn(async move {
                // However it ends, both sides are closed: there is no one to tell.
                let _ = relay(stream, place, faults).await;
            });
        }
        Err(error) => complain(&format!("accept: {error}")),
    }
}

/// Which asker an address belongs to.
fn place_of(peer: SocketAddr) -> usize {
    let IpAddr::V4(address) = peer.ip() else { return CLIENT_PLACE };
    Node::all()
        .find(|node| {
            let of_pods = [10, 98, node.number()] == address.octets()[..3];
            of_pods || node.address() == address.to_string()
        })
        .map_or(CLIENT_PLACE, |node| usize::from(node.number()) - 1)
}

async fn obey(stream: UnixStream, orders: &watch::Sender<Faults>) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::time::timeout(Duration::from_secs(1), BufReader::new(read).read_line(&mut line)).await??;
    let order: Order = serde_json::from_str(&line)?;
    let mut outcome = Ok(());
    orders.send_modify(|faults| outcome = faults.set(order.who, order.fault));
    let answer = outcome.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    Ok(write.write_all(format!("{answer}\n").as_bytes()).await?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

async fn relay(from: TcpStream, place: usize, mut faults: watch::Receiver<Faults>) -> Result<()> {
    // Dropping the connection says "reset" rather than "the end".
    from.set_zero_linger()?;
    await_passage(&mut faults, place, Direction::Request).await?;
    let to = TcpStream::connect((API_ADDRESS, API_PORT)).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let (from_read, from_write) = from.into_split();
    let (to_read, to_write) = to.into_split();
    tokio::try_join!(
        pump(from_read, to_write, place, Direction::Request, faults.clone()),
        pump(to_read, from_write, place, Direction::Answer, faults),
    )?;
    Ok(())
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    place: usize,
    direction: Direction,
    mut faults: watch::Receiver<Faults>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        await_passage(&mut faults, place, direction).await?;
        let count = tokio::select! {
            read = from.read(&mut buffer) => read?,
            changed = faults.changed() => { changed?; continue }
        };
        // A fault that began while we read holds this piece up as well.
        await_passage(&mut faults, place, direction).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let fault = faults.borrow().0[place];
        if let ApiFault::Delay { delay_ms } = fault {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Returns when data of this direction may pass; an error resets the connection.
async fn await_passage(
    faults: &mut watch::Receiver<Faults>,
    place: usize,
    direction: Direction,
) -> Result<()> {
    loop {
        let fault = faults.borrow_and_update().0[place];
        match fault {
            ApiFault::None | ApiFault::Delay { .. } => return Ok(()),
            ApiFault::LoseReplies if direction == Direction::Request => return Ok(()),
            ApiFault::Refuse => bail!("refused on purpose"),
            ApiFault::Drop | ApiFault::LoseReplies => faults.changed().await?,
        }
    }
}

/// Empties released volumes for as long as the sandbox is up.
fn recycle(layout: &Layout) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            // While the API server is stopped on purpose nothing is released.
            if let Ok(client) = super::client_of(&layout.kubeconfig()).await {
                while volumes::recycle(layout, &client).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
        }
    });
}

fn complain(text: &str) {
    // Standard error is the forwarder's log.
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_where_they_come_from() {
        let place = |address: &str| place_of(format!("{address}:1").parse().unwrap());
        assert_eq!(place("10.97.0.12"), 1);
        assert_eq!(place("10.98.3.7"), 2);
        assert_eq!(place("10.97.0.100"), CLIENT_PLACE);
    }

    #[tokio::test]
    async fn lost_replies_stop_answers_only_and_end_with_the_fault() {
        let (orders, mut faults) = watch::channel(Faults::default());
        orders.send_modify(|faults| faults.set(Who::Node(2), ApiFault::LoseReplies).unwrap());
        await_passage(&mut faults, 1, Direction::Request).await.unwrap();
        await_passage(&mut faults, 0, Direction::Answer).await.unwrap();
        let held = tokio::spawn(async move { await_passage(&mut faults, 1, Direction::Answer).await });
        tokio::task::yield_now().await;
        assert!(!held.is_finished());
        orders.send_modify(|faults| faults.set(Who::Nodes, ApiFault::None).unwrap());
        held.await.unwrap().unwrap();
    }
}
