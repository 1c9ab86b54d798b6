//! The pages in docs/ are those that the schemas give.

use std::path::{Path, PathBuf};

use pgha_schema::docs;

/// Where the registry looks for pages of its own kinds; guides are written by hand.
const FOLDERS: [&str; 6] =
    ["resources", "data-sources", "functions", "ephemeral-resources", "actions", "list-resources"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn check(path: &str, fresh: &str) -> Option<String> {
    let file = root().join(path);
    if std::env::var_os("PGHA_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("docs/ is writable");
        std::fs::write(&file, fresh).expect("docs/ is writable");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = written.lines().zip(fresh.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| written.lines().count().min(fresh.lines().count())) + 1;
    (written != fresh).then(|| format!("{path} (first at line {line})"))
}

#[test]
fn the_pages_are_fresh() {
    let stale: Vec<_> = docs::pages().iter().filter_map(|(path, fresh)| check(path, fresh)).collect();
    assert!(stale.is_empty(), "stale: {stale:?}: run PGHA_BLESS=1 cargo test -p pgha-schema --test docs");
}

#[test]
fn no_page_is_of_something_that_is_no_more() {
    let pages = docs::pages();
    for folder in FOLDERS {
        let Ok(files) = std::fs::read_dir(root().join("docs").join(folder)) else { continue };
        for file in files.flatten() {
            let path = format!("docs/{folder}/{}", file.file_name().to_string_lossy());
            assert!(pages.iter().any(|(page, _)| *page == path), "{path} is rendered from nothing");
        }
    }
}

#[test]
fn no_template_word_is_left() {
    for (path, page) in docs::pages() {
        assert!(!page.contains("{{"), "{path}: {page}");
        assert!(page.starts_with("---\npage_title: "), "{path}: {page}");
        let examples: Vec<_> = page.split("```terraform\n").skip(1).collect();
        assert!(examples.iter().all(|example| !example.starts_with('\n')), "{path}: an empty example");
    }
}
