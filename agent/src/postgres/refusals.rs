//! What postgres does not take, in its own words: settings that it refuses, and starts that end by themselves. It is told to
//! people, and decides what parameters postgres is started with, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use pgha_agent_core::observation::Complaints;
use pgha_schema::status::{Acknowledged, FailedStarts, RefusedSettings};

/// A refusal must stand for this long: while a reload is under way, what it has not read yet looks like one.
const RIPE_MS: u64 = 1_000;
/// So many starts in a row with the wished parameters: then it is started with earlier ones. The first may fail of something else.
const STARTS: u32 = 3;
/// So many settings are told, and so many bytes about each: a status document has its bounds.
const TOLD: usize = 10;
const WORDS_BYTES: usize = 500;

/// What `postgres` printed when it was made to read the files; set once, by a task beside the loop.
pub type Printed = Arc<OnceLock<String>>;

/// What is known of one postgres' refusals.
#[derive(Debug, Default)]
pub struct Refusals {
    found: Option<Found>,
    starts: Option<FailedStarts>,
}

#[derive(Debug)]
struct Found {
    document: Acknowledged,
    /// The settings that the document rules.
    names: BTreeSet<String>,
    /// What a running postgres says; nothing where it does not come up.
    problems: BTreeMap<String, String>,
    since_ms: u64,
    printed: Printed,
}

impl Refusals {
    /// What a running postgres says of the files that were rendered from this document. Gives where its whole words are to be
    /// put when these problems are new: the view in which a running one tells them has no more than "could not be applied".
    pub fn running(
        &mut self,
        document: Option<Acknowledged>,
        names: BTreeSet<String>,
        mut problems: BTreeMap<String, String>,
        now_ms: u64,
    ) -> Option<Printed> {
        self.starts = None;
        problems.retain(|name, _| names.contains(name));
        let Some(document) = document.filter(|_| !problems.is_empty()) else {
            self.found = None;
            return None;
        };
        let known = self.found.as_ref();
        if known.is_some_and(|found| found.document == document && found.problems == problems) {
            return None;
        }
        Some(self.find(Found { document, names, problems, since_ms: now_ms, printed: Printed::default() }))
    }

    /// A start with this document's files, or `instead` with an earlier one's, ended with this exit code before postgres answered.
    /// Gives where the words are to be put that it prints about these files, when they were not asked for yet.
    pub fn start_failed(
        &mut self,
        document: Acknowledged,
        instead: Option<Acknowledged>,
        names: BTreeSet<String>,
        exit_code: i32,
        now_ms: u64,
    ) -> Option<Printed> {
        let before = self.starts.take().filter(|before| before.document == document);
        let starts = before.map_or(0, |before| before.starts).saturating_add(1);
        self.starts = Some(FailedStarts { document: document.clone(), starts, exit_code, instead });
        if self.found.as_ref().is_some_and(|found| found.document == document) {
            return None;
        }
        let problems = BTreeMap::new();
        Some(self.find(Found { document, names, problems, since_ms: now_ms, printed: Printed::default() }))
    }

    /// Postgres answers, with what is wished.
    pub fn answers(&mut self) {
        self.starts = None;
    }

    /// Another agent found these starts to fail, under the postgres that runs now.
    pub fn recall(&mut self, failed: FailedStarts) {
        self.starts = Some(failed).filter(|failed| failed.starts > 0);
    }

    /// The data is made anew: what its starts failed of may have been in it.
    pub fn forget_starts(&mut self) {
        self.starts = None;
    }

    /// What became of this document, if postgres is not to be started with its parameters (again).
    pub fn keeps_from_starting(&self, wish: &Acknowledged, now_ms: u64) -> Option<FailedStarts> {
        let starts = self.starts.clone().filter(|failed| failed.document == *wish);
        let enough =
            starts.as_ref().is_some_and(|failed| failed.starts >= STARTS || failed.instead.is_some());
        let refused = self.complaints(now_ms).refused.is_some_and(|refused| refused.document == *wish);
        let none = FailedStarts { document: wish.clone(), starts: 0, exit_code: 0, instead: None };
        (enough || refused).then(|| starts.unwrap_or(none))
    }

