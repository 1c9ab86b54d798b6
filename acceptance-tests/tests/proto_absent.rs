//! Calls about what this provider doesn't have: each answers OK, and says that nothing of that name is there.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::process::Plugin;
use pgha_acceptance_tests::proto_client::values::messages;

const NAME: &str = "postgres_nothing";

fn says_so(call: &str, diagnostics: &[pb::Diagnostic]) {
    let found = messages(diagnostics);
    assert!(
        found.len() == 1 && found[0].starts_with("error") && found[0].contains(NAME),
        "{call}: {found:?}"
    );
}

macro_rules! absent {
    ($rpc:expr, $($call:ident { $field:ident }),* $(,)?) => {$(
        // Some requests have no other field.
        #[allow(clippy::needless_update)]
        let request = pb::$call::Request { $field: NAME.to_owned(), ..Default::default() };
        says_so(stringify!($call), &$rpc.$call(request).await?.into_inner().diagnostics);
    )*};
}

#[tokio::test]
async fn unknown_types_are_named() -> Result<()> {
    let plugin = Plugin::start().await?;
    let mut rpc = plugin.connect().await?.provider();
    absent!(
        rpc,
        validate_resource_config { type_name },
        upgrade_resource_state { type_name },
        upgrade_resource_identity { type_name },
        read_resource { type_name },
        plan_resource_change { type_name },
        apply_resource_change { type_name },
        import_resource_state { type_name },
        validate_data_resource_config { type_name },
        read_data_source { type_name },
        validate_ephemeral_resource_config { type_name },
        open_ephemeral_resource { type_name },
        renew_ephemeral_resource { type_name },
        close_ephemeral_resource { type_name },
        validate_list_resource_config { type_name },
        validate_action_config { action_type },
        plan_action { action_type },
        validate_state_store_config { type_name },
        configure_state_store { type_name },
        lock_state { type_name },
        unlock_state { type_name },
        get_states { type_name },
        delete_state { type_name },
        move_resource_state { target_type_name },
        generate_resource_config { type_name },
    );
    Ok(())
}

#[tokio::test]
async fn functions_answer_in_their_own_form() -> Result<()> {
    let plugin = Plugin::start().await?;
    let mut rpc = plugin.connect().await?.provider();
    let call = pb::call_function::Request { name: NAME.to_owned(), arguments: Vec::new() };
    let error = rpc.call_function(call).await?.into_inner().error.context("no error")?;
    assert!(error.text.contains(NAME), "{}", error.text);
    Ok(())
}

#[tokio::test]
async fn streams_end_after_one_event_that_says_so() -> Result<()> {
    let plugin = Plugin::start().await?;
    let mut rpc = plugin.connect().await?.provider();

    let list = pb::list_resource::Request { type_name: NAME.to_owned(), ..Default::default() };
    let mut events = rpc.list_resource(list).await?.into_inner();
    says_so("list_resource", &events.message().await?.context("no event")?.diagnostic);
    assert!(events.message().await?.is_none());

    let invoke = pb::invoke_action::Request { action_type: NAME.to_owned(), ..Default::default() };
    let mut events = rpc.invoke_action(invoke).await?.into_inner();
    match events.message().await?.context("no event")?.r#type {
        Some(pb::invoke_action::event::Type::Completed(completed)) => {
            says_so("invoke_action", &completed.diagnostics);
        }
        other => anyhow::bail!("not completed: {other:?}"),
    }
    assert!(events.message().await?.is_none());

    let read = pb::read_state_bytes::Request { type_name: NAME.to_owned(), ..Default::default() };
    let mut chunks = rpc.read_state_bytes(read).await?.into_inner();
    says_so("read_state_bytes", &chunks.message().await?.context("no chunk")?.diagnostics);
    assert!(chunks.message().await?.is_none());

    let meta = pb::RequestChunkMeta { type_name: NAME.to_owned(), ..Default::default() };
    let first = pb::write_state_bytes::RequestChunk { meta: Some(meta), ..Default::default() };
    let second = pb::write_state_bytes::RequestChunk { bytes: vec![0; 100_000], ..Default::default() };
    let chunks = tokio_stream::iter([first, second]);
    says_so("write_state_bytes", &rpc.write_state_bytes(chunks).await?.into_inner().diagnostics);
    Ok(())
}
