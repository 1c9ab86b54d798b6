//! The disks as the driver knows them: which there are, where, and how large.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::sys::statvfs::statvfs;
use tonic::Status;

use super::pb::csi::{CapacityRange, Topology, TopologyRequirement};
use crate::sandbox::disks::is_mount_point;
use crate::sandbox::layout::{Layout, Node};

/// Label of a node that says which disks it has. The kubelet sets it, from what the node's driver says.
const TOPOLOGY: &str = "growing.sandbox.pgha/node";

/// All nodes' disks.
#[derive(Clone)]
pub struct Disks(pub Layout);

impl Disks {
    /// Where a node's disk of this name is, or would be.
    pub fn folder(&self, node: Node, id: &str) -> PathBuf {
        self.0.node_state(node).join("growing-disks").join(id)
    }

    /// A disk that is there.
    pub fn find(&self, id: &str) -> Option<(Node, PathBuf)> {
        let folders = Node::all().map(|node| (node, self.folder(node, id)));
        folders.into_iter().find(|(_, folder)| is_mount_point(folder))
    }
}

/// What a disk holds, in bytes.
pub fn size_of(folder: &PathBuf) -> Result<u64, Status> {
    let seen = statvfs(folder).map_err(failed)?;
    Ok(seen.blocks() * seen.fragment_size())
}

/// Where a volume of this node can be used.
pub fn topology(node: Node) -> Topology {
    Topology { segments: BTreeMap::from([(TOPOLOGY.to_owned(), node.name())]) }
}

/// The node that a new volume is wanted on.
pub fn wanted_node(requirement: Option<TopologyRequirement>) -> Result<Node, Status> {
    let TopologyRequirement { preferred, requisite } = requirement.unwrap_or_default();
    let named = |one: Topology| Node::named(one.segments.get(TOPOLOGY)?);
    preferred
        .into_iter()
        .chain(requisite)
        .find_map(named)
        .ok_or_else(|| Status::resource_exhausted("no node of this driver is asked for"))
}

/// The size that is asked for.
pub fn wanted_bytes(range: Option<CapacityRange>) -> Result<u64, Status> {
    let bytes = range.map(|range| range.required_bytes).unwrap_or_default();
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| Status::invalid_argument("no size is asked for"))
}

pub fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_but(node: &str) -> Vec<Topology> {
        Node::all().filter(|one| one.name() != node).map(topology).collect()
    }

    #[test]
    fn the_node_that_is_preferred_comes_before_those_that_would_do() {
        let preferred = Node::named("node2").map(topology).into_iter().collect();
        let asked = TopologyRequirement { preferred, requisite: all_but("node2") };
        assert_eq!(wanted_node(Some(asked)).unwrap().name(), "node2");
        let asked = TopologyRequirement { preferred: Vec::new(), requisite: all_but("node1") };
        assert_eq!(wanted_node(Some(asked)).unwrap().name(), "node2");
        assert_eq!(wanted_node(None).unwrap_err().code(), tonic::Code::ResourceExhausted);
    }

    #[test]
    fn a_size_that_is_none_is_refused() {
        let asked = |required_bytes| wanted_bytes(Some(CapacityRange { required_bytes, limit_bytes: 0 }));
        assert_eq!(asked(4096).unwrap(), 4096);
        for none in [0, -1] {
            assert_eq!(asked(none).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
