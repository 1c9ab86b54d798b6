//! What happened when, between a fault and the first commit after it: from watches of the harness and the agents' logs.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that was seen, by the clock that all of the machine's processes share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Where: a pod, or the kind of object that was watched.
    pub place: String,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A line of an agent's log.
    Agent {
        /// Its message.
        message: String,
        /// The reason and the orders of a changed state; other fields that help.
        detail: String,
    },
    /// What a client was told, or waited for in vain.
    Client(String),
    /// A line of PostgreSQL's log.
    Postgres(String),
    /// The Lease has this holder in this era.
    Holder {
        /// Pod.
        pod: String,
        /// Its leadership's number.
        era: u64,
        /// Handed over, and not taken yet.
        released: bool,
    },
    /// These pods carry the primary's label.
    Primaries(BTreeSet<String>),
    /// These pods stand behind the rw Service.
    Endpoints(BTreeSet<String>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pods: &BTreeSet<String>| pods.iter().cloned().collect::<Vec<_>>().join(" ");
        match self {
            Self::Agent { message, detail } => write!(f, "{message} {detail}"),
            Self::Client(line) | Self::Postgres(line) => f.write_str(line),
            Self::Holder { pod, era, released } => {
                write!(f, "{pod} in era {era}{}", if *released { ", released" } else { "" })
            }
            Self::Primaries(pods) => write!(f, "labelled: {}", names(pods)),
            Self::Endpoints(pods) => write!(f, "behind rw: {}", names(pods)),
        }
    }
}

/// Fields of a log line that say more than the message does.
const TELLING: [&str; 9] =
    ["reason", "actions", "action", "took_ms", "error", "role", "names", "labels", "upstream"];

/// A line of a container's log, with the time that the container runtime put before it. Lines of the agent are JSON with a time
/// of their own, any other line is PostgreSQL's.
pub fn parse_line(pod: &str, line: &str) -> Option<Event> {
    let (stamp, text) = line.split_once(' ')?;
    let event = |at, what| Event { at, place: pod.to_owned(), what };
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        let line = without_prefix(text);
        // Refused clients and the rest of long messages tell nothing new.
        let tells = line.starts_with("LOG:") && !line.contains("waiting for WAL to become available");
        return tells.then_some(event(stamp.parse().ok()?, What::Postgres(line.to_owned())));
    };
    let word = |name: &str| fields.get(name).and_then(Value::as_str);
    let detail: Vec<String> = TELLING
        .iter()
        .filter_map(|name| fields.get(*name))
        .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .collect();
    let at = word("timestamp").unwrap_or(stamp).parse().ok()?;
    let message = word("message").unwrap_or_default().to_owned();
    Some(event(at, What::Agent { message, detail: detail.join(" ") }))
}

/// Time and process are told elsewhere, or nowhere: `2026-11-25 10:00:00.000 UTC [31] LOG:  ...`.
fn without_prefix(line: &str) -> &str {
    line.split_once("] ").map_or(line, |(_, rest)| rest)
}

/// A trial's course. All times are seconds after the fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The last commit that was acknowledged before the longest gap.
    pub last_commit_s: f64,
    /// An agent changed its mind.
    pub noticed_s: Option<f64>,
    /// The Lease has a new holder.
    pub taken_s: Option<f64>,
    /// PostgreSQL on the old primary has stopped, or its death was seen.
    pub ended_s: Option<f64>,
    /// The new primary is told to promote.
    pub promote_s: Option<f64>,
    /// PostgreSQL takes writes: promoted, or started again.
    pub ready_s: Option<f64>,
    /// Clients are let in.
    pub gate_s: Option<f64>,
    /// A standby confirms commits to the new primary.
    pub confirms_s: Option<f64>,
    /// The new primary, and no other, carries the label.
    pub label_s: Option<f64>,
    /// The new primary alone stands behind rw.
    pub endpoint_s: Option<f64>,
    /// The first commit after the gap.
    pub first_commit_s: f64,
    /// Everything that was seen until a moment after the first commit: seconds, place, what.
    pub events: Vec<(f64, String, String)>,
}

