//! What was seen, as a table for people and as lines of JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::judge::{At, Judged};
use super::subject::Subject;

/// Which of the page's tables a case belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something was changed by hand.
    Drift,
    /// Something dangerous or impossible was asked for.
    Refusal,
}

/// One case of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The resource that was used.
    pub provider: &'static str,
    /// The provider's version.
    pub version: String,
    /// The option that was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub option: Option<&'static str>,
    /// Which table.
    pub kind: Kind,
    /// What was changed or asked for.
    pub case: &'static str,
    /// When it was shown or refused.
    pub at: At,
    /// In which words.
    pub shown: String,
    /// What came of it after that.
    pub then: String,
}

impl Row {
    /// Of a case.
    pub fn new(subject: &Subject, kind: Kind, case: &'static str, seen: Judged) -> Self {
        Self {
            provider: subject.provider.resource(),
            version: subject.version.clone(),
            option: subject.option,
            kind,
            case,
            at: seen.at,
            shown: seen.shown,
            then: String::new(),
        }
    }

    /// With what came of it.
    pub fn then(self, then: String) -> Self {
        Self { then, ..self }
    }

    /// With more of what came of it.
    pub fn then_also(self, more: String) -> Self {
        let both = [self.then.as_str(), &more];
        let then = both.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ");
        Self { then, ..self }
    }
}

/// The rows of a subject, one line for when and one for each of the words.
pub fn text(subject: &Subject, rows: &[Row]) -> String {
    let mut text = format!("{subject}\n");
    for row in rows {
        let at = match row.at {
            At::Plan => "plan",
            At::Apply => "apply",
            At::Never => "never",
        };
        let kind = match row.kind {
            Kind::Drift => "drift",
            Kind::Refusal => "refusal",
        };
        let _ = writeln!(text, "  {kind:<8} {:<40} {at}", row.case);
        for words in [&row.shown, &row.then].into_iter().filter(|words| !words.is_empty()) {
            let _ = writeln!(text, "           {words}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn subject() -> Subject {
        Subject::of_binary(Path::new("terraform-provider-helm_v3.1.2")).remove(1)
    }

    fn row() -> Row {
        let seen = Judged { at: At::Never, shown: String::new() };
        Row::new(&subject(), Kind::Drift, "Service deleted", seen).then("apply leaves it as it is".to_owned())
    }

    #[test]
    fn a_row_is_a_line_of_json_with_the_option_that_was_set() {
        let line = serde_json::to_string(&row()).unwrap();
        assert_eq!(
            line,
            "{\"provider\":\"helm_release\",\"version\":\"3.1.2\",\"option\":\"experiments.manifest\",\"kind\":\"drift\",\
             \"case\":\"Service deleted\",\"at\":\"never\",\"shown\":\"\",\"then\":\"apply leaves it as it is\"}"
        );
    }

    #[test]
    fn the_table_leaves_out_what_was_not_said() {
        let line = "  drift    Service deleted                          never\n           apply leaves it as it is\n";
        assert_eq!(
            text(&subject(), &[row()]),
            format!("helm_release 3.1.2 with experiments.manifest\n{line}")
        );
    }
}
