//! Whose turn it is with what all clusters of a namespace share: those that are applied at once come one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use tokio::sync::Mutex;

/// A lock for each thing that is shared. Clones are the same locks.
#[derive(Clone, Default)]
pub struct Turns(Arc<Lock<HashMap<String, Arc<Mutex<()>>>>>);

impl Turns {
    /// The lock of the thing with this name; whoever holds it has its turn.
    pub fn of(&self, name: String) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(name).or_default())
    }
}