/// How many steps a table shows.
pub const STEPS: usize = 11;
/// Events this long after the first commit are no cause of the gap.
const AFTERMATH_S: f64 = 1.0;

/// What the timeline is measured from and between.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The fault.
    pub struck: Timestamp,
    /// Begin and end of the longest gap, seconds after the fault.
    pub gap_s: (f64, f64),
    /// Who led when the fault struck.
    pub primary: String,
    /// In which era.
    pub era: u64,
}

impl Timeline {
    /// From everything that was seen, in any order.
    pub fn of(frame: &Frame, mut seen: Vec<Event>) -> Self {
        seen.sort();
        seen.dedup();
        let mut told = String::new();
        // Clients come back thirty times a second and hear the same.
        seen.retain(|one| match &one.what {
            What::Client(line) => std::mem::replace(&mut told, line.clone()) != *line,
            _ => true,
        });
        let second = |at: Timestamp| at.duration_since(frame.struck).as_secs_f64();
        let end = frame.gap_s.1 + AFTERMATH_S;
        let seen: Vec<&Event> = seen.iter().filter(|one| (0.0..=end).contains(&second(one.at))).collect();
        let first =
            |fits: &dyn Fn(&What) -> bool| seen.iter().find(|one| fits(&one.what)).map(|one| second(one.at));
        let old_ended = seen.iter().find(|one| one.place == frame.primary && is_end_of_postgres(&one.what));
        let says = |what: &What, text: &str| matches!(what, What::Agent { message, .. } if message == text);
        let logs = |what: &What, text: &str| matches!(what, What::Postgres(line) if line.contains(text));
        let moved = |pods: &BTreeSet<String>| pods.len() == 1 && !pods.contains(&frame.primary);
        Self {
            last_commit_s: frame.gap_s.0,
            noticed_s: first(&|what| matches!(what, What::Agent { .. })),
            taken_s: first(&|what| matches!(what, What::Holder { era, .. } if *era > frame.era)),
            ended_s: old_ended.map(|one| second(one.at)),
            promote_s: first(&|what| says(what, "promotion asked for")),
            ready_s: first(&|what| logs(what, "ready to accept connections")),
            gate_s: first(&|what| says(what, "clients are let in")),
            confirms_s: first(&|what| logs(what, "is now a synchronous standby")),
            label_s: first(&|what| matches!(what, What::Primaries(pods) if moved(pods))),
            endpoint_s: first(&|what| matches!(what, What::Endpoints(pods) if moved(pods))),
            first_commit_s: frame.gap_s.1,
            events: seen
                .iter()
                .map(|one| (rounded(second(one.at)), one.place.clone(), one.what.to_string()))
                .collect(),
        }
    }

