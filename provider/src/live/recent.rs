//! Lists that were just answered, for those who ask for the same at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A list and when it was had; its lock is held while it is asked for, so that all others wait for one answer.
pub type Place = Arc<Mutex<Option<(Arc<Vec<Json>>, Instant)>>>;

/// The lists by what they are of. Clones share them.
#[derive(Clone, Default)]
pub struct Recent(Arc<Lock<HashMap<String, Place>>>);

impl Recent {
    /// The place of the list with this name.
    pub fn of(&self, name: String) -> Place {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(name).or_default())
    }

    /// Whoever asks from now on is to see what was just written.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
