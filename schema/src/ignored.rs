//! What the resource leaves to others: the entries of `ignore`, in the words of its own attributes.

use std::str::FromStr;

use crate::names;
use crate::parameters::owned_because;
use crate::validators::Problem;

/// One of the Services that have attributes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceRef {
    /// `services.rw`.
    Rw,
    /// `services.ro`.
    Ro,
    /// `services.r`.
    R,
}

impl ServiceRef {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "rw" => Some(Self::Rw),
            "ro" => Some(Self::Ro),
            "r" => Some(Self::R),
            _ => None,
        }
    }

    /// Name of the Service.
    pub fn name(self, names: &names::Names) -> String {
        match self {
            Self::Rw => names.service_rw(),
            Self::Ro => names.service_ro(),
            Self::R => names.service_r(),
        }
    }
}

/// A key, or with `*` at its end all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    text: String,
    prefix: bool,
}

impl KeyPattern {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(text) => Self { text: text.to_owned(), prefix: true },
            None => Self { text: text.to_owned(), prefix: false },
        }
    }

    /// Whether the key is meant.
    pub fn matches(&self, key: &str) -> bool {
        if self.prefix { key.starts_with(&self.text) } else { key == self.text }
    }
}

/// One entry of `ignore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// `labels.<key>`: of every object.
    Label(KeyPattern),
    /// `annotations.<key>`: of every object.
    Annotation(KeyPattern),
    /// `services.<service>.annotations.<key>`: of one Service.
    ServiceAnnotation(ServiceRef, KeyPattern),
    /// `services.<service>.load_balancer_source_ranges`.
    SourceRanges(ServiceRef),
    /// `parameters.<name>`: a setting that others give by ALTER SYSTEM.
    Parameter(KeyPattern),
}

const REMEDY: &str = "Write labels.<key>, annotations.<key>, parameters.<name>, services.<rw, ro or r>.annotations.<key> or \
                      services.<rw, ro or r>.load_balancer_source_ranges; a `*` at the end of a key stands for any rest.";

impl FromStr for Ignored {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let unknown = || Problem::new(format!("`{text}` is nothing that can be left to others."), REMEDY);
        let (first, rest) = text.split_once('.').unwrap_or((text, ""));
        match first {
            "replicas" => Err(replicas()),
            "labels" => key(text, rest).map(Self::Label),
            "annotations" => key(text, rest).map(Self::Annotation),
            "parameters" => {
                if let Some(reason) = owned_because(rest) {
                    let told = format!(
                        "The cluster sets `{rest}` itself, and takes it back from whoever gives it: {reason}."
                    );
                    return Err(Problem::new(told, "Leave it out."));
                }
                key(text, rest).map(Self::Parameter)
            }
            "services" => {
                let (service, field) = rest.split_once('.').ok_or_else(unknown)?;
                let service = ServiceRef::parse(service).ok_or_else(unknown)?;
                match field.split_once('.') {
                    None if field == "load_balancer_source_ranges" => Ok(Self::SourceRanges(service)),
                    Some(("annotations", rest)) => {
                        key(text, rest).map(|key| Self::ServiceAnnotation(service, key))
                    }
                    _ => Err(unknown()),
                }
            }
            _ => Err(unknown()),
        }
    }
}

fn key(text: &str, key: &str) -> Result<KeyPattern, Problem> {
    if key.is_empty() || key.trim_end_matches('*').contains(['*', ' ']) || key.ends_with("**") {
        return Err(Problem::new(format!("`{text}` names no key."), REMEDY));
    }
    if names::is_own_key(key) {
        return Err(Problem::new(
            format!("`{text}` is the cluster's own, and it can't do without."),
            "Leave it out.",
        ));
    }
    Ok(KeyPattern::new(key))
}

/// The count decides who may vote and lead (decision 0051).
fn replicas() -> Problem {
    Problem::new(
        "`replicas` can't be left to others: who may vote and who may lead follows from it, and an autoscaler that takes pods \
         away asks neither.",
        "Leave it out. To let something else choose the number, have it change the attribute, or write \
         lifecycle { ignore_changes = [replicas] }: the next apply then goes on with the number that is there.",
    )
}

/// Checks one entry.
pub(crate) fn check(text: &str) -> Result<(), Problem> {
    text.parse::<Ignored>().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_the_words_of_the_attributes() {
        for (text, wanted) in [
            ("labels.team", Ignored::Label(KeyPattern::new("team"))),
            ("annotations.example.com/*", Ignored::Annotation(KeyPattern::new("example.com/*"))),
            (
                "services.rw.annotations.lb.example.com/id",
                Ignored::ServiceAnnotation(ServiceRef::Rw, KeyPattern::new("lb.example.com/id")),
            ),
            ("services.r.load_balancer_source_ranges", Ignored::SourceRanges(ServiceRef::R)),
            ("parameters.work_mem", Ignored::Parameter(KeyPattern::new("work_mem"))),
            ("annotations.*", Ignored::Annotation(KeyPattern::new("*"))),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_ignored_is_told_with_the_way_out() {
        for (text, told) in [
            ("replicas", "ignore_changes = [replicas]"),
            ("labels.app.kubernetes.io/name", "the cluster's own"),
            ("annotations.pgha/generation", "the cluster's own"),
            ("parameters.synchronous_standby_names", "takes it back"),
            ("parameters.", "names no key"),
            ("labels.", "names no key"),
            ("labels.a*b", "names no key"),
            ("annotations.a**", "names no key"),
            ("storage.size", "nothing that can be left to others"),
            ("services.rx.annotations.a", "nothing that can be left to others"),
            ("services.rw.type", "nothing that can be left to others"),
            ("", "nothing that can be left to others"),
        ] {
            let problem = text.parse::<Ignored>().unwrap_err().to_string();
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }

    #[test]
    fn a_star_stands_for_any_rest() {
        let (prefix, exact) = (KeyPattern::new("example.com/*"), KeyPattern::new("example.com/a"));
        assert!(prefix.matches("example.com/a") && prefix.matches("example.com/"));
        assert!(!prefix.matches("example.org/a"));
        assert!(exact.matches("example.com/a") && !exact.matches("example.com/ab"));
    }
}
