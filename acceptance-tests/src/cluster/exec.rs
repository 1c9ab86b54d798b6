//! Commands in a container, over the API server's websocket.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a command in a container printed, and whether it succeeded.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code 0.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors, and why it failed.
    pub stderr: String,
}

pub(super) async fn run(
    api: &Api<Pod>,
    pod: &str,
    container: &str,
    command: &[&str],
    deadline: Duration,
) -> Result<Output> {
    let work = async {
        let how = AttachParams::default().container(container).stdout(true).stderr(true);
        let mut process = api.exec(pod, command.iter().copied(), &how).await?;
        let status = process.take_status();
        let (stdout, stderr) = tokio::join!(text(process.stdout()), text(process.stderr()));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        let success = status.as_ref().is_some_and(|status| status.status.as_deref() == Some("Success"));
        let why = match &status {
            Some(status) if !success => status.message.clone().unwrap_or_default(),
            Some(_) => String::new(),
            None => "the connection ended without an exit status".to_owned(),
        };
        anyhow::Ok(Output { success, stdout, stderr: stderr + &why })
    };
    let outcome = tokio::time::timeout(deadline, work).await;
    outcome
        .with_context(|| format!("`{}` in {pod}: no end after {deadline:?}", command.join(" ")))?
        .with_context(|| format!("`{}` in {pod}", command.join(" ")))
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // A cut connection shows in the status; what came before it is still worth showing.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
