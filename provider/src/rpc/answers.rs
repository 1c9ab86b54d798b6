//! Answers that can be made of diagnostics alone.

use crate::proto::tfplugin6 as pb;
use pb::Diagnostic;

/// An answer to a call that went wrong.
pub(super) trait FromDiagnostics {
    /// The answer that says only this.
    fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self;

    /// What it tells the user.
    fn diagnostics(&self) -> &[Diagnostic];
}

macro_rules! has_diagnostics {
    ($($call:ident),* $(,)?) => {$(
        impl FromDiagnostics for pb::$call::Response {
            // Some answers have no other field.
            #[allow(clippy::needless_update)]
            fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self {
                Self { diagnostics, ..Default::default() }
            }

            fn diagnostics(&self) -> &[Diagnostic] {
                &self.diagnostics
            }
        }
    )*};
}

has_diagnostics!(
    get_metadata,
    get_provider_schema,
    get_resource_identity_schemas,
    get_functions,
    validate_provider_config,
    configure_provider,
    validate_resource_config,
    upgrade_resource_state,
    upgrade_resource_identity,
    read_resource,
    plan_resource_change,
    apply_resource_change,
    import_resource_state,
    move_resource_state,
    generate_resource_config,
    validate_data_resource_config,
    read_data_source,
    validate_ephemeral_resource_config,
    open_ephemeral_resource,
    renew_ephemeral_resource,
    close_ephemeral_resource,
    validate_list_resource_config,
    validate_action_config,
    plan_action,
    validate_state_store_config,
    configure_state_store,
    write_state_bytes,
    lock_state,
    unlock_state,
    get_states,
    delete_state,
);

/// One event of a list.
impl FromDiagnostics for pb::list_resource::Event {
    fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostic: diagnostics, ..Default::default() }
    }

    fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostic
    }
}

/// The last event of an action.
impl FromDiagnostics for pb::invoke_action::Event {
    fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self {
        use pb::invoke_action::event::{Completed, Type};
        Self { r#type: Some(Type::Completed(Completed { diagnostics })) }
    }

    fn diagnostics(&self) -> &[Diagnostic] {
        match &self.r#type {
            Some(pb::invoke_action::event::Type::Completed(completed)) => &completed.diagnostics,
            Some(pb::invoke_action::event::Type::Progress(_)) | None => &[],
        }
    }
}

/// One piece of a stored state.
impl FromDiagnostics for pb::read_state_bytes::ResponseChunk {
    fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics, ..Default::default() }
    }

    fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

/// Functions have a form of their own for errors.
impl FromDiagnostics for pb::call_function::Response {
    fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self {
        let texts: Vec<_> = diagnostics.into_iter().map(|d| format!("{}: {}", d.summary, d.detail)).collect();
        let error = pb::FunctionError { text: texts.join("\n"), function_argument: None };
        Self { result: None, error: Some(error) }
    }

    fn diagnostics(&self) -> &[Diagnostic] {
        &[]
    }
}
