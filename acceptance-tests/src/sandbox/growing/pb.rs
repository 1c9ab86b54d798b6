//! Generated from `acceptance-tests/proto`.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod csi {
    tonic::include_proto!("csi.v1");
}

pub mod registration {
    tonic::include_proto!("pluginregistration");
}
