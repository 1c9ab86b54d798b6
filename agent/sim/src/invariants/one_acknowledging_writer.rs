//! One node acknowledges: once another has acknowledged after it, a postmaster never does again.

use std::collections::BTreeSet;

use super::Violation;

/// Who acknowledges, by postmaster.
#[derive(Default)]
pub struct Writers {
    current: Option<(u64, String)>,
    retired: BTreeSet<u64>,
}

impl Writers {
    /// The postmaster that acknowledged last.
    pub fn current(&self) -> Option<u64> {
        self.current.as_ref().map(|(process, _)| *process)
    }

    /// This postmaster acknowledged a commit. `kept`: the current writer has it too: it was confirmed before the
    /// change, and only its answer came late.
    pub fn acknowledge(&mut self, process: u64, pod: &str, kept: bool) -> Option<Violation> {
        if self.retired.contains(&process) {
            if kept {
                return None;
            }
            let after = self.current.as_ref().map(|(_, pod)| pod.clone()).unwrap_or_default();
            return Some(Violation::TwoWriters { pod: pod.to_owned(), after });
        }
        match &self.current {
            Some((current, _)) if *current == process => {}
            Some((current, _)) => {
                self.retired.insert(*current);
                self.current = Some((process, pod.to_owned()));
            }
            None => self.current = Some((process, pod.to_owned())),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_writer_that_comes_back_is_seen() {
        let mut writers = Writers::default();
        assert_eq!(writers.acknowledge(1, "a-0", true), None);
        assert_eq!(writers.acknowledge(2, "a-1", true), None);
        assert_eq!(
            writers.acknowledge(1, "a-0", false),
            Some(Violation::TwoWriters { pod: "a-0".into(), after: "a-1".into() })
        );
    }
}
