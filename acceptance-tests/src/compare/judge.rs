//! What the CLI printed, judged: was anything shown, at plan or at apply, and in which words.

use serde::Serialize;

use crate::terraform::Run;

/// Longest quotation, in letters.
const LONGEST: usize = 600;

/// How a plan ends a line whose value it does not know.
const UNKNOWN: &str = "(known after apply)";

/// When something was said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// By the plan.
    Plan,
    /// By the apply.
    Apply,
    /// By neither.
    Never,
}

/// What was said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// When.
    pub at: At,
    /// The words, shortened.
    pub shown: String,
}

/// Whether a plan with `-detailed-exitcode` shows that something differs, and what it shows.
pub fn drift(plan: &Run) -> Judged {
    let (at, shown) = match plan.code {
        Some(0) => (At::Never, changed_lines(&plan.stdout)),
        Some(2) => (At::Plan, changed_lines(&plan.stdout)),
        _ => (At::Never, format!("the plan fails: {}", said(plan, "Error").unwrap_or_default())),
    };
    Judged { at, shown: shorten(&shown) }
}

/// The same where the object is there for certain: a plan that makes it anew has not seen it.
pub fn drift_of_what_is_there(plan: &Run) -> Judged {
    let seen = drift(plan);
    if plan.stdout.contains(" will be created") {
        return Judged { at: At::Never, shown: format!("taken for gone: {}", seen.shown) };
    }
    seen
}

/// Whether it failed for want of a right that no namespace can give.
pub fn wants_crds(seen: &Judged) -> bool {
    seen.shown.contains("customresourcedefinitions")
}

/// What was seen with that right, in words.
pub fn with_crds(seen: &Judged) -> String {
    let at = match seen.at {
        At::Plan => "at plan",
        At::Apply => "at apply",
        At::Never => "never",
    };
    format!("with the right to list CustomResourceDefinitions: {at}: {}", seen.shown)
}

/// Whether what was asked for is refused. Without an apply the plan was the end of it.
pub fn refusal(plan: &Run, apply: Option<&Run>) -> Judged {
    let failed = |run: &Run| run.code.is_none_or(|code| code != 0 && code != 2);
    if failed(plan) {
        return Judged { at: At::Plan, shown: shorten(&said(plan, "Error").unwrap_or_default()) };
    }
    let warning = said(plan, "Warning").map(|words| format!("warning at plan: {words}"));
    let error = apply.filter(|run| failed(run)).map(|run| said(run, "Error").unwrap_or_default());
    let at = match (&warning, &error) {
        (Some(_), _) => At::Plan,
        (None, Some(_)) => At::Apply,
        (None, None) => At::Never,
    };
    let words: Vec<String> = warning.into_iter().chain(error).collect();
    Judged { at, shown: shorten(&words.join("; ")) }
}

/// What became of an apply: nothing when all went well.
pub fn failure(run: &Run) -> Option<String> {
    (!run.success()).then(|| shorten(&said(run, "Error").unwrap_or_default()))
}

/// The plan's lines that differ: resources with what is done to them, and the attributes of those that stay.
fn changed_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut said, mut at, mut made_anew) = (Vec::new(), 0, false);
    while let Some(line) = lines.get(at) {
        let end = end_of_block(&lines[at..]);
        if lines[at + end].ends_with(UNKNOWN) {
            // What was there and is not known yet: of no interest, however long.
            at += end + 1;
            continue;
        }
        if let Some(header) = line.trim().strip_prefix("# ").filter(|header| !header.starts_with('(')) {
            made_anew = header.ends_with("will be created");
            said.push(words(header));
        } else if let Some((text, lines)) = whole_text(&lines[at..]) {
            said.extend(Some(text).filter(|_| !made_anew));
            at += lines;
        } else if let Some(changed) = changed(line.trim()).filter(|_| !made_anew) {
            said.push(changed);
        }
        at += 1;
    }
    said.join("; ")
}

/// A text of several lines that comes or goes as a whole, and how many lines below this one it ends.
fn whole_text(lines: &[&str]) -> Option<(String, usize)> {
    let first = lines.first()?.trim().strip_suffix("<<-EOT")?;
    let end = lines.iter().position(|line| line.trim().starts_with("EOT"))?;
    let whole = first.starts_with(['+', '-']) || lines[end].ends_with(UNKNOWN);
    whole.then(|| (words(&format!("{first} {}", lines[1..end].join(" "))), end))
}

