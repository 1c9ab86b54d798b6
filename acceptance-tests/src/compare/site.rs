//! A namespace, a folder with a configuration and a state, and what a person does to both by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value as Json;

use super::config;
use super::objects::Shape;
use super::subject::Subject;
use crate::poll::{Seen, until};
use crate::process;
use crate::sandbox::Sandbox;
use crate::terraform::{Cli, Plugin, Run, Terraform};

/// How long pods may take.
const PODS: Duration = Duration::from_secs(120);

/// What every site of a subject is made with.
#[derive(Clone)]
pub struct Bed {
    /// The cluster.
    pub sandbox: Sandbox,
    /// The CLI.
    pub cli: Cli,
    /// The subject's binary.
    pub plugin: Plugin,
    /// Who is looked at.
    pub subject: Subject,
    /// Folder for all that the CLI printed.
    pub log: Option<PathBuf>,
}

/// One of them.
pub struct Site {
    /// What it is made with.
    pub bed: Bed,
    /// What its configuration asks for now.
    pub shape: Shape,
    /// Its folder.
    pub tf: Terraform,
    /// Whose credentials the CLI uses; none is the administrator.
    user: Option<String>,
}

impl Site {
    /// In a new namespace, written and initialised, nothing applied.
    ///
    /// # Errors
    /// When the namespace can't be made or `init` fails.
    pub async fn new(bed: &Bed, replicas: u32) -> Result<Self> {
        let namespace = bed.sandbox.create_namespace("cmp").await?;
        Self::in_namespace(bed, Shape::new(&namespace, replicas)).await
    }

    /// Works on one with pods that are up, the first of them labelled as the primary and with data; then it is removed.
    ///
    /// # Errors
    /// When the apply fails, pods don't come up or the work fails.
    pub async fn applied<T>(
        bed: &Bed,
        replicas: u32,
        work: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let begin = async |site: &mut Self| {
            site.tf.apply(&[]).await?;
            site.until_ready(replicas).await?;
            site.kubectl(&["label", "pod", &site.pod(0), "role=primary"])?;
            site.sql(0, "SET synchronous_commit = local; CREATE TABLE kept AS SELECT 1 AS id")?;
            work(site).await
        };
        Self::new(bed, replicas).await?.with(begin).await
    }

    /// A folder of its own with this configuration, in a namespace that is there.
    ///
    /// # Errors
    /// When `init` fails.
    pub async fn in_namespace(bed: &Bed, shape: Shape) -> Result<Self> {
        let tf = Terraform::new(&bed.cli, &bed.plugin, &bed.sandbox.kubeconfig())?;
        let mut site = Self { bed: bed.clone(), shape: shape.clone(), tf, user: None };
        site.write(shape)?;
        site.tf.init().await?;
        Ok(site)
    }

