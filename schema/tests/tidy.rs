//! The repository's own rules, as tests: what no compiler checks and every reviewer would have to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest file, in lines without its tests.
const FILE_LINES: usize = 500;
/// Longest function, in lines.
const FUNCTION_LINES: usize = 80;
/// Debts: what was too long when the rule came, by path or by path and function, with the length that it may not grow
/// beyond. Whoever splits one takes its line away: the test asks for that.
const TOO_LONG: [(&str, usize); 2] =
    [("agent/core/src/observation.rs", 530), ("agent/sim/src/agent.rs carry_out", 95)];
/// The crates that only compute.
const CORES: [&str; 4] = ["schema", "provider/core", "agent/core", "agent/sim"];
/// What they may depend on: data, texts, hashes; of Kubernetes the types alone.
const CORE_DEPENDENCIES: [&str; 16] = [
    "base64",
    "hex",
    "hmac",
    "jiff",
    "k8s-openapi",
    "pgha-agent-core",
    "pgha-schema",
    "regex-lite",
    "schemars",
    "serde",
    "serde_json",
    "serde_yaml_ng",
    "sha2",
    "similar",
    "thiserror",
    "tracing",
];
/// The simulator's chance comes from a seed; its program has arguments.
const SIM_DEPENDENCIES: [&str; 4] = ["clap", "mimalloc", "rand", "rand_xoshiro"];
/// What their code must not say: a clock, chance, a file, a thread, an order that differs from run to run.
const CORE_WORDS: [&str; 12] = [
    "SystemTime",
    "Instant::",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "HashMap",
    "HashSet",
    "std::env",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A source file, cut where its tests begin.
struct Source {
    path: String,
    code: String,
    tests: String,
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root(), "", ".rs", &mut files);
    files.into_iter().map(read_source).collect()
}

/// Paths from the root, with slashes, of the files whose names end so.
fn collect(directory: &Path, prefix: &str, ending: &str, found: &mut Vec<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(directory).expect("a readable folder").flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() && !name.starts_with('.') && !name.starts_with("target") {
            collect(&entry.path(), &path, ending, found);
        } else if kind.is_file() && name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn read_source(path: String) -> Source {
    let text = std::fs::read_to_string(root().join(&path)).expect("a readable file");
    let all_tests = path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests");
    let cut = if all_tests { 0 } else { text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len()) };
    let (code, tests) = text.split_at(cut);
    Source { code: code.to_owned(), tests: tests.to_owned(), path }
}

fn assert_none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn files_are_short() {
    let lengths = sources().into_iter().map(|source| (source.code.lines().count(), source.path));
    let broken = too_long(FILE_LINES, lengths.collect(), |debt| !debt.contains(' '));
    assert_none(&format!("files of more than {FILE_LINES} lines; split them by responsibility"), broken);
}

#[test]
fn functions_are_short() {
    let mut lengths = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.code.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let Some(name) = function_name(line) else { continue };
            // The code is formatted, so the closing brace stands under the first letter.
            let closing = format!("{}}}", &line[..indent]);
            let length = lines[at..].iter().position(|line| **line == closing).unwrap_or(0) + 1;
            lengths.push((length, format!("{} {name}", source.path)));
        }
    }
    let broken = too_long(FUNCTION_LINES, lengths, |debt| debt.contains(' '));
    assert_none(&format!("functions of more than {FUNCTION_LINES} lines"), broken);
}

/// What is longer than the limit and than its debt; and debts that are paid.
fn too_long(limit: usize, lengths: Vec<(usize, String)>, concerns: fn(&str) -> bool) -> Vec<String> {
    let mut debts: Vec<_> = TOO_LONG.iter().filter(|(what, _)| concerns(what)).collect();
    let mut broken = Vec::new();
    for (length, what) in lengths.iter().filter(|(length, _)| *length > limit) {
        let allowed = debts.iter().position(|(debt, _)| debt == what).map(|at| debts.swap_remove(at).1);
        if allowed.is_none_or(|allowed| *length > allowed) {
            broken.push(format!("{what}: {length}"));
        }
    }
    broken.extend(debts.iter().map(|(debt, _)| format!("{debt} is short now: take it out of TOO_LONG")));
    broken
}

/// The function that begins on this line, unless it ends there too.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in ["pub(super) ", "pub(crate) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?.split(['(', '<']).next();
    name.filter(|_| !line.ends_with('}') && !line.ends_with(';'))
}

#[test]
fn no_test_sleeps() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path != "schema/tests/tidy.rs") {
        for line in source.tests.lines().filter(|line| line.contains("sleep(")) {
            broken.push(format!("{}: {}", source.path, line.trim()));
        }
    }
    assert_none("tests wait for a level with a deadline, never for time to pass", broken);
}

