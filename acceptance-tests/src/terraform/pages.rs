//! The configurations that pages show without copying an example.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Everything that these pages fence as Terraform's language: a file's name made from page and line, and the text.
///
/// # Errors
/// When a page can't be read, or a block does not end.
pub fn shown() -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for page in pages()? {
        all.extend(blocks(&page)?);
    }
    Ok(all)
}

/// The pages with configurations that are not copied from an example, but for docs/index.md, which costs little.
fn pages() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages =
        vec![root.join("README.md"), root.join("docs/index.md"), root.join("examples/module/README.md")];
    pages.extend(fs::read_dir(root.join("docs/guides"))?.flatten().map(|entry| entry.path()));
    pages.sort();
    Ok(pages)
}

fn blocks(page: &Path) -> Result<Vec<(String, String)>> {
    // Several pages are called README.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = page.strip_prefix(root)?.to_string_lossy().replace('/', "-");
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for (at, line) in fs::read_to_string(page)?.lines().enumerate() {
        match (inside, line) {
            (true, "```") => inside = false,
            (true, line) => found.last_mut().context("a block")?.1 += &format!("{line}\n"),
            (false, "```hcl" | "```terraform") => {
                found.push((format!("{name}-line-{}.tf", at + 1), String::new()));
                inside = true;
            }
            (false, _) => {}
        }
    }
    ensure!(!inside, "{}: a block does not end", page.display());
    Ok(found)
}
