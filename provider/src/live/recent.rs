//! What all who work at the same time share by a name: lists that were just answered, and turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A value for each name, each behind a lock of its own. Clones share them.
#[derive(Clone)]
pub struct ByName<T>(Arc<Lock<HashMap<String, Arc<Mutex<T>>>>>);

/// Lists and when they were had. A list's lock is held while it is asked for, so that all others wait for one answer.
pub type Recent = ByName<Option<(Arc<Vec<Json>>, Instant)>>;

/// Whose turn it is with something that clusters share: whoever holds its lock. The others come one after the other.
pub type Turns = ByName<()>;

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Default> ByName<T> {
    /// The value with this name, and its lock.
    pub fn of(&self, name: String) -> Arc<Mutex<T>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(name).or_default())
    }

    /// Whoever asks from now on begins anew.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
