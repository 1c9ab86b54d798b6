//! The pure core of the provider.
#![forbid(unsafe_code)]

pub mod anchor;
pub mod defaults;
pub mod diagnostic;
pub mod drift;
pub mod live;
pub mod object;
pub mod owned;
pub mod path;
pub mod progress;
pub mod render;
pub mod step;
pub mod value;
