//! How the process begins: who may start it, what it prints, and who may connect.

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::proto_client::Connection;
use pgha_acceptance_tests::proto_client::identity::{Identity, client_without_identity};
use pgha_acceptance_tests::proto_client::pb::tfplugin6::get_metadata;
use pgha_acceptance_tests::proto_client::process::{COOKIE, Plugin, bare_command, host_command};
use std::os::unix::fs::PermissionsExt as _;

async fn serves(connection: &Connection) -> Result<()> {
    connection.provider().get_metadata(get_metadata::Request {}).await?;
    Ok(())
}

/// A client is refused when it can't make a single call, at whatever moment it is hung up on.
async fn refused(connection: Result<Connection>) -> Result<()> {
    let served = match connection {
        Ok(connection) => serves(&connection).await.is_ok(),
        Err(_) => false,
    };
    ensure!(!served, "the provider served a stranger");
    Ok(())
}

#[tokio::test]
async fn the_host_is_served_over_mutual_tls() -> Result<()> {
    let plugin = Plugin::start().await?;
    let fields = &plugin.handshake.fields;
    assert_eq!((fields.len(), fields[0].as_str(), fields[1].as_str()), (6, "1", "6"));
    assert!(plugin.handshake.certificate_der.len() > 50);
    serves(&plugin.connect().await?).await
}

#[tokio::test]
async fn nobody_but_the_host_is_served() -> Result<()> {
    let plugin = Plugin::start().await?;
    let (socket, server) = (&plugin.handshake.socket, &plugin.handshake.certificate_der);
    let host = plugin.identity.as_ref().context("no identity")?;
    let stranger = Identity::new()?;

    refused(Connection::tls(socket, client_without_identity(server)?).await)
        .await
        .context("no certificate")?;
    refused(Connection::tls(socket, stranger.client(server)?).await).await.context("another certificate")?;
    let stolen = stranger.client_claiming(host, server)?;
    refused(Connection::tls(socket, stolen).await).await.context("the host's certificate, not its key")?;
    refused(Connection::plain(socket).await).await.context("plain text")?;

    // The host must not suffer from strangers.
    serves(&plugin.connect().await?).await
}

#[tokio::test]
async fn a_server_that_is_not_the_one_in_the_line_is_noticed() -> Result<()> {
    let (one, other) = (Plugin::start().await?, Plugin::start().await?);
    let identity = one.identity.as_ref().context("no identity")?;
    let config = identity.client(&other.handshake.certificate_der)?;
    assert!(Connection::tls(&one.handshake.socket, config).await.is_err());
    Ok(())
}

#[tokio::test]
async fn only_the_owner_reaches_the_socket_and_it_is_where_the_host_wants_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plugin = Plugin::start_with(|command| {
        command.env("PLUGIN_UNIX_SOCKET_DIR", dir.path());
    })
    .await?;
    let socket = &plugin.handshake.socket;
    assert!(socket.starts_with(dir.path()), "{}", socket.display());
    assert_eq!(std::fs::metadata(socket)?.permissions().mode() & 0o777, 0o600);
    serves(&plugin.connect().await?).await
}

#[tokio::test]
async fn a_group_gets_the_socket_where_the_host_wants_that() -> Result<()> {
    let group = nix::unistd::getegid().to_string();
    let plugin = Plugin::start_with(|command| {
        command.env("PLUGIN_UNIX_SOCKET_GROUP", group);
    })
    .await?;
    assert_eq!(std::fs::metadata(&plugin.handshake.socket)?.permissions().mode() & 0o777, 0o660);
    serves(&plugin.connect().await?).await
}

#[tokio::test]
async fn the_seventh_field_is_only_for_hosts_that_know_it() -> Result<()> {
    let plugin = Plugin::start_with(|command| {
        command.env("PLUGIN_MULTIPLEX_GRPC", "true");
    })
    .await?;
    assert_eq!(plugin.handshake.fields.len(), 7);
    assert_eq!(plugin.handshake.fields[6], "false");
    Ok(())
}

#[tokio::test]
async fn a_host_that_turned_tls_off_is_served_in_plain_text() -> Result<()> {
    let plugin = Plugin::start_plain().await?;
    assert_eq!(plugin.handshake.fields[5], "");
    serves(&plugin.connect().await?).await
}

async fn fails(mut command: tokio::process::Command) -> Result<String> {
    let output = command.output().await?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"", "stdout is for hosts");
    Ok(String::from_utf8(output.stderr)?)
}

#[tokio::test]
async fn a_person_who_starts_it_reads_what_to_do() -> Result<()> {
    let text = fails(bare_command()?).await?;
    for word in ["Terraform", "OpenTofu", "pgha/postgres", "--debug"] {
        assert!(text.contains(word), "{word} is missing in: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn another_kind_of_host_is_turned_away() -> Result<()> {
    let mut command = bare_command()?;
    command.env("TF_PLUGIN_MAGIC_COOKIE", "another");
    let text = fails(command).await?;
    assert!(text.contains("TF_PLUGIN_MAGIC_COOKIE"), "{text}");
    assert!(!text.contains(COOKIE), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_none_is_named() -> Result<()> {
    let mut command = host_command()?;
    command.env("PLUGIN_CLIENT_CERT", "nonsense");
    let text = fails(command).await?;
    assert!(text.contains("PLUGIN_CLIENT_CERT"), "{text}");
    Ok(())
}

#[tokio::test]
async fn it_tells_its_version() -> Result<()> {
    let mut command = bare_command()?;
    let output = command.arg("--version").output().await?;
    assert!(output.status.success());
    let expected = format!("terraform-provider-postgres {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout)?, expected);
    Ok(())
}