    /// The steps by name, for a table.
    pub fn steps(&self) -> [(&'static str, Option<f64>); STEPS] {
        [
            ("last commit before", Some(self.last_commit_s)),
            ("noticed", self.noticed_s),
            ("old postgres ended", self.ended_s),
            ("Lease taken", self.taken_s),
            ("promotion begins", self.promote_s),
            ("postgres ready", self.ready_s),
            ("label", self.label_s),
            ("endpoint", self.endpoint_s),
            ("clients let in", self.gate_s),
            ("a standby confirms", self.confirms_s),
            ("first commit after", Some(self.first_commit_s)),
        ]
    }
}

/// The guard's word for it: `postgres 25 ended: code Some(0), signal None`.
fn is_end_of_postgres(what: &What) -> bool {
    matches!(what, What::Agent { message, .. } if message.starts_with("postgres ") && message.contains(" ended: "))
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: &str = r#"2026-11-25T10:00:00.9Z {"timestamp":"2026-11-25T10:00:00.250Z","level":"INFO","message":"state changed","reason":"TakeSilent","holder":"pg-0","actions":["TakeLease"]}"#;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_agents_lines_carry_their_own_time_and_postgres_that_of_the_runtime() {
        let agent = parse_line("pg-1", CHANGED).unwrap();
        assert_eq!(agent.at, at("2026-11-25T10:00:00.250Z"));
        assert_eq!(agent.what.to_string(), r#"state changed TakeSilent ["TakeLease"]"#);
        let line = "2026-11-25T10:00:01Z 2026-11-25 10:00:00.998 UTC [31] LOG:  received promote request";
        let postgres = parse_line("pg-1", line).unwrap();
        assert_eq!(postgres.at, at("2026-11-25T10:00:01Z"));
        assert_eq!(postgres.what, What::Postgres("LOG:  received promote request".into()));
        let refused =
            line.replace("LOG:  received promote request", "FATAL:  the database system is starting up");
        assert_eq!(parse_line("pg-1", &refused), None);
        assert_eq!(parse_line("pg-1", "no time"), None);
    }

    #[test]
    fn what_clients_hear_again_and_again_is_noted_once() {
        let frame =
            Frame { struck: at("2026-11-25T10:00:00Z"), gap_s: (0.0, 1.0), primary: "pg-0".into(), era: 3 };
        let client = |millisecond: u32, line: &str| Event {
            at: at(&format!("2026-11-25T10:00:00.{millisecond:03}Z")),
            place: "client".into(),
            what: What::Client(line.into()),
        };
        let seen =
            vec![client(10, "refused"), client(40, "refused"), client(70, "shut"), client(99, "refused")];
        let told: Vec<String> =
            Timeline::of(&frame, seen).events.into_iter().map(|(_, _, what)| what).collect();
        assert_eq!(told, ["refused", "shut", "refused"]);
    }

    #[test]
    fn steps_are_the_first_of_their_kind_after_the_fault() {
        let event = |second: &str, place: &str, what| Event {
            at: at(&format!("2026-11-25T10:00:{second}Z")),
            place: place.into(),
            what,
        };
        let only = |pod: &str| BTreeSet::from([pod.to_owned()]);
        let agent = |message: &str| What::Agent { message: message.into(), detail: String::new() };
        let holder = |pod: &str, era| What::Holder { pod: pod.into(), era, released: false };
        let frame =
            Frame { struck: at("2026-11-25T10:00:00Z"), gap_s: (0.01, 2.5), primary: "pg-0".into(), era: 3 };
        let seen = vec![
            event("02.2", "rw", What::Endpoints(only("pg-1"))),
            event("00.5", "rw", What::Endpoints(only("pg-0"))),
            event("01", "pg-1", agent("promotion asked for")),
            event("00.7", "lease", holder("pg-0", 3)),
            event("00.9", "lease", holder("pg-1", 4)),
            event("00.9", "lease", holder("pg-1", 4)),
            event("00.4", "pg-2", agent("postgres 31 ended: code Some(0), signal None")),
            event("00.6", "pg-0", agent("postgres 25 ended: code None, signal Some(9)")),
            event("09", "pg-1", agent("clients are let in")),
        ];
        let timeline = Timeline::of(&frame, seen);
        assert_eq!(timeline.taken_s, Some(0.9));
        assert_eq!((timeline.noticed_s, timeline.ended_s), (Some(0.4), Some(0.6)));
        assert_eq!(timeline.promote_s, Some(1.0));
        assert_eq!(timeline.endpoint_s, Some(2.2));
        assert_eq!((timeline.gate_s, timeline.label_s), (None, None));
        assert_eq!(timeline.events.len(), 7, "what is doubled or comes long after is left out");
        assert_eq!(timeline.steps()[STEPS - 1], ("first commit after", Some(2.5)));
    }
}
