//! The pure core of the provider.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod path;
pub mod value;
