//! Why an apply did not get to its end, in words for the user.

use pgha_provider_core::diagnostic::Diagnostic;

use super::work::Work;
use crate::live::execute::Failure;
use crate::live::wait::{self, Ended};

pub(super) fn describe(failure: Failure, work: &Work) -> Diagnostic {
    let (step, ended) = match failure {
        Failure::Refused(diagnostic) => return diagnostic,
        Failure::Stopped { next } => {
            return stopped(&format!("The next step would have been: {next}."));
        }
        Failure::Wait { wait, ended } => (wait, ended),
    };
    let goal = wait::describe(&step.wish);
    let timeout = work.frame.timeout;
    match ended {
        Ended::Failed(cause) => Diagnostic::error(
            cause_summary(&cause),
            format!("{cause}\n\nThis stood in the way while waiting until {goal}."),
        ),
        Ended::TimedOut(words) => Diagnostic::error(
            format!("Not done within {timeout:?}: {goal}"),
            format!(
                "What was going on last: {words}\n\nRaise {} if the cluster only needs longer. What was \
                 begun goes on in the cluster, also without the provider.",
                work.patience.attribute()
            ),
        ),
        Ended::Stopped(words) => {
            stopped(&format!("It was waiting until {goal}; what was going on: {words}."))
        }
        Ended::Refused(error) => error.diagnostic(),
    }
}

/// The first line of a cause, without the log that may follow it.
fn cause_summary(cause: &str) -> String {
    let line = cause.lines().next().unwrap_or_default();
    line.trim_end_matches('.').to_owned()
}

fn stopped(what: &str) -> Diagnostic {
    Diagnostic::error(
        "Interrupted",
        format!(
            "{what} What was begun goes on in the cluster; the next apply goes on from what it finds there."
        ),
    )
}
