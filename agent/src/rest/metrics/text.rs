//! Prometheus' text exposition format, version 0.0.4: each family once, with its help and type before its samples.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, but for restarts.
    Counter,
}

/// A page under construction.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    help: String,
    kind: Kind,
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// A sample without labels.
    pub fn put(&mut self, kind: Kind, name: &str, help: &str, value: f64) {
        self.sample(kind, name, help, &[], value);
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.put(Kind::Gauge, name, help, value);
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, help, if value { 1.0 } else { 0.0 });
    }

    /// A sample with labels; one with the same labels takes the earlier one's place.
    pub fn sample(&mut self, kind: Kind, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            help: help.to_owned(),
            kind,
            samples: BTreeMap::new(),
        });
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text, true))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        family.samples.insert(labels, value);
    }

    /// The text.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for (name, family) in self.families {
            let kind = match family.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let help = escape(&family.help, false);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in family.samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
pub(super) mod parse {
    //! A strict reader of the format, for the tests.

    use std::collections::{BTreeMap, BTreeSet};

    /// Value by name and labels as written.
    pub type Samples = BTreeMap<String, f64>;

    /// Reads a page, or says on which line it breaks the format.
    pub fn page(text: &str) -> Result<Samples, String> {
        let mut samples = Samples::new();
        let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
        let mut current = String::new();
        for line in text.lines() {
            let wrong = |why: &str| format!("{why}: {line}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
                if !helped.insert(name.to_owned()) || help.is_empty() {
                    return Err(wrong("help twice, or none"));
                }
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
                let known = ["gauge", "counter"].contains(&kind);
                if name != current || !known || !typed.insert(name.to_owned()) {
                    return Err(wrong("a type that is none, or not below its help"));
                }
            } else {
                let (name, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
                let family = name.split('{').next().unwrap_or_default();
                if family != current || !typed.contains(family) || !is_name(family) {
                    return Err(wrong("a sample outside its family"));
                }
                check_labels(&name[family.len()..]).map_err(|why| wrong(&why))?;
                let value: f64 = value.parse().map_err(|_| wrong("not a number"))?;
                if samples.insert(name.to_owned(), value).is_some() {
                    return Err(wrong("a sample twice"));
                }
            }
        }
        if text.is_empty() || text.ends_with('\n') { Ok(samples) } else { Err("no end of line".to_owned()) }
    }

    fn is_name(name: &str) -> bool {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn check_labels(text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let mut rest = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .ok_or_else(|| "labels without braces".to_owned())?;
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=\"").ok_or_else(|| "a label without a value".to_owned())?;
            if !is_name(name) {
                return Err(format!("`{name}` is no label"));
            }
            let mut escaped = false;
            let end = after
                .char_indices()
                .find(|(_, letter)| {
                    let ends = *letter == '"' && !escaped;
                    escaped = *letter == '\\' && !escaped;
                    ends
                })
                .map(|(at, _)| at)
                .ok_or_else(|| "a value without an end".to_owned())?;
            rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_back_as_it_was_meant() {
        let mut page = Page::default();
        page.flag("pg_up", "Whether postgres answers.", true);
        page.sample(Kind::Counter, "b_total", "Two\nlines.", &[("a", "x\"y\\z\nw"), ("b", "")], 2.0);
        page.sample(Kind::Counter, "b_total", "Two\nlines.", &[("a", "other"), ("b", "}")], 1e18);
        let samples = parse::page(&page.finish()).unwrap();
        assert_eq!(samples.get("pg_up"), Some(&1.0));
        assert_eq!(samples.get("b_total{a=\"x\\\"y\\\\z\\nw\",b=\"\"}"), Some(&2.0));
        assert_eq!(samples.get("b_total{a=\"other\",b=\"}\"}"), Some(&1e18));
    }

    #[test]
    fn what_breaks_the_format_is_seen() {
        for broken in [
            "pg_up 1\n",
            "# HELP pg_up Up.\npg_up 1\n",
            "# HELP pg_up Up.\n# TYPE pg_up gauge\npg_up one\n",
            "# HELP pg_up Up.\n# TYPE pg_up gauge\npg_up{a=b} 1\n",
            "# HELP pg_up Up.\n# TYPE pg_up gauge\npg_up 1\npg_up 1\n",
            "# HELP pg_up Up.\n# TYPE pg_up gauge\n# HELP pg_up Up.\n",
            "# HELP pg_up Up.\n# TYPE pg_up level\npg_up 1\n",
        ] {
            assert!(parse::page(broken).is_err(), "{broken}");
        }
    }
}
