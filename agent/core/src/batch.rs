//! How a batch goes on when one of its actions fails: one rule, for the loop and for the simulator.
//!
//! To cut a batch off is always safe, since every action may be its process' last. It is not always live: while the API server is
//! away, each turn begins with a read or a write of the record that gets no answer, and if that were the end of the batch, no turn
//! would start a postgres that has ended, give a promise or order a stop. So whatever tells nothing of the record ends nothing:
//! the world is as the decision took it to be, and nothing of a batch depends on a read or write of the record in it. A write that
//! is refused tells that the record is another's by now, or that this pod's word counts no more: whoever decided for its holder
//! (clients let in, pods labelled or deleted, a postgres started that writes) must not go on.

use crate::decision::Action;
use crate::observation::WriteOutcome;

impl Action {
    /// Whether its failure ends the batch. `last_write`: the outcome of this process's last write of the record, this one's if it
    /// is one.
    pub fn ends_batch(&self, last_write: Option<WriteOutcome>) -> bool {
        if matches!(self, Self::WriteRecord { .. } | Self::CreateLease { .. }) {
            return matches!(last_write, Some(WriteOutcome::Conflict | WriteOutcome::Refused));
        }
        !matches!(self, Self::ReadLease) && !self.is_best_effort()
    }

    /// A failure of it neither ends the batch nor matters for safety; it may run beside the others.
    pub fn is_best_effort(&self) -> bool {
        matches!(
            self,
            Self::AskPromises { .. }
                | Self::LabelPod { .. }
                | Self::DeletePod { .. }
                | Self::SetPasswords { .. }
                | Self::WriteStatus { .. }
                | Self::StampVolumes { .. }
                | Self::EmitEvent { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_schema::desired::SyncMode;
    use pgha_schema::record::Record;

    #[test]
    fn a_write_of_the_record_ends_the_batch_only_where_it_was_answered() {
        let create = Action::CreateLease { record: Box::new(Record::initial("a", SyncMode::Sync)) };
        let ends = |action: &Action, outcome| action.ends_batch(Some(outcome));
        assert!(ends(&create, WriteOutcome::Conflict));
        assert!(ends(&create, WriteOutcome::Refused));
        assert!(!ends(&create, WriteOutcome::Unknown));
        // Whatever became of an earlier write, a read that fails tells nothing new.
        assert!(!ends(&Action::ReadLease, WriteOutcome::Conflict));
    }

    #[test]
    fn what_postgres_or_the_volume_refuses_ends_the_batch_and_what_is_best_effort_never_does() {
        assert!(Action::OpenGate.ends_batch(None));
        let event = Action::EmitEvent { warning: false, reason: "Promoted", message: String::new() };
        assert!(!event.ends_batch(Some(WriteOutcome::Conflict)));
    }
}
