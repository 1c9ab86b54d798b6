//! The walk-throughs, each a story with its golden transcript: `PGHA_BLESS=1 cargo test -p pgha-agent-sim` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use pgha_agent_sim::Mutation;

fn scripts() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 17, "scripts are missing: {paths:?}");
    paths
}

#[test]
fn every_walk_through_comes_out_as_told() {
    let bless = std::env::var_os("PGHA_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in scripts() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let transcript = match pgha_agent_sim::script::play(&fs::read_to_string(&path).unwrap()) {
            Ok(transcript) => transcript,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let golden = path.with_extension("golden");
        if bless {
            fs::write(&golden, &transcript).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if expected != transcript {
            let first = expected.lines().zip(transcript.lines()).find(|(one, other)| one != other);
            wrong.push(format!("{name}: the transcript differs from {golden:?}, first at {first:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_rule_with_a_story_is_missed_in_it() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    for mutation in Mutation::all() {
        let Some(story) = mutation.story() else { continue };
        let script = fs::read_to_string(dir.join(story).with_extension("txt")).unwrap();
        let Err(error) = pgha_agent_sim::script::play_without(&script, Some(*mutation)) else {
            panic!("{mutation:?}: {story} comes out as told without the rule");
        };
        let noticed = match error.violation() {
            Some(violation) => mutation.is_noticed_as(violation),
            None => mutation.breaks_an_expectation(),
        };
        assert!(noticed, "{mutation:?}: {error}");
    }
}
