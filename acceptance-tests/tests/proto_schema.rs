//! The schema in the form in which the CLI prints it, as a golden file: a change of it is a change for users.

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::proto_client::binary;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::process::Plugin;
use pgha_acceptance_tests::terraform::hcl::VERSIONS;
use pgha_acceptance_tests::terraform::{Tool, clis};
use serde_json::{Map, Value as Json, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the CLI prints for the provider, whatever host its address has.
fn golden_file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "schema.json"].iter().collect()
}

fn check(printed: &Json) -> Result<()> {
    let fresh = format!("{printed:#}\n");
    if std::env::var_os("PGHA_BLESS").is_some() {
        std::fs::write(golden_file(), &fresh)?;
    }
    let golden = std::fs::read_to_string(golden_file()).unwrap_or_default();
    let same = golden.lines().zip(fresh.lines()).take_while(|(one, other)| one == other).count();
    ensure!(
        golden == fresh,
        "the schema is not the golden one, first at line {}: look at the difference, then run \
         PGHA_BLESS=1 cargo test -p pgha-acceptance-tests --test proto_schema",
        same + 1
    );
    Ok(())
}

#[tokio::test]
async fn the_schema_is_the_golden_one() -> Result<()> {
    let plugin = Plugin::start().await?;
    let mut rpc = plugin.connect().await?.provider();
    let schemas = rpc.get_provider_schema(pb::get_provider_schema::Request {}).await?.into_inner();
    let mut printed = Map::new();
    printed.insert("provider".to_owned(), schema(schemas.provider.as_ref().context("no provider schema")?)?);
    for (kind, them) in [
        ("resource_schemas", &schemas.resource_schemas),
        ("data_source_schemas", &schemas.data_source_schemas),
        ("ephemeral_resource_schemas", &schemas.ephemeral_resource_schemas),
        ("list_resource_schemas", &schemas.list_resource_schemas),
    ] {
        let them = them.iter().map(|(name, one)| Ok((name.clone(), schema(one)?)));
        printed.insert(kind.to_owned(), Json::Object(them.collect::<Result<_>>()?));
    }
    let actions = schemas.action_schemas.iter().map(|(name, one)| Ok((name.clone(), action(one)?)));
    printed.insert("action_schemas".to_owned(), Json::Object(actions.collect::<Result<_>>()?));
    let request = pb::get_resource_identity_schemas::Request {};
    let identities = rpc.get_resource_identity_schemas(request).await?.into_inner().identity_schemas;
    let identities = identities.iter().map(|(name, one)| Ok((name.clone(), identity(one)?)));
    printed.insert("resource_identity_schemas".to_owned(), Json::Object(identities.collect::<Result<_>>()?));
    ensure!(schemas.state_store_schemas.is_empty(), "state stores are in no golden file");
    let functions = schemas.functions.iter().map(|(name, one)| Ok((name.clone(), function(one)?)));
    printed.insert("functions".to_owned(), Json::Object(functions.collect::<Result<_>>()?));
    check(&Json::Object(printed))
}

/// The same by the CLIs that there are: this also shows that they accept the schema and the process.
#[test]
fn the_clis_print_the_golden_schema() -> Result<()> {
    for cli in clis()? {
        let host = match cli.tool {
            Tool::Terraform => "registry.terraform.io",
            Tool::OpenTofu => "registry.opentofu.org",
        };
        let name = cli.path.display().to_string();
        let printed = printed_by(&cli.path).with_context(|| name.clone())?;
        let ours = &printed["provider_schemas"][format!("{host}/pgha/postgres")];
        same(ours, &name)?;
    }
    Ok(())
}

/// A CLI prints the kinds that it knows: each as in the golden file, and at least those that every CLI knows.
fn same(printed: &Json, cli: &str) -> Result<()> {
    let golden: Json = serde_json::from_str(&std::fs::read_to_string(golden_file())?)?;
    let printed = printed.as_object().context("no object")?;
    for kind in ["provider", "resource_schemas", "data_source_schemas", "functions"] {
        ensure!(printed.contains_key(kind), "{cli} prints no {kind}");
    }
    for (kind, schemas) in printed {
        ensure!(golden[kind] == *schemas, "{kind} as {cli} prints them are not the golden ones: {schemas:#}");
    }
    Ok(())
}

/// An action's configuration; its schema has no version that anybody stores.
fn action(action: &pb::ActionSchema) -> Result<Json> {
    let printed = schema(action.schema.as_ref().context("no schema")?)?;
    Ok(json!({ "block": printed["block"] }))
}

