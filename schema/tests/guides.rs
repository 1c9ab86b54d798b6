//! The hand-written pages for users: in the registry's form, and true to the code where that can be checked.

use std::path::{Path, PathBuf};

/// The largest page that a registry takes.
const PAGE_BYTES: usize = 500_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// Name and text of every guide.
fn guides() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(root().join("docs/guides")).expect("docs/guides");
    let mut names: Vec<String> =
        folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("docs/guides/{name}")))).collect()
}

#[test]
fn guides_have_the_registrys_form() {
    let all = guides();
    assert!(all.len() >= 10, "{} guides", all.len());
    for (name, text) in all {
        let lines: Vec<&str> = text.lines().take(8).collect();
        let value =
            |line: &str, key: &str| line.strip_prefix(key).map(|rest| rest.trim_matches('"').to_owned());
        let title = value(lines[1], "page_title: ").unwrap_or_default();
        assert!(lines[0] == "---" && lines[5] == "---", "{name}: no front matter");
        assert!(!title.is_empty(), "{name}: no page_title");
        let subcategory = value(lines[2], "subcategory: ").unwrap_or_default();
        assert!(["Getting started", "Operating"].contains(&subcategory.as_str()), "{name}: {subcategory}");
        assert!(lines[3] == "description: |-" && lines[4].len() > 20, "{name}: no description");
        assert_eq!(lines[7], format!("# {title}"), "{name}: title and heading differ");
        assert!(text.len() < PAGE_BYTES, "{name} is too large");
    }
}

/// All Rust code below a folder, with line continuations of strings joined.
fn code(folder: &Path) -> String {
    let mut all = String::new();
    let mut entries: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() && !entry.file_name().to_string_lossy().starts_with("target") {
            all += &code(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let mut joined = false;
            for line in text.lines() {
                let line = if joined { line.trim_start() } else { line };
                joined = line.ends_with('\\');
                all += line.strip_suffix('\\').unwrap_or(line);
                all += if joined { "" } else { "\n" };
            }
        }
    }
    all
}

/// Messages between single asterisks at a table row's beginning, in pieces where `...` stands for a name.
fn messages(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let quoted = rows.flat_map(|cell| cell.split('*').skip(1).step_by(2));
    quoted.flat_map(|message| message.split("...")).map(str::trim).filter(|piece| piece.len() > 3).collect()
}

#[test]
fn troubleshooting_quotes_messages_that_exist() {
    let page = read("docs/guides/troubleshooting.md");
    let code = code(&root().join("provider"));
    let found = messages(&page);
    assert!(found.len() > 20, "{} messages", found.len());
    let strange: Vec<&str> = found.into_iter().filter(|piece| !code.contains(*piece)).collect();
    assert!(strange.is_empty(), "messages that the provider does not say: {strange:#?}");
}

#[test]
fn the_comparison_names_cases_that_exist() {
    let page = read("docs/comparison.md");
    let cells: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"))
        .filter_map(|line| line.trim_end_matches("` |").rsplit('`').next())
        .collect();
    assert!(cells.len() >= 14, "only {} cases are named: {cells:?}", cells.len());
    let cases = code(&root().join("acceptance-tests/tests/acceptance"));
    for cell in cells {
        let exists = match cell.split_once("::") {
            // Groups take cases from several files.
            Some((_, case)) => cases.contains(&format!("async fn {case}(")),
            None => ["provider/core/tests/plan.rs", "acceptance-tests/tests/plan_bad_input.rs"]
                .iter()
                .any(|file| read(file).contains(&format!("fn {cell}("))),
        };
        assert!(exists, "no test is called {cell}");
    }
}

#[test]
fn the_uri_in_the_guide_is_that_in_the_secret() {
    let page = read("docs/guides/client-connections.md");
    let code = read("provider/core/src/connection.rs");
    for (option, value) in [
        ("connect_timeout", "10"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "2"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "10000"),
    ] {
        assert!(
            code.contains(&format!("(\"{option}\", \"{value}\")")),
            "{option} is not {value} any more: mend the guide"
        );
        assert!(page.contains(&format!("`{option}`")), "the guide does not name {option}");
    }
}

/// What a registry shows: the index and these folders of docs/.
const PUBLISHED: [&str; 7] =
    ["guides", "resources", "data-sources", "functions", "ephemeral-resources", "actions", "list-resources"];

/// Where the links and pictures of a page lead, addresses of the web and places in the same page apart.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.starts_with("https://") && !target.starts_with('#')).collect()
}

/// The path below docs/ that a link of a page in `folder` (empty for the index) leads to, if a registry has it.
fn published(folder: &str, link: &str) -> Option<String> {
    let file = link.split('#').next()?;
    let path = match file.strip_prefix("../") {
        Some(rest) if !folder.is_empty() => rest.to_owned(),
        Some(_) => return None,
        None if folder.is_empty() => file.to_owned(),
        None => format!("{folder}/{file}"),
    };
    let kept = path == "index.md"
        || path
            .split_once('/')
            .is_some_and(|(first, name)| PUBLISHED.contains(&first) && !name.contains('/'));
    kept.then_some(path)
}

#[test]
fn links_of_published_pages_lead_to_published_pages() {
    let mut pages = vec![(String::new(), "index.md".to_owned())];
    for folder in PUBLISHED {
        let files = std::fs::read_dir(root().join("docs").join(folder)).expect(folder).flatten();
        let names = files.map(|file| format!("{folder}/{}", file.file_name().to_string_lossy()));
        pages.extend(names.map(|name| (folder.to_owned(), name)));
    }
    let mut seen = 0;
    for (folder, page) in pages {
        for link in links(&read(&format!("docs/{page}"))) {
            let target = published(&folder, link);
            let there = target.is_some_and(|path| root().join("docs").join(path).is_file());
            assert!(there, "docs/{page} links to {link}, which a registry does not have");
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} links were found");
}

#[test]
fn the_checks_themselves_see_what_they_look_for() {
    assert_eq!(
        messages("| *Cluster ... exists already* | x |\n| no | *not here* |"),
        ["Cluster", "exists already"]
    );
    assert_eq!(links("[a](../b.md), [c](https://d), [e](#f) and ![g](h.svg)"), ["../b.md", "h.svg"]);
    assert_eq!(published("guides", "../index.md#here").as_deref(), Some("index.md"));
    assert_eq!(published("guides", "tls.md").as_deref(), Some("guides/tls.md"));
    for (folder, link) in
        [("guides", "../ha-protocol.md"), ("guides", "../decisions/0001.md"), ("", "../README.md")]
    {
        assert_eq!(published(folder, link), None, "{link}");
    }
}
