//! How a difference is shown: as a unified diff, with what looks secret masked.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use similar::TextDiff;

use crate::owned::Difference;

/// A unified diff from what was applied to what is live.
pub(super) fn unified(was: &str, is: &str) -> String {
    TextDiff::from_lines(was, is).unified_diff().context_radius(2).header("applied", "live").to_string()
}

/// The diff of one field.
pub(super) fn difference(difference: &Difference) -> String {
    if looks_secret(&difference.path.to_string()) {
        return unified("(masked)\n", "(masked, another value)\n");
    }
    let (was, is) = (text(difference.was.as_ref()), text(difference.is.as_ref()));
    let (was_masked, is_masked) = (masked(&was), masked(&is));
    if was_masked == is_masked {
        return unified(&was_masked, &format!("{is_masked}(a masked value differs)\n"));
    }
    unified(&was_masked, &is_masked)
}

/// The diff of a setting inside PostgreSQL that nobody is to give.
pub(super) fn setting(name: &str, value: &str) -> String {
    let value = if looks_secret(name) { "(masked)" } else { value };
    unified("(not set)\n", &format!("{value}\n"))
}

fn text(value: Option<&Json>) -> String {
    let text = match value {
        None => "(not set)".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    if text.ends_with('\n') { text } else { text + "\n" }
}

/// Words that tell a secret from other settings.
const SECRET_WORDS: [&str; 6] = ["password", "passwd", "passphrase", "secret", "token", "conninfo"];

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Lines of JSON that speak of a secret lose their value; those that are no member of an object are lost whole.
fn masked(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let end = line.trim_end();
        if !looks_secret(line) || end.ends_with(['{', '[']) {
            return format!("{line}\n");
        }
        let comma = if end.ends_with(',') { "," } else { "" };
        let key = line.split_once("\": ").map(|(key, _)| key).filter(|key| is_key(key));
        let kept = key.map_or_else(
            || line[..line.len() - line.trim_start().len()].to_owned(),
            |key| format!("{key}\": "),
        );
        format!("{kept}\"(masked)\"{comma}\n")
    });
    lines.collect()
}

/// A line of JSON that is a member of an object with a text as its value: both.
pub(super) fn member(line: &str) -> Option<(String, String)> {
    let line = line.trim().trim_end_matches(',');
    let members: BTreeMap<String, String> = serde_json::from_str(&format!("{{{line}}}")).ok()?;
    members.into_iter().next()
}

/// The beginning of a member of an object, not of a text in which a colon stands.
fn is_key(text: &str) -> bool {
    text.trim_start().strip_prefix('"').is_some_and(|key| !key.contains(['"', '\\']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::owned::FieldPath;

    fn shown(was: Json, is: Json) -> String {
        difference(&Difference { path: FieldPath::default(), was: Some(was), is: Some(is) })
    }

    #[test]
    fn a_scalar_shows_both_values() {
        assert_eq!(shown(json!(3), json!(5)), "--- applied\n+++ live\n@@ -1 +1 @@\n-3\n+5\n");
    }

    #[test]
    fn what_looks_secret_is_masked_but_that_it_differs_shows() {
        let shown = shown(
            json!("{\n  \"archive_password\": \"one\"\n}"),
            json!("{\n  \"archive_password\": \"two\"\n}"),
        );
        assert!(!shown.contains("one") && !shown.contains("two"), "{shown}");
        assert!(shown.contains("a masked value differs"), "{shown}");
    }

    #[test]
    fn a_value_that_speaks_of_a_secret_is_masked_wherever_it_stands() {
        for (was, is) in [
            (json!("password=one"), json!("password=two")),
            (json!(["--user=a", "--password=one"]), json!(["--user=a", "--password=two"])),
            (json!(["--token=one:1"]), json!(["--token=two:2"])),
            (json!({"args": "host=a password=one"}), json!({"args": "host=a password=two"})),
            (json!("a: token=one"), json!("a: token=two")),
        ] {
            let shown = shown(was, is);
            assert!(!shown.contains("one") && !shown.contains("two"), "{shown}");
            assert!(shown.contains("a masked value differs"), "{shown}");
        }
        let names_only = shown(json!({"secretName": "x", "tls": 1}), json!({"secretName": "x", "tls": 2}));
        assert!(names_only.contains("\"tls\": 2"), "{names_only}");
    }
}
