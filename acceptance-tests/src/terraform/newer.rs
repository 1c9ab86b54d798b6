//! What only newer CLIs read, of the language's own syntax: blocks as values, for our own host, which speaks their protocol.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hcl::eval::{Context, Evaluate as _};
use serde_json::{Map, Value};

/// A block, with what its expressions may refer to.
#[derive(Debug, Clone)]
pub struct Block {
    inner: hcl::Block,
    known: Value,
}

/// The blocks of a text. `known` holds what its expressions may refer to, as
/// `{ "postgres_ha_cluster": { "orders": { "name": … } } }`.
///
/// # Errors
/// When the text is not of the language, or assigns something outside of a block.
pub fn blocks(text: &str, known: &Value) -> Result<Vec<Block>> {
    let body = hcl::parse(text).context("read the blocks")?;
    ensure!(body.attributes().next().is_none(), "something is assigned outside of a block");
    Ok(body.into_blocks().map(|inner| Block { inner, known: known.clone() }).collect())
}

/// Whether the CLIs that this project is tested with are too old for this text: Terraform 1.14 brought actions and lists, 1.12
/// imports by identity.
pub fn is_newer(text: &str) -> bool {
    let begins = |word: &str| text.lines().any(|line| line.starts_with(&format!("{word} ")));
    begins("action") || begins("list") || (begins("import") && text.contains("  identity = {"))
}

/// The files below a folder with [`is_newer`] texts, and these.
///
/// # Errors
/// When a file can't be read.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "tf" || ending == "hcl") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                found.extend(is_newer(&text).then_some((path, text)));
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Block {
    /// What kind of block it is: `action`, `list`, …
    pub fn kind(&self) -> &str {
        self.inner.identifier()
    }

    /// Its labels: a type and a name, mostly.
    pub fn labels(&self) -> Vec<&str> {
        self.inner.labels().iter().map(hcl::BlockLabel::as_str).collect()
    }

    /// Asserts that it holds these attributes and blocks, or some of them, and no others.
    ///
    /// # Errors
    /// When it holds another.
    pub fn holds_only(&self, attributes: &[&str], blocks: &[&str]) -> Result<()> {
        let strange =
            self.inner.body().attributes().map(hcl::Attribute::key).filter(|key| !attributes.contains(key));
        let others =
            self.inner.body().blocks().map(hcl::Block::identifier).filter(|kind| !blocks.contains(kind));
        let strange: Vec<&str> = strange.chain(others).collect();
        ensure!(strange.is_empty(), "{} {:?} knows no {strange:?}", self.kind(), self.labels());
        Ok(())
    }

    /// The blocks of one kind inside.
    pub fn inside(&self, kind: &str) -> Vec<Block> {
        let of_kind = self.inner.body().blocks().filter(|block| block.identifier() == kind);
        of_kind.map(|inner| Block { inner: inner.clone(), known: self.known.clone() }).collect()
    }

    /// The one block of a kind inside, as an object; an empty one when there is none.
    ///
    /// # Errors
    /// When there are several, or one holds what is no object.
    pub fn only(&self, kind: &str) -> Result<Value> {
        let inside = self.inside(kind);
        ensure!(inside.len() < 2, "there are {} blocks {kind}", inside.len());
        inside.first().map_or_else(|| Ok(Value::Object(Map::new())), Block::object)
    }

    /// Its attributes.
    ///
    /// # Errors
    /// When it holds blocks, or an expression refers to what is not known.
    pub fn object(&self) -> Result<Value> {
        self.holds_only(&self.inner.body().attributes().map(hcl::Attribute::key).collect::<Vec<_>>(), &[])?;
        let attributes = self.inner.body().attributes();
        attributes.map(|one| Ok((one.key().to_owned(), self.value(one.key())?))).collect()
    }

    /// The value of an attribute; null when it is not there.
    ///
    /// # Errors
    /// When the expression refers to what is not known.
    pub fn value(&self, attribute: &str) -> Result<Value> {
        let Some(expression) = self.expression(attribute) else { return Ok(Value::Null) };
        let mut context = Context::new();
        for (name, value) in self.known.as_object().into_iter().flatten() {
            context.declare_var(name.as_str(), hcl::to_value(value)?);
        }
        let value = expression.evaluate(&context).with_context(|| format!("the value of {attribute}"))?;
        Ok(serde_json::to_value(value)?)
    }

    /// What an attribute refers to, word for word: one reference, or those of a list.
    ///
    /// # Errors
    /// When the attribute is not there.
    pub fn references(&self, attribute: &str) -> Result<Vec<String>> {
        let expression = self.expression(attribute).with_context(|| format!("no {attribute}"))?;
        let all = match expression {
            hcl::Expression::Array(all) => all.iter().collect(),
            one => vec![one],
        };
        all.into_iter().map(|one| Ok(hcl::format::to_string(one)?)).collect()
    }

    fn expression(&self, attribute: &str) -> Option<&hcl::Expression> {
        self.inner.body().attributes().find(|one| one.key() == attribute).map(hcl::Attribute::expr)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACTION: &str = "# Away.\naction \"a_switchover\" \"away\" {\n  config {\n    name = cluster.orders.name\n    to   = \"x-1\"\n    \
                          timeouts = { invoke = \"2h\" }\n  }\n  actions = [action.a.b, action.c.d]\n}\n";

    #[test]
    fn a_block_is_read_with_what_it_refers_to() -> Result<()> {
        let known = json!({ "cluster": { "orders": { "name": "orders" } } });
        let all = blocks(ACTION, &known)?;
        assert_eq!((all.len(), all[0].kind(), all[0].labels()), (1, "action", vec!["a_switchover", "away"]));
        let config = json!({ "name": "orders", "to": "x-1", "timeouts": { "invoke": "2h" } });
        assert_eq!((all[0].only("config")?, all[0].only("other")?), (config, json!({})));
        assert_eq!(all[0].references("actions")?, ["action.a.b", "action.c.d"]);
        assert_eq!(all[0].value("count")?, Value::Null);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_an_error() -> Result<()> {
        for known in [json!({ "cluster": { "orders": {} } }), json!({})] {
            assert!(blocks(ACTION, &known)?[0].only("config").is_err(), "{known}");
        }
        let action = &blocks(ACTION, &Value::Null)?[0];
        assert!(action.holds_only(&["actions"], &["config"]).is_ok());
        for (attributes, blocks) in [(["action"], ["config"]), (["actions"], ["configs"])] {
            assert!(action.holds_only(&attributes, &blocks).is_err(), "{attributes:?} {blocks:?}");
        }
        assert!(action.object().is_err() && action.references("action").is_err());
        assert!(blocks("a = 1", &Value::Null).is_err() && blocks("a {", &Value::Null).is_err());
        Ok(())
    }

    #[test]
    fn newer_texts_are_told_from_others() {
        assert!(
            is_newer(ACTION) && is_newer("list \"a\" \"b\" {\n}") && is_newer("import {\n  identity = {\n")
        );
        assert!(
            !is_newer("import {\n  id = \"a/b\"\n}") && !is_newer("# action\nresource \"list\" \"a\" {\n}")
        );
    }
}