    /// Writes a configuration.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&mut self, shape: Shape) -> Result<()> {
        for (path, text) in config::files(&self.bed.subject, &shape)? {
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            std::fs::create_dir_all(self.tf.dir().join(folder))?;
            self.tf.write(path, &text)?;
        }
        self.shape = shape;
        Ok(())
    }

    /// Works on the site, then removes its namespace, without waiting for its end.
    ///
    /// # Errors
    /// When the work fails or the API server refuses.
    pub async fn with<T>(mut self, work: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let namespace = self.shape.namespace.clone();
        let outcome = work(&mut self).await;
        self.keep_log(&namespace)?;
        self.bed.sandbox.delete_namespace(&namespace).await?;
        outcome
    }

    /// Writes what the CLI has printed so far, where that is wanted.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_log(&self, name: &str) -> Result<()> {
        let Some(folder) = &self.bed.log else { return Ok(()) };
        let folder = folder.join(self.bed.subject.to_string().replace(' ', "-"));
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        std::fs::write(folder.join(name), self.tf.history()).context("write the log")
    }

    /// `plan -detailed-exitcode`, whatever its outcome.
    ///
    /// # Errors
    /// When it can't be run.
    pub async fn plan(&self) -> Result<Run> {
        self.tf.try_plan(&["-lock=false"]).await
    }

    /// `apply`, whatever its outcome.
    ///
    /// # Errors
    /// When it can't be run.
    pub async fn apply(&self) -> Result<Run> {
        self.tf.try_apply(&[]).await
    }

    /// Name of a pod.
    pub fn pod(&self, number: u32) -> String {
        format!("{}-{number}", self.shape.name)
    }

    /// `kubectl` in the namespace; gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<String> {
        let mut command = self.bed.sandbox.kubectl();
        process::run(command.args(["--namespace", &self.shape.namespace]).args(args))
    }

    /// The same site with these rights in its namespace and no others.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn restricted(&self, rules: &[PolicyRule]) -> Result<Self> {
        let kubeconfig = self.bed.sandbox.restricted_kubeconfig(&self.shape.namespace, rules).await?;
        let user = kubeconfig.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let tf = self.tf.with_kubeconfig(&kubeconfig);
        Ok(Self { bed: self.bed.clone(), shape: self.shape.clone(), tf, user })
    }

    /// Works with the right to list CustomResourceDefinitions besides, which is the cluster's and no namespace's.
    ///
    /// # Errors
    /// When the work fails or the API server refuses.
    pub async fn listing_crds<T>(&self, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let user = self.user.as_deref().context("its rights are not restricted")?;
        let role = format!("cmp-{user}");
        let resource = "--resource=customresourcedefinitions.apiextensions.k8s.io";
        self.kubectl(&["create", "clusterrole", &role, "--verb=get,list,watch", resource])?;
        let (to, whom) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let outcome = match self.kubectl(&["create", "clusterrolebinding", &role, &to, &whom]) {
            Ok(_) => work(self).await,
            Err(error) => Err(error),
        };
        self.kubectl(&["delete", "clusterrolebinding,clusterrole", &role, "--ignore-not-found"])?;
        outcome
    }

    /// An object as JSON; null when it is not there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn object(&self, resource: &str) -> Result<Json> {
        let text = self.kubectl(&["get", resource, "--ignore-not-found", "--output=json"])?;
        if text.trim().is_empty() {
            return Ok(Json::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("read {resource}"))
    }

    /// Makes an object again that was read before.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create(&self, mut object: Json) -> Result<()> {
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove(field);
            }
        }
        let file = self.tf.dir().join("object.json");
        std::fs::write(&file, object.to_string())?;
        self.kubectl(&["create", "--filename", &file.to_string_lossy()]).map(drop)
    }

    /// Runs SQL as the superuser in a pod; each statement is a transaction of its own.
    ///
    /// # Errors
    /// When it fails.
    pub fn sql(&self, pod: u32, statements: &str) -> Result<String> {
        let pod = self.pod(pod);
        let mut args =
            vec!["exec", &pod, "--", "psql", "-h", "/tmp", "-U", "postgres", "-X", "-A", "-t", "-q"];
        args.extend(["-v", "ON_ERROR_STOP=1"]);
        for statement in statements.split("; ") {
            args.extend(["-c", statement]);
        }
        Ok(self.kubectl(&args)?.trim().to_owned())
    }

    /// Waits until so many pods are ready and there are no more.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_ready(&self, count: u32) -> Result<()> {
        let set = format!("statefulset/{}", self.shape.name);
        let found = until("the pods to be ready", PODS, || async {
            let object = self.object(&set)?;
            let number = |pointer: &str| object.pointer(pointer).and_then(Json::as_u64).unwrap_or_default();
            let (ready, all) = (number("/status/readyReplicas"), number("/status/replicas"));
            let settled = ready == u64::from(count) && all == u64::from(count);
            Ok(Seen::when(settled, format!("{ready} of {all} pods are ready, {count} are wanted")))
        });
        found.await.with_context(|| format!("of {}", self.bed.subject))
    }

    /// Asserts that a plan has nothing to do.
    ///
    /// # Errors
    /// When it has; the message shows it.
    pub async fn plan_is_empty(&self, after: &str) -> Result<()> {
        let plan = self.plan().await?;
        ensure!(plan.code == Some(0), "{}: not empty after {after}:\n{}", self.bed.subject, plan.report());
        Ok(())
    }
}
