//! Who reaches whom. Directions are apart: a link may be cut one way only.

use std::collections::BTreeSet;

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A node, by number.
    Node(usize),
    /// The API server.
    Api,
    /// The clients.
    Clients,
}

/// Cut directions.
#[derive(Clone, Debug, Default)]
pub struct Network {
    cut: BTreeSet<(End, End)>,
}

impl Network {
    /// Packets from `from` come to `to`.
    pub fn passes(&self, from: End, to: End) -> bool {
        from == to || !self.cut.contains(&(from, to))
    }

    /// A request and its answer get through.
    pub fn talks(&self, one: End, other: End) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: End, to: End) {
        self.cut.insert((from, to));
    }

    /// Everything passes again.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Everything of one node passes again.
    pub fn heal_node(&mut self, node: usize) {
        let node = End::Node(node);
        self.cut.retain(|(from, to)| *from != node && *to != node);
    }
}
