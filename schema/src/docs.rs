//! The registry's pages, rendered from the schemas and a template each; a test fails when those in docs/ are stale.

mod action;
mod attributes;
mod function;

use crate::actions::Action;
use crate::credentials;
use crate::data_source;
use crate::functions;
use crate::list;
use crate::provider_block;
use crate::resource;
use crate::tf::Schema;

/// Every page that is rendered: its path in the repository, and its text.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![
        ("docs/index.md".to_owned(), provider_page()),
        ("docs/resources/ha_cluster.md".to_owned(), resource_page()),
        ("docs/data-sources/ha_cluster.md".to_owned(), data_source_page()),
        ("docs/ephemeral-resources/ha_credentials.md".to_owned(), credentials_page()),
        ("docs/list-resources/ha_cluster.md".to_owned(), list_page()),
    ];
    pages.extend(Action::ALL.into_iter().map(action::page));
    pages.extend(
        functions::functions()
            .iter()
            .map(|one| (format!("docs/functions/{}.md", one.name), function::page(one))),
    );
    pages
}

fn resource_page() -> String {
    page(
        include_str!("docs/resource.md"),
        resource::schema(),
        true,
        &[
            ("example", include_str!("../../examples/resources/postgres_ha_cluster/resource.tf").trim_end()),
            (
                "import_block",
                include_str!("../../examples/resources/postgres_ha_cluster/import-by-string-id.tf")
                    .trim_end(),
            ),
            ("import", include_str!("../../examples/resources/postgres_ha_cluster/import.sh").trim_end()),
            (
                "import_by_identity",
                include_str!("../../examples/resources/postgres_ha_cluster/import-by-identity.tf").trim_end(),
            ),
        ],
    )
}

fn data_source_page() -> String {
    let example = include_str!("../../examples/data-sources/postgres_ha_cluster/data-source.tf").trim_end();
    page(include_str!("docs/data_source.md"), data_source::schema(), false, &[("example", example)])
}

fn credentials_page() -> String {
    let example =
        include_str!("../../examples/ephemeral-resources/postgres_ha_credentials/ephemeral-resource.tf")
            .trim_end();
    let role = include_str!("../../examples/rbac/credentials.yaml").trim_end();
    let texts = [("example", example), ("role", role)];
    page(include_str!("docs/ephemeral_resource.md"), credentials::schema(), false, &texts)
}

fn list_page() -> String {
    let example = include_str!("../../examples/list-resources/postgres_ha_cluster/list-resource.tfquery.hcl")
        .trim_end();
    page(include_str!("docs/list_resource.md"), list::schema(), false, &[("example", example)])
}

/// The provider block changes no cluster: its attributes have variables instead.
fn provider_page() -> String {
    let example = include_str!("../../examples/provider/provider.tf").trim_end();
    page(include_str!("docs/provider.md"), provider_block::schema(), false, &[("example", example)])
}

fn page(template: &str, schema: &Schema, says_change: bool, texts: &[(&str, &str)]) -> String {
    let page = template
        .replace("{{ summary }}", summary(&schema.description))
        .replace("{{ description }}", &schema.description)
        .replace("{{ schema }}", attributes::section(schema, says_change).trim_end());
    filled(page, texts)
}

/// The first sentence.
fn summary(description: &str) -> &str {
    description.split_inclusive(". ").next().unwrap_or_default().trim()
}

fn filled(mut page: String, texts: &[(&str, &str)]) -> String {
    for (name, text) in texts {
        page = page.replace(&format!("{{{{ {name} }}}}"), text);
    }
    page
}
