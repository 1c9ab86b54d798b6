//! What `synchronous_standby_names` says, and when it suits a record (A16).
//!
//! With the names in force every acknowledged commit is on `number` of `members`; by the record any q of V may decide who
//! leads. They meet in a member that has the commit when `number + q > |members ∪ V|`.

use std::collections::BTreeSet;
use std::fmt;

use pgha_schema::desired::{Desired, SyncMode};
use pgha_schema::ids::MemberId;

use crate::failsafe::Rivals;

/// Names that no member can match: member ids have no underscore.
const NOBODY: &str = "FIRST 1 (pgha_nobody)";

/// What the setting says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Commits wait for nobody.
    Empty,
    /// They wait for as long as this stands.
    Nobody,
    /// They wait for so many of these.
    Wait {
        /// `ANY`, else `FIRST`: where all have to confirm it is the same.
        any: bool,
        /// How many have to confirm.
        number: usize,
        /// Which.
        members: BTreeSet<MemberId>,
    },
}

impl Names {
    /// So many of these, at least one, at most all.
    pub(crate) fn waits(any: bool, number: usize, members: &BTreeSet<MemberId>) -> Self {
        if members.is_empty() {
            return Self::Nobody;
        }
        Self::Wait { any, number: number.clamp(1, members.len()), members: members.clone() }
    }

    /// The laxest names that suit each of these records; of none that names anybody: [`Names::Nobody`].
    pub(crate) fn for_all<'a>(rivals: impl Iterator<Item = &'a Rivals>) -> Self {
        let (mut members, mut quorum) = (BTreeSet::new(), usize::MAX);
        for rivals in rivals.filter(|rivals| !rivals.voters().is_empty()) {
            members.extend(rivals.voters().iter().cloned());
            quorum = quorum.min(rivals.quorum());
        }
        let number = (members.len() + 1).saturating_sub(quorum);
        Self::waits(number < members.len(), number, &members)
    }

    /// What a text says that this agent may have written; anything else names nobody.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::Empty;
        }
        let Some((head, list)) = text.split_once('(') else { return Self::Nobody };
        let mut words = head.split_whitespace();
        let any = words.next() == Some("ANY");
        let number = words.next().and_then(|word| word.parse().ok());
        let members: BTreeSet<MemberId> = list
            .trim_end_matches(')')
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty() && !name.contains('_'))
            .map(MemberId::new)
            .collect();
        number.map_or(Self::Nobody, |number| Self::waits(any, number, &members))
    }

    /// Whom they name.
    pub fn members(&self) -> BTreeSet<MemberId> {
        match self {
            Self::Empty | Self::Nobody => BTreeSet::new(),
            Self::Wait { members, .. } => members.clone(),
        }
    }

    /// How many have to confirm.
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::Empty | Self::Nobody => 0,
            Self::Wait { number, .. } => *number,
        }
    }

    /// A16: whoever may take by this record finds every commit that these names let through.
    pub(crate) fn suits(&self, rivals: &Rivals) -> bool {
        let voters = rivals.voters();
        if voters.is_empty() {
            // Async, or only the holder may lead.
            return true;
        }
        match self {
            Self::Empty => false,
            Self::Nobody => true,
            Self::Wait { number, members, .. } => number + rivals.quorum() > members.union(voters).count(),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Nobody => out.write_str(NOBODY),
            Self::Wait { any, number, members } => {
                let list: Vec<&str> = members.iter().map(MemberId::as_str).collect();
                write!(out, "{} {number} ({})", if *any { "ANY" } else { "FIRST" }, list.join(", "))
            }
        }
    }
}

/// Names and record that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// In force.
    pub names: Names,
    /// V.
    pub voters: BTreeSet<MemberId>,
    /// q.
    pub quorum: usize,
}

