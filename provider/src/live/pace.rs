//! How fast an API server answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::errors::Verb;

/// The least times that answers took. Clones count together, so that whoever is cut off leaves what it has seen.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<Mutex<Least>>);

#[derive(Debug, Default)]
struct Least {
    read: Option<Duration>,
    write: Option<Duration>,
}

impl Pace {
    /// An answer took so long.
    pub fn took(&self, verb: Verb, time: Duration) {
        let mut least = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match verb {
            Verb::Get | Verb::List | Verb::Log => &mut least.read,
            Verb::Create | Verb::Patch | Verb::Update | Verb::Delete => &mut least.write,
        };
        *kept = Some(kept.map_or(time, |known| known.min(time)));
    }

    /// The least that a write took, since a lease is renewed by one; where none was answered, a read. `None`: nothing was answered.
    pub fn fastest(&self) -> Option<Duration> {
        let least = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        least.write.or(least.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_write_counts_and_a_read_where_there_is_none() {
        let (pace, ms) = (Pace::default(), Duration::from_millis);
        assert_eq!(pace.fastest(), None);
        for (verb, time, fastest) in [
            (Verb::Get, 30, 30),
            (Verb::List, 20, 20),
            (Verb::Get, 40, 20),
            (Verb::Patch, 90, 90),
            (Verb::Create, 80, 80),
            (Verb::List, 10, 80),
        ] {
            pace.clone().took(verb, ms(time));
            assert_eq!(pace.fastest(), Some(ms(fastest)), "{verb:?} {time}");
        }
    }
}
