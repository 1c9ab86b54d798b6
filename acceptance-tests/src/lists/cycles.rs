//! Which transaction must have come before which, and whether that goes round in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::check::Happened;

/// Why one transaction comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// Its append stands just before the other's in a list.
    Followed,
    /// The other read its append.
    Read,
    /// It read a list without the other's append.
    Overlooked,
}

/// `from` comes before `to`; both by their place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The earlier one.
    pub from: usize,
    /// The later one.
    pub to: usize,
    /// Why.
    pub why: Dependency,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, why } = self;
        match why {
            Dependency::Followed => write!(f, "{to} appended after {from}"),
            Dependency::Read => write!(f, "{to} read what {from} appended"),
            Dependency::Overlooked => write!(f, "{from} did not see what {to} appended"),
        }
    }
}

type Graph = BTreeMap<usize, BTreeSet<Edge>>;

/// A shortest circle through each transaction that begins one no other found circle has; none when there is an order.
pub(super) fn find(happened: &Happened<'_>) -> Vec<Vec<Edge>> {
    let graph = graph(happened);
    let mut circles: Vec<Vec<Edge>> = Vec::new();
    for start in on_circles(&graph) {
        if circles.iter().flatten().any(|edge| edge.from == start) {
            continue;
        }
        circles.extend(shortest_circle(&graph, start));
    }
    circles
}

fn graph(happened: &Happened<'_>) -> Graph {
    let mut graph = Graph::new();
    let mut add = |from: usize, to: usize, why: Dependency| {
        if from != to {
            graph.entry(from).or_default().insert(Edge { from, to, why });
        }
    };
    for (key, list) in happened.last {
        for pair in list.windows(2) {
            if let (Some(from), Some(to)) = (happened.writer(*key, pair[0]), happened.writer(*key, pair[1])) {
                add(from, to, Dependency::Followed);
            }
        }
    }
    for (reader, transaction) in happened.committed() {
        for (key, seen) in transaction.reads() {
            if let Some(writer) = seen.last().and_then(|value| happened.writer(key, *value)) {
                add(writer, reader, Dependency::Read);
            }
            let next = happened.list(key).get(seen.len());
            if let Some(writer) = next.and_then(|value| happened.writer(key, *value)) {
                add(reader, writer, Dependency::Overlooked);
            }
        }
    }
    graph
}

/// What is left when those are taken away, again and again, that nobody comes before or after.
fn on_circles(graph: &Graph) -> Vec<usize> {
    let mut edges: BTreeSet<(usize, usize)> =
        graph.values().flatten().map(|edge| (edge.from, edge.to)).collect();
    loop {
        let sources: BTreeSet<usize> = edges.iter().map(|(from, _)| *from).collect();
        let sinks: BTreeSet<usize> = edges.iter().map(|(_, to)| *to).collect();
        let before = edges.len();
        edges.retain(|(from, to)| sinks.contains(from) && sources.contains(to));
        if edges.len() == before {
            return sources.into_iter().collect();
        }
    }
}

/// Breadth first from a transaction back to itself; nothing when it only lies between circles.
fn shortest_circle(graph: &Graph, start: usize) -> Option<Vec<Edge>> {
    let mut came_by: BTreeMap<usize, Edge> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for edge in graph.get(&at).into_iter().flatten() {
            if came_by.contains_key(&edge.to) {
                continue;
            }
            came_by.insert(edge.to, *edge);
            if edge.to == start {
                return Some(way_back(&came_by, start));
            }
            queue.push_back(edge.to);
        }
    }
    None
}

fn way_back(came_by: &BTreeMap<usize, Edge>, start: usize) -> Vec<Edge> {
    let mut way = Vec::new();
    let mut at = start;
    while let Some(edge) = came_by.get(&at) {
        way.push(*edge);
        at = edge.from;
        if at == start {
            break;
        }
    }
    way.reverse();
    way
}
