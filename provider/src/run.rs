//! What `main` does: as a plugin under a host, or by hand for debugging.

use crate::engine::Engine;
use crate::plugin::handshake::{HandshakeError, HostRequest};
use crate::plugin::serve::serve;
use crate::plugin::socket::Socket;
use crate::plugin::tls::ServerTls;
use crate::plugin::{Ending, RunMode, log, panics, reattach};
use crate::rpc::Provider;
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::sync::Arc;
use tonic::service::RoutesBuilder;

/// Said to a person who starts the binary.
const FOR_PEOPLE: &str = "\
This program is a plugin of Terraform and OpenTofu: they start it, people don't. To use it, write

  terraform {
    required_providers {
      postgres = { source = \"pgha/postgres\" }
    }
  }

into a configuration and run `terraform init` and `terraform apply` there (or `tofu`).

With --debug it starts by hand and prints how to attach the CLI to it. --version prints its version,
and --write-agent FILE writes the failover agent that it carries, for an image of your own (agent_image).";

/// Serves until the host (or, when debugging, the person) ends it.
///
/// # Errors
/// When nobody asked for a plugin, or it can't listen.
pub fn run(debug: bool, engine: impl FnOnce() -> Arc<dyn Engine>) -> Result<()> {
    panics::install_hook();
    log::install();
    // Two libraries look for one: say which, before either guesses. Fails only when it is set already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let result = runtime.block_on(async {
        if debug { serve_by_hand(engine()).await } else { serve_under_host(engine).await }
    });
    // A call that still blocks must not keep the process: the host kills it two seconds after Shutdown.
    runtime.shutdown_background();
    result
}

async fn serve_under_host(engine: impl FnOnce() -> Arc<dyn Engine>) -> Result<()> {
    let request = match HostRequest::from_env(|name| std::env::var_os(name)) {
        Ok(request) => request,
        Err(HandshakeError::NotAPlugin) => anyhow::bail!(FOR_PEOPLE),
        Err(error) => return Err(error.into()),
    };
    let ending = Ending::watch(RunMode::UnderHost).context("watch for signals")?;
    let tls = request.client_certificate_pem.as_deref().map(ServerTls::for_client).transpose()?;
    if !request.host_speaks_our_version {
        tracing::warn!("the host does not list protocol 6; it will say so itself");
    }
    let bound = Socket::bind(request.socket_dir.as_deref(), request.socket_group.as_deref())?;
    let line = request.answer(bound.0.path(), tls.as_ref().map(|tls| tls.certificate_der.as_slice()));
    let routes = routes(engine());
    print(&line)?;
    serve(bound, tls, routes, &ending).await.context("serve the host")
}

async fn serve_by_hand(engine: Arc<dyn Engine>) -> Result<()> {
    let ending = Ending::watch(RunMode::Debug).context("watch for signals")?;
    let bound = Socket::bind(None, None)?;
    let line = reattach::export_line(std::process::id(), bound.0.path());
    print(&format!(
        "The provider is waiting. In another shell, export this and run the CLI; end the provider with Ctrl-C.\n\n\
         {line}\n"
    ))?;
    serve(bound, None, routes(engine), &ending).await.context("serve")
}

fn routes(engine: Arc<dyn Engine>) -> RoutesBuilder {
    let mut routes = RoutesBuilder::default();
    Provider::new(engine).add_to(&mut routes);
    routes
}

/// Stdout belongs to the handshake: nothing else in the process may write to it.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to stdout")
}