/// How many lines below this one its block ends: 0 when it opens none.
fn end_of_block(lines: &[&str]) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let Some(first) = lines.first().filter(|line| line.ends_with(['{', '[', '('])) else { return 0 };
    // The sign of change stands before the name, the closing bracket under the name.
    let name = first.trim_start().trim_start_matches(['~', '+', '-', '/', ' ']);
    let depth = first.len() - name.len();
    let closes = |line: &&str| indent(line) == depth && line.trim_start().starts_with(['}', ']', ')']);
    lines.iter().position(closes).unwrap_or(0)
}

/// A line that begins with a sign of change and holds more than a bracket that opens.
fn changed(line: &str) -> Option<String> {
    // The legend at the plan's beginning.
    let legend = ["update in-place", "create", "destroy", "destroy and then create replacement"];
    let sign = ["-/+ ", "~ ", "+ ", "- "].into_iter().find(|sign| line.starts_with(sign))?;
    let rest = &line[sign.len()..];
    let opens = rest.ends_with(['{', '[', '(']) || rest.ends_with("<<-EOT");
    (!opens && !legend.contains(&rest)).then(|| words(line))
}

/// The first diagnostic of this severity: its title and the first lines of its detail.
fn said(run: &Run, severity: &str) -> Option<String> {
    let text = format!("{}\n{}", run.stdout, run.stderr);
    let begins = format!("{severity}: ");
    let mut lines = text
        .lines()
        .map(|line| line.trim_start_matches(['│', '╷', '╵', ' ']).trim_end())
        .skip_while(|line| !line.starts_with(&begins));
    let title = paragraph(&mut lines)?;
    let title = title.strip_prefix(&begins).unwrap_or(&title).to_owned();
    let mut detail = paragraph(&mut lines);
    // Where it is in the configuration.
    while detail.as_deref().is_some_and(|words| words.starts_with("with ") || words.starts_with("on ")) {
        detail = paragraph(&mut lines);
    }
    let detail = detail.filter(|words| !words.starts_with("Error: ") && !words.starts_with("Warning: "));
    Some(detail.map_or(title.clone(), |detail| format!("{title}: {detail}")))
}

/// The lines until the next empty one.
fn paragraph<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<String> {
    let mut all = Vec::new();
    for line in lines.skip_while(|line| line.is_empty()) {
        if line.is_empty() {
            break;
        }
        all.push(line);
    }
    (!all.is_empty()).then(|| words(&all.join(" ")))
}

