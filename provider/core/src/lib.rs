//! The pure core of the provider.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod live;
pub mod object;
pub mod path;
pub mod step;
pub mod value;
