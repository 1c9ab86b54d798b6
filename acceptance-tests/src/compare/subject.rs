//! Who is compared: built providers, told apart by their files' names, each in a mirror of its own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::terraform::{Other, Plugin};

/// A provider that manages any object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// hashicorp/kubernetes, with `kubernetes_manifest`.
    Kubernetes,
    /// alekc/kubectl, with `kubectl_manifest`.
    Kubectl,
    /// hashicorp/helm, with `helm_release`.
    Helm,
}

impl Provider {
    const ALL: [Self; 3] = [Self::Kubernetes, Self::Kubectl, Self::Helm];

    /// The type in its address and in its binary's name.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    /// Its address, without the host.
    pub fn source(self) -> &'static str {
        match self {
            Self::Kubernetes => "hashicorp/kubernetes",
            Self::Kubectl => "alekc/kubectl",
            Self::Helm => "hashicorp/helm",
        }
    }

    /// The resource that does the job.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes_manifest",
            Self::Kubectl => "kubectl_manifest",
            Self::Helm => "helm_release",
        }
    }

    /// The option that makes it show more of what differs, where this version has one.
    fn option(self, version: &str) -> Option<&'static str> {
        match self {
            Self::Helm => Some("experiments.manifest"),
            Self::Kubectl if !version.starts_with("2.") => Some("show_drift_values"),
            Self::Kubectl | Self::Kubernetes => None,
        }
    }
}

/// A version of a provider, with or without its option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Which one.
    pub provider: Provider,
    /// Its version, as its file's name says.
    pub version: String,
    /// The option that is set.
    pub option: Option<&'static str>,
    binary: PathBuf,
}

impl fmt::Display for Subject {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.provider.resource(), self.version)?;
        self.option.map_or(Ok(()), |option| write!(to, " with {option}"))
    }
}

impl Subject {
    /// What a built binary is good for: one subject, and one more with the provider's option.
    pub fn of_binary(binary: &Path) -> Vec<Self> {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let Some((kind, version)) =
            name.strip_prefix("terraform-provider-").and_then(|rest| rest.split_once("_v"))
        else {
            return Vec::new();
        };
        let Some(provider) = Provider::ALL.into_iter().find(|provider| provider.kind() == kind) else {
            return Vec::new();
        };
        let with = |option| Self { provider, version: version.to_owned(), option, binary: binary.to_owned() };
        std::iter::once(with(None)).chain(provider.option(version).map(|option| with(Some(option)))).collect()
    }

    /// All that lie in a folder, in the order of their names.
    ///
    /// # Errors
    /// When there is none.
    pub fn all_in(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let found: Vec<Self> = files.iter().flat_map(|file| Self::of_binary(file)).collect();
        ensure!(
            !found.is_empty(),
            "no terraform-provider-{{kubernetes,kubectl,helm}}_vVERSION is in {}",
            folder.display()
        );
        Ok(found)
    }

    /// Offers it to the CLI from a mirror below `folder`.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn install(&self, folder: &Path) -> Result<Plugin> {
        let folder = folder.join(self.to_string().replace(' ', "-"));
        let other = Other { source: self.provider.source(), version: &self.version };
        Plugin::install_other(&self.binary, &other, &folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(file: &str) -> Vec<String> {
        Subject::of_binary(Path::new(file)).iter().map(Subject::to_string).collect()
    }

    #[test]
    fn a_file_s_name_says_provider_and_version() {
        assert_eq!(shown("/x/terraform-provider-kubernetes_v3.2.1"), ["kubernetes_manifest 3.2.1"]);
        assert_eq!(shown("/x/terraform-provider-kubectl_v2.4.1"), ["kubectl_manifest 2.4.1"]);
        assert!(shown("/x/terraform-provider-aws_v1.0.0").is_empty());
        assert!(shown("/x/README.md").is_empty());
    }

    #[test]
    fn a_provider_with_an_option_that_shows_more_is_looked_at_twice() {
        assert_eq!(
            shown("/x/terraform-provider-kubectl_v3.0.0-beta3"),
            ["kubectl_manifest 3.0.0-beta3", "kubectl_manifest 3.0.0-beta3 with show_drift_values"]
        );
        assert_eq!(
            shown("/x/terraform-provider-helm_v3.1.2"),
            ["helm_release 3.1.2", "helm_release 3.1.2 with experiments.manifest"]
        );
    }
}