impl Pair {
    /// So many of these members confirm in this mode: in `sync` all that are named, in `quorum` any.
    pub fn of(mode: SyncMode, number: usize, members: &BTreeSet<MemberId>) -> Self {
        let any = mode == SyncMode::Quorum;
        let names = Names::waits(any, if any { number } else { members.len() }, members);
        let quorum = (members.len() + 1).saturating_sub(names.number()).max(1);
        Self { names, voters: members.clone(), quorum }
    }

    /// Whether these voters, this q and these names are what the wish asks for in full.
    pub fn is_wished(wish: &Desired, voters: &BTreeSet<MemberId>, quorum: u32, names: &str) -> bool {
        let number = wish.sync_replicas.max(1) as usize;
        let count = match wish.sync_mode {
            SyncMode::Async => return voters.is_empty() && names.is_empty(),
            SyncMode::Sync => voters.len() == number,
            SyncMode::Quorum => voters.len() >= number,
        };
        let pair = Self::of(wish.sync_mode, number, voters);
        count && pair.quorum == quorum as usize && pair.names.to_string() == names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<MemberId> {
        names.iter().map(|name| MemberId::new(*name)).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["", NOBODY, "FIRST 2 (a, b)", "ANY 1 (a, b, c)", "ANY 2 (a, b)"] {
            assert_eq!(Names::parse(text).to_string(), text);
        }
        for foreign in ["a, b", "FIRST x (a)", "*"] {
            assert_eq!(Names::parse(foreign), Names::Nobody, "{foreign}");
        }
    }

    #[test]
    fn every_set_of_q_voters_meets_every_set_that_confirmed() {
        let universe = ["a", "b", "c", "d"];
        let subsets = |size: usize| -> Vec<BTreeSet<MemberId>> {
            (0..16_u32)
                .map(|bits| {
                    universe
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| bits & (1 << at) != 0)
                        .map(|(_, name)| MemberId::new(*name))
                        .collect::<BTreeSet<_>>()
                })
                .filter(|set| set.len() == size)
                .collect()
        };
        let of_any_size = || (1..=4).flat_map(subsets);
        let mut suited = 0;
        for members in of_any_size() {
            for number in 1..=members.len() {
                let names = Names::waits(true, number, &members);
                for voters in of_any_size() {
                    for quorum in 1..=voters.len() {
                        let meets =
                            subsets(number).iter().filter(|set| set.is_subset(&members)).all(|confirmed| {
                                subsets(quorum)
                                    .iter()
                                    .filter(|set| set.is_subset(&voters))
                                    .all(|takers| !confirmed.is_disjoint(takers))
                            });
                        let suits = names.suits(&Rivals::new(voters.clone(), quorum));
                        assert!(!suits || meets, "{names} with {quorum} of {voters:?}");
                        suited += usize::from(suits);
                    }
                }
            }
        }
        assert!(suited > 100);
    }

    #[test]
    fn the_laxest_names_for_several_records_suit_each_of_them() {
        let records =
            [Rivals::new(set(&["a"]), 1), Rivals::new(set(&["a", "b"]), 2), Rivals::new(set(&[]), 1)];
        let names = Names::for_all(records.iter());
        assert_eq!(names.to_string(), "FIRST 2 (a, b)");
        assert!(records.iter().all(|rivals| names.suits(rivals)));
        assert_eq!(Names::for_all(records[1..].iter()).to_string(), "ANY 1 (a, b)");
        assert_eq!(Names::for_all(records[2..].iter()), Names::Nobody);
    }

    #[test]
    fn each_mode_has_its_pair() {
        let sync = Pair::of(SyncMode::Sync, 2, &set(&["a", "b"]));
        assert_eq!((sync.names.to_string().as_str(), sync.quorum), ("FIRST 2 (a, b)", 1));
        let quorum = Pair::of(SyncMode::Quorum, 2, &set(&["a", "b", "c"]));
        assert_eq!((quorum.names.to_string().as_str(), quorum.quorum), ("ANY 2 (a, b, c)", 2));
        for pair in [sync, quorum] {
            assert!(pair.names.suits(&Rivals::new(pair.voters, pair.quorum)));
        }
    }
}
