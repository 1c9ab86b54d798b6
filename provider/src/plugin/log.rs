//! The log: one JSON object a line on stderr, in the form that the host parses and puts into its own log.
//!
//! Only lines of our own crates below `warn` get through: those of HTTP and Kubernetes libraries can hold bodies of
//! requests, and with them the user's secrets.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt;
use std::io::Write as _;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// The host cuts lines at 64 KiB and logs the rest raw; escaping can make a text six times as long.
const TEXT_MAX_BYTES: usize = 8 * 1024;

/// Crates whose lines appear at every level.
const OWN_TARGETS: [&str; 2] = ["pgha_", "terraform_provider_postgres"];

/// Sends the log of the whole process to stderr, at the level that the environment asks for.
pub fn install() {
    let level = level(|name| std::env::var(name).ok());
    let subscriber = tracing_subscriber::registry().with(HostLog { level });
    // Fails only when a test has installed one before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The level in force: the most specific variable wins; none means silence.
fn level(var: impl Fn(&str) -> Option<String>) -> LevelFilter {
    let names = ["TF_LOG_PROVIDER_POSTGRES", "TF_LOG_PROVIDER", "TF_LOG"];
    let Some(word) = names.into_iter().filter_map(var).find(|word| !word.is_empty()) else {
        return LevelFilter::OFF;
    };
    match word.to_ascii_uppercase().as_str() {
        "OFF" => LevelFilter::OFF,
        "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        // Hosts take `JSON`, and any word they don't know, as trace.
        _ => LevelFilter::TRACE,
    }
}

struct HostLog {
    level: LevelFilter,
}

impl HostLog {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let own = OWN_TARGETS.iter().any(|prefix| metadata.target().starts_with(prefix));
        *metadata.level() <= self.level && (own || *metadata.level() <= Level::WARN)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.0.extend(fields.0.clone());
            }
        }
        event.record(&mut line);
        let text = render(event.metadata(), line.0, Timestamp::now());
        // Nowhere to report a broken log to.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// One line. The three fields with an `@` must be strings: hosts crash on anything else.
fn render(metadata: &Metadata<'_>, mut fields: Map<String, Value>, now: Timestamp) -> String {
    let message = match fields.remove("message") {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut line = Map::new();
    line.insert("@level".into(), metadata.level().as_str().to_ascii_lowercase().into());
    line.insert("@message".into(), message.into());
    line.insert("@module".into(), metadata.target().into());
    line.insert("@timestamp".into(), now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into());
    line.extend(fields.into_iter().filter(|(name, _)| !name.starts_with('@')));
    let mut text = Value::from(line).to_string();
    text.push('\n');
    text
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, shortened(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, shortened(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        self.put(field, shortened(text));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_MAX_BYTES {
        let end = (0..=TEXT_MAX_BYTES).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" (cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_variable_sets_the_level() {
        let with = |vars: &'static [(&str, &str)]| {
            level(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(with(&[]), LevelFilter::OFF);
        assert_eq!(with(&[("TF_LOG", "debug")]), LevelFilter::DEBUG);
        assert_eq!(with(&[("TF_LOG", "debug"), ("TF_LOG_PROVIDER", "ERROR")]), LevelFilter::ERROR);
        assert_eq!(
            with(&[("TF_LOG_PROVIDER", "ERROR"), ("TF_LOG_PROVIDER_POSTGRES", "off")]),
            LevelFilter::OFF
        );
        assert_eq!(with(&[("TF_LOG", "JSON")]), LevelFilter::TRACE);
        assert_eq!(with(&[("TF_LOG_PROVIDER", ""), ("TF_LOG", "INFO")]), LevelFilter::INFO);
    }

    #[test]
    fn the_fields_that_hosts_parse_are_strings_of_the_right_form() {
        struct Grab(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
        impl<S: Subscriber> Layer<S> for Grab {
            fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
                let mut fields = Fields::default();
                event.record(&mut fields);
                let now = "2026-01-02T03:04:05.6Z".parse().unwrap();
                self.0.lock().unwrap().push(render(event.metadata(), fields.0, now));
            }
        }
        let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
        let subscriber = tracing_subscriber::registry().with(Grab(seen.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(count = 3, name = "a\nb", "message {}", 1);
        });
        let lines = seen.lock().unwrap();
        let value: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["@level"], "info");
        assert_eq!(value["@message"], "message 1");
        assert_eq!(value["@timestamp"], "2026-01-02T03:04:05.600000Z");
        assert_eq!(value["count"], 3);
        assert_eq!(lines[0].matches('\n').count(), 1);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let cut = shortened("é".repeat(TEXT_MAX_BYTES));
        assert!(cut.len() < TEXT_MAX_BYTES + 10 && cut.ends_with("(cut)"));
    }
}
