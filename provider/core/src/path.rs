//! Where a value stands inside a resource: the steps that Terraform's diagnostics and plans speak of.

use std::fmt;

/// One step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// An attribute of an object.
    Attribute(String),
    /// A key of a map.
    Key(String),
    /// An index of a list.
    Index(u64),
}

/// A way from the root of a resource to a value. Prints as Terraform does: `services.rw.annotations["a/b"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// The root.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// From attribute names with dots between: `storage.size`. Keys and indexes are added by the other methods.
    pub fn of(dotted: &str) -> Self {
        Self(
            dotted
                .split('.')
                .filter(|name| !name.is_empty())
                .map(|n| Step::Attribute(n.to_owned()))
                .collect(),
        )
    }

    /// This path and then an attribute.
    pub fn attribute(&self, name: &str) -> Self {
        self.then(Step::Attribute(name.to_owned()))
    }

    /// This path and then a key of a map.
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// This path and then an index of a list.
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index as u64))
    }

    /// This path and then one more step.
    pub fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The steps from the root on.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this path is `other` or leads through it.
    pub fn is_within(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Attribute(name) if position == 0 => f.write_str(name)?,
                Step::Attribute(name) => write!(f, ".{name}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_terraform_does() {
        let path = Path::of("services.rw.annotations").key("a/b");
        assert_eq!(path.to_string(), "services.rw.annotations[\"a/b\"]");
        assert_eq!(Path::of("pg_hba").index(1).to_string(), "pg_hba[1]");
        assert_eq!(Path::root().to_string(), "");
    }

    #[test]
    fn within_is_by_whole_steps() {
        assert!(Path::of("storage.size").is_within(&Path::of("storage")));
        assert!(!Path::of("storage_size").is_within(&Path::of("storage")));
    }
}
