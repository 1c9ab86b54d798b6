//! The pages in docs/ are those that the schemas give.

use std::path::PathBuf;

use pgha_schema::docs;

fn check(path: &str, fresh: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("PGHA_BLESS").is_some() {
        std::fs::write(&file, fresh).expect("docs/ is writable");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = written.lines().zip(fresh.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| written.lines().count().min(fresh.lines().count())) + 1;
    assert!(
        written == fresh,
        "{path} is stale (first at line {line}): run PGHA_BLESS=1 cargo test -p pgha-schema --test docs"
    );
}

#[test]
fn the_resources_page_is_fresh() {
    check("docs/resources/ha_cluster.md", &docs::resource_page());
}

#[test]
fn the_providers_page_is_fresh() {
    check("docs/index.md", &docs::provider_page());
}

#[test]
fn no_template_word_is_left() {
    for page in [docs::resource_page(), docs::provider_page()] {
        assert!(!page.contains("{{"), "{page}");
        assert!(page.starts_with("---\npage_title: "), "{page}");
    }
}
