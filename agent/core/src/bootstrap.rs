//! The first start: who runs initdb, and that nobody ever does beside data (A4).

/// Proof that initdb may run: pending record held by this container, no data known anywhere. Only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitdbPermit {
    sealed: (),
}