/// Single blanks between words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cut in its middle where it is too long to be read: an error's reason often stands at its end.
pub fn shorten(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    if all.len() <= LONGEST {
        return text.to_owned();
    }
    let part = |range: &[char]| range.iter().collect::<String>();
    format!("{} … {}", part(&all[..LONGEST / 2]), part(&all[all.len() - LONGEST / 2..]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(code: i32, stdout: &str, stderr: &str) -> Run {
        Run {
            command: "terraform plan".into(),
            code: Some(code),
            stdout: stdout.into(),
            stderr: stderr.into(),
            took: Duration::ZERO,
        }
    }

    const DRIFT: &str = "\
Terraform used the selected providers to generate the following execution
plan. Resource actions are indicated with the following symbols:
  ~ update in-place

Terraform will perform the following actions:

  # kubernetes_manifest.set will be updated in-place
  ~ resource \"kubernetes_manifest\" \"set\" {
      ~ object   = {
          ~ spec       = {
              ~ replicas                             = 1 -> 2
                # (15 unchanged attributes hidden)
            }
        }
    }

Plan: 0 to add, 1 to change, 0 to destroy.
";

    const CONFLICT: &str = "
╷
│ Error: There was a field manager conflict when trying to apply the manifest
│ for \"ns/pg-rw\"
│ 
│   with kubernetes_manifest.rw,
│   on main.tf.json line 20, in resource.kubernetes_manifest.rw:
│   20:       },
│ 
│ The API returned the following conflict: \"Apply failed with 1 conflict\"
│ 
│ You can override this conflict by setting \"force_conflicts\" to true.
╵
";

    #[test]
    fn a_plan_with_changes_is_quoted_by_its_changed_lines() {
        let shown = "kubernetes_manifest.set will be updated in-place; ~ replicas = 1 -> 2".to_owned();
        assert_eq!(drift(&run(2, DRIFT, "")), Judged { at: At::Plan, shown });
    }

    #[test]
    fn an_empty_plan_shows_nothing() {
        let text = "No changes. Your infrastructure matches the configuration.\n";
        assert_eq!(drift(&run(0, text, "")), Judged { at: At::Never, shown: String::new() });
    }

    #[test]
    fn a_multi_line_text_is_quoted_by_its_differing_lines() {
        let text = "  # m.settings will be updated in-place\n  ~ resource \"m\" \"settings\" {\n      ~ \"settings.conf\" = <<-EOT\n            max_connections = 50\n          - work_mem = '1MB'\n          + work_mem = '4MB'\n        EOT\n    }\n";
        let shown = drift(&run(2, text, "")).shown;
        assert_eq!(shown, "m.settings will be updated in-place; - work_mem = '1MB'; + work_mem = '4MB'");
    }

    #[test]
    fn what_is_not_known_yet_is_left_out() {
        let text = "  # h.this will be updated in-place\n  ~ resource \"h\" \"this\" {\n      ~ metadata = {\n          ~ revision = 1 -> (known after apply)\n          - chart    = \"c\"\n        } -> (known after apply)\n      ~ status   = \"failed\" -> \"deployed\"\n    }\n";
        let shown = drift(&run(2, text, "")).shown;
        assert_eq!(shown, "h.this will be updated in-place; ~ status = \"failed\" -> \"deployed\"");
    }

    #[test]
    fn a_text_that_is_computed_anew_is_quoted_as_it_was() {
        let text = "  # k.set will be updated in-place\n  ~ resource \"k\" \"set\" {\n      ~ drift = <<-EOT\n            spec:\n              replicas: '<was: 2, now: 1>'\n        EOT -> (known after apply)\n    }\n";
        let shown = drift(&run(2, text, "")).shown;
        assert_eq!(shown, "k.set will be updated in-place; ~ drift = spec: replicas: '<was: 2, now: 1>'");
    }

    #[test]
    fn what_is_made_anew_is_quoted_by_its_address() {
        let text = "  # k.rw will be created\n  + resource \"k\" \"rw\" {\n      + name = \"pg-rw\"\n    }\n";
        let shown = "k.rw will be created".to_owned();
        assert_eq!(drift(&run(2, text, "")), Judged { at: At::Plan, shown });
        let seen = drift_of_what_is_there(&run(2, text, ""));
        assert_eq!(seen, Judged { at: At::Never, shown: "taken for gone: k.rw will be created".to_owned() });
    }

    #[test]
    fn a_right_of_the_cluster_is_told_from_one_of_the_namespace() {
        let of = |shown: &str| Judged { at: At::Plan, shown: shown.to_owned() };
        assert!(wants_crds(&of("customresourcedefinitions.apiextensions.k8s.io is forbidden")));
        assert!(!wants_crds(&of("statefulsets.apps \"pg\" is forbidden")));
        let words = with_crds(&of("x"));
        assert_eq!(words, "with the right to list CustomResourceDefinitions: at plan: x");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let cut = shorten(&format!("begins {} ends", "x".repeat(2000)));
        assert!(cut.starts_with("begins") && cut.ends_with("ends") && cut.chars().count() < 700, "{cut}");
    }

    #[test]
    fn a_plan_that_fails_shows_no_drift() {
        let seen = drift(&run(1, "", "\nError: secrets is forbidden\n\n"));
        let shown = "the plan fails: secrets is forbidden".to_owned();
        assert_eq!(seen, Judged { at: At::Never, shown });
    }

    #[test]
    fn an_apply_that_fails_refuses_at_apply_with_title_and_detail() {
        let seen = refusal(&run(2, DRIFT, ""), Some(&run(1, "", CONFLICT)));
        let shown = "There was a field manager conflict when trying to apply the manifest for \"ns/pg-rw\": The API \
                     returned the following conflict: \"Apply failed with 1 conflict\"";
        assert_eq!(seen, Judged { at: At::Apply, shown: shown.to_owned() });
    }

    #[test]
    fn a_warning_at_plan_comes_first() {
        let warned = run(2, "\nWarning: It exists already\n\nImport it.\n", "");
        let seen = refusal(&warned, Some(&run(1, "", "\nError: It exists\n")));
        assert_eq!(seen.at, At::Plan);
        assert_eq!(seen.shown, "warning at plan: It exists already: Import it.; It exists");
    }

    #[test]
    fn what_is_done_without_a_word_is_never_refused() {
        let seen = refusal(&run(2, DRIFT, ""), Some(&run(0, "Apply complete!", "")));
        assert_eq!(seen, Judged { at: At::Never, shown: String::new() });
    }

    #[test]
    fn a_plan_that_refuses_needs_no_apply() {
        let seen = refusal(&run(1, "", "\nError: Instance cannot be destroyed\n"), None);
        assert_eq!(seen.at, At::Plan);
    }
}