fn identity(identity: &pb::ResourceIdentitySchema) -> Result<Json> {
    let mut attributes = Map::new();
    for part in &identity.identity_attributes {
        let ty: Json = serde_json::from_slice(&part.r#type).context("the type")?;
        let mut printed = json!({ "type": ty, "description": part.description });
        for (word, holds) in [
            ("required_for_import", part.required_for_import),
            ("optional_for_import", part.optional_for_import),
        ] {
            if holds {
                printed[word] = true.into();
            }
        }
        attributes.insert(part.name.clone(), printed);
    }
    Ok(json!({ "version": identity.version, "attributes": attributes }))
}

fn function(function: &pb::Function) -> Result<Json> {
    let ty = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).context("the type");
    let parameter = |one: &pb::function::Parameter| {
        Ok::<_, anyhow::Error>(
            json!({ "name": one.name, "description": one.description, "type": ty(&one.r#type)? }),
        )
    };
    let returned = function.r#return.as_ref().context("no return")?;
    let mut printed = json!({
        "description": function.description,
        "summary": function.summary,
        "return_type": ty(&returned.r#type)?,
        "parameters": function.parameters.iter().map(parameter).collect::<Result<Vec<_>>>()?,
    });
    if let Some(variadic) = &function.variadic_parameter {
        printed["variadic_parameter"] = parameter(variadic)?;
    }
    Ok(printed)
}

fn printed_by(cli: &Path) -> Result<Json> {
    let dir = tempfile::tempdir()?;
    let binary = binary::path()?;
    // An override names a directory, in which the binary must have its plain name.
    std::os::unix::fs::symlink(binary, dir.path().join("terraform-provider-postgres"))?;
    let config = dir.path().join("cli.tfrc");
    let place = dir.path().display();
    let overrides =
        format!("provider_installation {{\n  dev_overrides {{ \"pgha/postgres\" = \"{place}\" }}\n}}\n");
    std::fs::write(&config, overrides)?;
    std::fs::write(dir.path().join("main.tf"), VERSIONS)?;
    let output = Command::new(cli)
        .args(["providers", "schema", "-json"])
        .current_dir(dir.path())
        .env("TF_CLI_CONFIG_FILE", &config)
        .env("CHECKPOINT_DISABLE", "1")
        .env_remove("TF_LOG")
        .env_remove("TF_REATTACH_PROVIDERS")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn schema(schema: &pb::Schema) -> Result<Json> {
    let block = schema.block.as_ref().context("no block")?;
    let mut printed = Map::new();
    printed.insert("attributes".to_owned(), attributes(&block.attributes)?);
    described(&mut printed, &block.description, block.description_kind());
    Ok(json!({ "version": schema.version, "block": printed }))
}

fn attributes(attributes: &[pb::schema::Attribute]) -> Result<Json> {
    let printed = attributes.iter().map(|one| Ok((one.name.clone(), attribute(one)?)));
    printed.collect::<Result<Map<_, _>>>().map(Json::Object)
}

fn attribute(attribute: &pb::schema::Attribute) -> Result<Json> {
    let mut printed = Map::new();
    match &attribute.nested_type {
        Some(nested) => {
            let mode = nested.nesting().as_str_name().to_lowercase();
            let inner = attributes(&nested.attributes)?;
            printed.insert("nested_type".to_owned(), json!({ "attributes": inner, "nesting_mode": mode }));
        }
        None => {
            let ty = serde_json::from_slice(&attribute.r#type).context("the type")?;
            printed.insert("type".to_owned(), ty);
        }
    }
    described(&mut printed, &attribute.description, attribute.description_kind());
    // The CLI leaves out what is false.
    for (word, holds) in [
        ("required", attribute.required),
        ("optional", attribute.optional),
        ("computed", attribute.computed),
        ("sensitive", attribute.sensitive),
        ("write_only", attribute.write_only),
        ("deprecated", attribute.deprecated),
    ] {
        if holds {
            printed.insert(word.to_owned(), true.into());
        }
    }
    Ok(Json::Object(printed))
}

fn described(printed: &mut Map<String, Json>, description: &str, kind: pb::StringKind) {
    let kind = match kind {
        pb::StringKind::Plain => "plain",
        pb::StringKind::Markdown => "markdown",
    };
    if !description.is_empty() {
        printed.insert("description".to_owned(), description.into());
    }
    printed.insert("description_kind".to_owned(), kind.into());
}
