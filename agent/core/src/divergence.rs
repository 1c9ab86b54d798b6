//! Where local data stands in the history of eras: follow, wait, rewind or clone (A3, A23).

/// Proof that this data may be rewound: forked, not a voter, the holder alive. Only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewindPermit {
    sealed: (),
}

/// Proof that this member may be cloned: no data, or forked data that is no voter. Only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClonePermit {
    sealed: (),
}
