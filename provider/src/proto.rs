//! What `build.rs` generates from `provider/proto`. Nothing is written by hand here.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

/// The provider protocol.
pub mod tfplugin6 {
    tonic::include_proto!("tfplugin6");
}

/// The services of a go-plugin process.
pub mod plugin {
    tonic::include_proto!("plugin");
}

/// The standard health service.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

impl std::fmt::Debug for tfplugin6::DynamicValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DynamicValue({} bytes)", self.msgpack.len().max(self.json.len()))
    }
}

impl std::fmt::Debug for tfplugin6::RawState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawState({} bytes)", self.json.len())
    }
}