#[test]
fn the_cores_only_compute() {
    let mut broken = Vec::new();
    for core in CORES {
        let manifest = std::fs::read_to_string(root().join(core).join("Cargo.toml")).expect("a manifest");
        for dependency in dependencies(&manifest) {
            let simulators = core == "agent/sim" && SIM_DEPENDENCIES.contains(&dependency);
            if !CORE_DEPENDENCIES.contains(&dependency) && !simulators {
                broken.push(format!("{core} depends on {dependency}"));
            }
        }
        let library = std::fs::read_to_string(root().join(core).join("src/lib.rs")).expect("a crate root");
        if !library.contains("#![forbid(unsafe_code)]") {
            broken.push(format!("{core} does not forbid unsafe code"));
        }
    }
    for source in sources() {
        // The simulator's program reads its arguments and prints; its library computes.
        let computes = CORES.iter().any(|core| source.path.starts_with(&format!("{core}/src/")));
        if !computes || source.path.ends_with("/main.rs") {
            continue;
        }
        let code = source.code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if let Some(word) = CORE_WORDS.iter().find(|word| line.contains(**word)) {
                broken.push(format!("{} says {word}", source.path));
            }
        }
    }
    assert_none("core crates have no clock, no chance, no I/O", broken);
}

/// Names in the section `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
        .map(|name| name.split('.').next().unwrap_or(name))
        .collect()
}

#[test]
fn the_lock_file_has_once_what_must_be_one() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let names: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    for single in ["kube", "kube-client", "kube-core", "k8s-openapi", "rustls", "tokio", "tonic", "prost"] {
        let times = names.iter().filter(|name| **name == single).count();
        assert!(times <= 1, "{single} is there {times} times: cargo tree -d");
    }
}

/// ring has no P-521, which the host's client certificate is signed with. The lock file names it all the same, as an
/// optional dependency that nothing turns on; so cargo is asked what is really built.
#[test]
fn nothing_builds_ring() {
    let mut tree = std::process::Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--workspace", "--prefix", "none", "--format", "{p}"]).current_dir(root());
    let output = tree.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.lines().any(|line| line.starts_with("rustls v")), "the tree is not the workspace's");
    let ring: Vec<_> = text.lines().filter(|line| line.starts_with("ring v")).collect();
    assert!(ring.is_empty(), "ring came in: cargo tree -i ring");
}

#[test]
fn documents_name_what_exists() {
    let mut pages = vec!["README.md".to_owned()];
    for folder in ["docs", "examples", ".github"] {
        collect(&root().join(folder), folder, ".md", &mut pages);
    }
    let mut broken = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(root().join(&page)).expect("a readable page");
        let folder = Path::new(&page).parent().expect("a folder");
        for target in links(&text) {
            if !root().join(folder).join(target).exists() {
                broken.push(format!("{page} links to {target}"));
            }
        }
        for path in paths_in_code(&text) {
            if !root().join(path).exists() {
                broken.push(format!("{page} names {path}"));
            }
        }
    }
    assert_none("documents name files that are not there", broken);
}

/// Targets of Markdown links into the repository.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

/// Words between single backticks that begin with a folder of the repository and hold no placeholder.
fn paths_in_code(text: &str) -> BTreeSet<&str> {
    let folders = ["schema/", "provider/", "agent/", "acceptance-tests/", "examples/", "docs/"];
    let is_path = |word: &&str| {
        folders.iter().any(|folder| word.starts_with(folder))
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
    };
    text.split('`').skip(1).step_by(2).filter(is_path).collect()
}

#[test]
fn no_snapshot_waits_for_review() {
    let mut pending = Vec::new();
    collect(&root(), "", ".snap.new", &mut pending);
    collect(&root(), "", ".pending-snap", &mut pending);
    assert_none("snapshots that nobody has looked at: cargo insta review", pending);
}

#[test]
fn the_rules_themselves_see_what_they_look_for() {
    assert_eq!(function_name("    pub async fn run(&self) -> Result<()> {"), Some("run"));
    assert_eq!(function_name("fn all<'a>("), Some("all"));
    assert_eq!(function_name("    fn short(&self) -> u32 { 1 }"), None);
    assert_eq!(function_name("let function = 1;"), None);
    assert_eq!(
        dependencies(
            "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb.workspace = true\n[lints]\nc = 1"
        ),
        ["a", "b"]
    );
    assert_eq!(
        too_long(500, vec![(501, "new.rs".into()), (9, "agent/core/src/observation.rs".into())], |debt| debt
            .contains("observation")),
        ["new.rs: 501", "agent/core/src/observation.rs is short now: take it out of TOO_LONG"]
    );
    assert_eq!(links("[a](docs/x.md#top) [b](https://x) [c](#y)"), ["docs/x.md"]);
    assert_eq!(
        paths_in_code("`agent/core` and `provider/<x>` and `cargo` and `docs/a.md`")
            .into_iter()
            .collect::<Vec<_>>(),
        ["agent/core", "docs/a.md"]
    );
}