    /// Postgres is started with this earlier document's parameters.
    pub fn falls_back(&mut self, to: &Acknowledged) {
        if let Some(failed) = &mut self.starts {
            failed.instead = Some(to.clone());
        }
    }

    fn find(&mut self, found: Found) -> Printed {
        let printed = Arc::clone(&found.printed);
        self.found = Some(found);
        printed
    }

    /// What is told now.
    pub fn complaints(&self, now_ms: u64) -> Complaints {
        let ripe = self.found.as_ref().filter(|found| now_ms >= found.since_ms.saturating_add(RIPE_MS));
        Complaints {
            refused: ripe.and_then(Found::told),
            starts_failed: self.starts.clone(),
            ..Complaints::default()
        }
    }
}

impl Found {
    fn told(&self) -> Option<RefusedSettings> {
        let mut settings = words_about(self.printed.get()?, &self.names);
        for (name, words) in &self.problems {
            settings.entry(name.clone()).or_insert_with(|| words.clone());
        }
        let settings: BTreeMap<_, _> =
            settings.into_iter().take(TOLD).map(|(name, words)| (name, short(words))).collect();
        (!settings.is_empty()).then(|| RefusedSettings { document: self.document.clone(), settings })
    }
}

fn short(mut words: String) -> String {
    if words.len() > WORDS_BYTES {
        let cut = (0..=WORDS_BYTES).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        words.truncate(cut);
        words.push('…');
    }
    words
}

