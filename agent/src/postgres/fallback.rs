//! What postgres is started with while it does not start with what is wished: the parameters that were wished last and wholly in
//! force on this volume. All that the cluster owns, and the certificate, the gate and whom to follow, stay what they are now.

use std::collections::BTreeMap;

use pgha_schema::desired::Desired;
use pgha_schema::status::{Acknowledged, FailedStarts};
use serde::{Deserialize, Serialize};

/// A desired document's parameters, and that postgres has run with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The document.
    pub document: Acknowledged,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
}

/// Why postgres starts with something else than what is wished, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What became of the wished document; `starts` is 0 where it was refused while postgres ran.
    pub failed: FailedStarts,
    /// What it starts with.
    pub accepted: Accepted,
}

impl Fallback {
    /// Unless that would be the same: then the parameters are not what postgres can't start with.
    pub fn new(failed: FailedStarts, accepted: &Accepted, wish: &Desired) -> Option<Self> {
        let other = accepted.parameters != wish.parameters;
        other.then(|| Self { failed, accepted: accepted.clone() })
    }
}

/// The line by which a rendered file says so.
const INSTEAD: &str = "# instead of: ";

/// That line.
pub fn line(failed: &FailedStarts) -> String {
    let document = &failed.document;
    format!("{INSTEAD}{} {} {} {}\n", document.generation, document.sha256, failed.starts, failed.exit_code)
}

/// What a rendered file with this text stands in for.
pub fn instead_of(text: &str) -> Option<FailedStarts> {
    let mut words = text.lines().nth(1)?.strip_prefix(INSTEAD)?.split(' ');
    let generation = words.next()?.parse().ok()?;
    let document = Acknowledged { generation, sha256: words.next()?.to_owned() };
    let (starts, exit_code) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(FailedStarts { document, starts, exit_code, instead: super::conf::document_of(text) })
}

#[cfg(test)]
mod tests {
    use super::super::conf::document_of;
    use super::super::files::ConfigFiles;
    use super::*;

    fn document(generation: u64) -> Acknowledged {
        Acknowledged { generation, sha256: format!("sha{generation}") }
    }

    #[test]
    fn a_file_says_what_it_was_rendered_from_and_what_it_stands_in_for() {
        let failed = FailedStarts { document: document(8), starts: 3, exit_code: 1, instead: None };
        let text = format!("# desired: 7 sha7\n{}# Written by pgha-agent\nwork_mem = '4MB'\n", line(&failed));
        assert_eq!(document_of(&text), Some(document(7)));
        assert_eq!(instead_of(&text), Some(FailedStarts { instead: Some(document(7)), ..failed }));
        assert_eq!(instead_of("# desired: 7 sha7\n# Written by pgha-agent\n"), None);
    }

    #[test]
    fn what_was_accepted_comes_back_and_half_a_file_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::open(dir.path().to_owned()).unwrap();
        assert_eq!(files.accepted(), None);
        let parameters = BTreeMap::from([("work_mem".to_owned(), "it's 4MB".to_owned())]);
        let accepted = Accepted { document: document(7), parameters };
        assert!(files.keep_accepted(&accepted).unwrap());
        assert_eq!(files.accepted(), Some(accepted));
        std::fs::write(dir.path().join("accepted.json"), "{\"document\": {\"gen").unwrap();
        assert_eq!(files.accepted(), None);
    }
}
