//! docs/ha-protocol.md is the reference: what its table names exists, and it names every mutant and every property.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use pgha_agent_sim::Mutation;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// Names of a folder's files with this ending.
fn stems(folder: &str, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).expect(folder).flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect()
}

/// The rule, the property, what shows it and the case, of each row.
fn rows(page: &str) -> Vec<[String; 4]> {
    let table = page.split("\n|---|---|---|---|---|\n").nth(1).expect("the table of rules");
    let lines = table.lines().take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let cells = line.replace("\\|", "/");
            let cells: Vec<&str> = cells.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{line}");
            [cells[0], cells[2], cells[3], cells[4]].map(str::to_owned)
        })
        .collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_row_names_a_property_that_exists_and_every_property_has_a_row() {
    let mut properties = stems("agent/sim/src/invariants", "rs");
    properties.remove("mod");
    let mut named = BTreeSet::new();
    for [rule, cell, ..] in rows(&read("docs/ha-protocol.md")) {
        let own: BTreeSet<String> = quoted(&cell).map(str::to_owned).collect();
        assert!(!own.is_empty(), "no property: {rule}");
        named.extend(own);
    }
    assert_eq!(named, properties);
}

#[test]
fn every_row_has_a_mutant() {
    let page = read("docs/ha-protocol.md");
    let without: Vec<String> = rows(&page)
        .into_iter()
        .filter(|[_, _, shown, _]| !shown.contains("mutant `") && !shown.contains("mutants `"))
        .map(|[rule, ..]| rule)
        .collect();
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn every_mutant_has_a_row_and_what_shows_a_rule_exists() {
    let mutants: BTreeSet<String> = Mutation::all()
        .iter()
        // It shows that the simulator would see a cluster that does not heal, and leaves out no rule.
        .filter(|mutation| **mutation != Mutation::NeverStarts)
        .filter_map(|mutation| Some(mutation.to_possible_value()?.get_name().to_owned()))
        .collect();
    let scripts = stems("agent/sim/tests/scripts", "txt");
    let tests: String = ["agent/core/tests/decide.rs", "agent/tests/guard_exchange.rs"].map(read).concat();
    let inside: String = stems("agent/core/src", "rs")
        .iter()
        .map(|file| read(&format!("agent/core/src/{file}.rs")))
        .chain(stems("schema/src", "rs").iter().map(|file| read(&format!("schema/src/{file}.rs"))))
        .collect();
    let mut shown = BTreeSet::new();
    for [rule, _, cell, _] in rows(&read("docs/ha-protocol.md")) {
        assert!(!cell.is_empty(), "shown by nothing: {rule}");
        for name in quoted(&cell).filter(|name| !name.contains('/')) {
            let sentence = format!("fn {}", name.trim_end_matches('…'));
            let known = mutants.contains(name)
                || scripts.contains(name)
                || tests.contains(&sentence)
                || inside.contains(&sentence)
                || inside.contains(&format!("mod {name};"));
            assert!(known, "nothing is called {name}: {rule}");
            shown.extend(mutants.get(name).cloned());
        }
    }
    assert_eq!(shown, mutants);
}

#[test]
fn every_row_names_a_case_that_exists() {
    let cases: String = stems("acceptance-tests/tests/acceptance", "rs")
        .iter()
        .map(|file| read(&format!("acceptance-tests/tests/acceptance/{file}.rs")))
        .collect();
    let mut without = Vec::new();
    for [rule, .., cell] in rows(&read("docs/ha-protocol.md")) {
        if quoted(&cell).next().is_none() {
            without.push(rule);
            continue;
        }
        for name in quoted(&cell) {
            let case = name.split_once("::").map_or(name, |(_, case)| case);
            assert!(cases.contains(&format!("async fn {case}(")), "no case is called {name}: {rule}");
        }
    }
    // The one that no cluster can meet yet.
    assert_eq!(without.len(), 1, "{without:#?}");
    assert!(without[0].starts_with("A new format of the record"), "{without:#?}");
}
