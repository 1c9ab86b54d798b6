//! Messages to the user, with the path by which the host finds file and line.

use super::WireError;
use crate::proto::tfplugin6 as pb;
use pb::attribute_path::step::Selector;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics, Severity};
use pgha_provider_core::path::{Path, Step};

/// All messages, in their order.
#[must_use]
pub fn to_proto(diagnostics: &Diagnostics) -> Vec<pb::Diagnostic> {
    diagnostics.iter().map(one).collect()
}

fn one(diagnostic: &Diagnostic) -> pb::Diagnostic {
    let severity = match diagnostic.severity {
        Severity::Error => pb::diagnostic::Severity::Error,
        Severity::Warning => pb::diagnostic::Severity::Warning,
    };
    pb::Diagnostic {
        severity: severity.into(),
        summary: diagnostic.summary.clone(),
        detail: diagnostic.detail.clone(),
        attribute: diagnostic.path.as_ref().map(|whole| path(&locatable(whole))),
    }
}

/// As much of a path as hosts can find in a file. They look into blocks, not into objects: for `storage.size` they would
/// point at the resource's first line, for `storage` they point at the object. The whole path is in our texts.
fn locatable(whole: &Path) -> Path {
    let mut found = Path::root();
    for (position, step) in whole.steps().iter().enumerate() {
        if position > 0 && matches!(step, Step::Attribute(_)) {
            break;
        }
        found = found.then(step.clone());
    }
    found
}

/// A path in the protocol's form.
#[must_use]
pub fn path(path: &Path) -> pb::AttributePath {
    let steps = path.steps().iter().map(|step| {
        let selector = match step {
            Step::Attribute(name) => Selector::AttributeName(name.clone()),
            Step::Key(key) => Selector::ElementKeyString(key.clone()),
            Step::Index(index) => Selector::ElementKeyInt(i64::try_from(*index).unwrap_or(i64::MAX)),
        };
        pb::attribute_path::Step { selector: Some(selector) }
    });
    pb::AttributePath { steps: steps.collect() }
}

/// For what can only be a mistake in the provider: tells the user whom to tell.
#[must_use]
pub fn bug(what: &str, detail: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(
        what,
        format!(
            "{detail}\n\nThis is a bug in the provider, not in your configuration. Please report it with this message \
             and the provider's version ({}).",
            env!("CARGO_PKG_VERSION")
        ),
    )
}

/// A value from the host that doesn't fit the schema.
#[must_use]
pub fn unreadable(what: &str, error: &WireError) -> Diagnostic {
    Diagnostic::error(
        format!("Unreadable {what}"),
        format!(
            "The value doesn't fit the provider's schema: {error}. If the provider was replaced while the CLI ran, run \
             the command again; else please report this."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_point_at_what_a_host_can_find() {
        let sent = |place: Path| {
            let sent = to_proto(&Diagnostic::warning("S", "D").at(place).into());
            assert_eq!(sent[0].severity, 2);
            sent[0].attribute.clone().unwrap()
        };
        assert_eq!(sent(Path::of("storage.size")), path(&Path::of("storage")));
        assert_eq!(sent(Path::of("scheduling.tolerations").index(2)), path(&Path::of("scheduling")));
        for place in [Path::of("replicas"), Path::of("pg_hba").index(1), Path::of("parameters").key("a.b")] {
            assert_eq!(sent(place.clone()), path(&place));
        }
    }

    #[test]
    fn paths_keep_names_keys_and_indexes_apart() {
        let place = Path::of("scheduling.tolerations").index(2).attribute("labels").key("a.b/c");
        let selectors: Vec<_> = path(&place).steps.into_iter().filter_map(|step| step.selector).collect();
        assert_eq!(
            selectors,
            [
                Selector::AttributeName("scheduling".to_owned()),
                Selector::AttributeName("tolerations".to_owned()),
                Selector::ElementKeyInt(2),
                Selector::AttributeName("labels".to_owned()),
                Selector::ElementKeyString("a.b/c".to_owned()),
            ]
        );
        assert_eq!(to_proto(&Diagnostic::error("S", "D").into())[0].attribute, None);
    }
}