/// PostgreSQL's words about each of these settings, with its details and hints. A line belongs to the setting that it names first:
/// a value may read like another one's name.
fn words_about(printed: &str, names: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut about: Option<&String> = None;
    for line in printed.lines() {
        let Some((before, message)) = line.split_once(":  ") else { continue };
        if matches!(before.rsplit(' ').next(), Some("DETAIL" | "HINT")) {
            if let Some(words) = about.and_then(|name| found.get_mut(name)) {
                words.push_str(". ");
                words.push_str(message.trim_end_matches('.'));
            }
            continue;
        }
        let lower = message.to_ascii_lowercase();
        let named = names.iter().filter_map(|name| Some((lower.find(&format!("\"{name}\""))?, name)));
        about = named.min().map(|(_, name)| name).filter(|name| !found.contains_key(*name));
        if let Some(name) = about {
            let message = message.split_once(" in file \"").map_or(message, |(message, _)| message);
            found.insert(name.clone(), message.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
        2026-11-29 18:00:00.000 GMT [42] LOG:  invalid value for parameter \"work_mem\": \"banana\"\n\
        2026-11-29 18:00:00.000 GMT [42] LOG:  invalid value for parameter \"TimeZone\": \"work_mem\"\n\
        2026-11-29 18:00:00.000 GMT [42] LOG:  unrecognized configuration parameter \"max_wals\" in file \"/c/postgresql.conf\" line 9\n\
        2026-11-29 18:00:00.000 GMT [42] LOG:  invalid value for parameter \"temp_buffers\": \"8 apples\"\n\
        2026-11-29 18:00:00.000 GMT [42] HINT:  Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".\n\
        2026-11-29 18:00:00.000 GMT [42] FATAL:  configuration file \"/c/postgresql.conf\" contains errors\n";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn document(generation: u64) -> Acknowledged {
        Acknowledged { generation, sha256: format!("sha{generation}") }
    }

    fn problem(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), "setting could not be applied".to_owned())])
    }

    #[test]
    fn each_setting_has_the_words_that_are_about_it() {
        let words =
            words_about(PRINTED, &names(&["work_mem", "timezone", "max_wals", "temp_buffers", "jit"]));
        let told: Vec<_> = words.iter().map(|(name, words)| (name.as_str(), words.as_str())).collect();
        assert_eq!(
            told,
            [
                ("max_wals", "unrecognized configuration parameter \"max_wals\""),
                (
                    "temp_buffers",
                    "invalid value for parameter \"temp_buffers\": \"8 apples\". Valid units for this parameter are \
                     \"B\", \"kB\", \"MB\", \"GB\", and \"TB\""
                ),
                ("timezone", "invalid value for parameter \"TimeZone\": \"work_mem\""),
                ("work_mem", "invalid value for parameter \"work_mem\": \"banana\""),
            ]
        );
    }

    #[test]
    fn a_refusal_is_told_once_it_has_stood_and_its_words_are_there() {
        let mut refusals = Refusals::default();
        let mut look = |problems, now_ms| {
            refusals.running(Some(document(7)), names(&["work_mem"]), problems, now_ms).map(|printed| {
                printed.set(PRINTED.to_owned()).unwrap();
            })
        };
        assert!(look(problem("work_mem"), 0).is_some(), "the words are asked for");
        assert!(look(problem("work_mem"), 500).is_none(), "once");
        assert_eq!(refusals.complaints(RIPE_MS - 1).refused, None);
        let told = refusals.complaints(RIPE_MS).refused.unwrap();
        assert_eq!(told.document, document(7));
        assert_eq!(told.settings["work_mem"], "invalid value for parameter \"work_mem\": \"banana\"");
        assert_eq!(told.settings.len(), 1);
        refusals.running(Some(document(8)), names(&["work_mem"]), BTreeMap::new(), 2_000);
        assert_eq!(refusals.complaints(60_000), Complaints::default());
    }

    #[test]
    fn without_its_own_words_the_view_s_are_told_and_the_agents_own_settings_never() {
        let mut refusals = Refusals::default();
        let own = problem("synchronized_standby_slots");
        assert!(refusals.running(Some(document(7)), names(&["work_mem"]), own, 0).is_none());
        let printed = refusals.running(Some(document(7)), names(&["a.b"]), problem("a.b"), 0).unwrap();
        assert_eq!(refusals.complaints(60_000).refused, None, "its words may still come");
        printed.set(String::new()).unwrap();
        assert_eq!(
            refusals.complaints(60_000).refused.unwrap().settings["a.b"],
            "setting could not be applied"
        );
    }

    #[test]
    fn starts_are_counted_for_one_document_until_postgres_answers() {
        let mut refusals = Refusals::default();
        let mut fail = |generation, now_ms| {
            refusals.start_failed(document(generation), None, names(&["work_mem"]), 1, now_ms).map(
                |printed| {
                    printed.set(PRINTED.to_owned()).unwrap();
                },
            )
        };
        assert!(fail(7, 0).is_some());
        assert!(fail(7, 1_000).is_none());
        let told = |refusals: &Refusals| {
            let complaints = refusals.complaints(10_000);
            let starts = complaints.starts_failed.map(|failed| (failed.document.generation, failed.starts));
            (starts, complaints.refused.map(|refused| refused.document.generation))
        };
        assert_eq!(told(&refusals), (Some((7, 2)), Some(7)));
        refusals.start_failed(document(8), None, names(&["work_mem"]), 1, 3_000);
        assert_eq!(
            told(&refusals),
            (Some((8, 1)), None),
            "another document, and its words are not there yet"
        );
        refusals.answers();
        assert_eq!(told(&refusals).0, None);
    }

    #[test]
    fn what_postgres_does_not_start_with_is_tried_three_times_and_what_it_refuses_never() {
        let mut refusals = Refusals::default();
        let mut fail = |instead: Option<u64>| {
            refusals.start_failed(document(7), instead.map(document), BTreeSet::new(), 1, 0);
            refusals.keeps_from_starting(&document(7), 0).map(|failed| failed.starts)
        };
        assert_eq!([fail(None), fail(None), fail(None)], [None, None, Some(3)]);
        assert_eq!(fail(Some(6)), Some(4), "the earlier ones fail too: nothing is known to be better");
        assert_eq!(refusals.keeps_from_starting(&document(8), 0), None, "another document is tried");
        let mut refusals = Refusals::default();
        let printed =
            refusals.running(Some(document(7)), names(&["work_mem"]), problem("work_mem"), 0).unwrap();
        printed.set(PRINTED.to_owned()).unwrap();
        assert_eq!(refusals.keeps_from_starting(&document(7), 0), None, "a reload may be under way");
        let refused = refusals.keeps_from_starting(&document(7), RIPE_MS).unwrap();
        assert_eq!((refused.starts, refused.instead), (0, None));
    }

    #[test]
    fn long_words_are_cut_at_a_letter() {
        assert!(short("ä".repeat(WORDS_BYTES)).len() <= WORDS_BYTES + '…'.len_utf8());
        assert_eq!(short("short".to_owned()), "short");
    }
}
