//! The pure core of the provider.
#![forbid(unsafe_code)]

pub mod anchor;
pub mod check;
pub mod conflict;
pub mod defaults;
pub mod diagnostic;
pub mod drift;
pub mod facts;
pub mod import;
pub mod live;
pub mod object;
pub mod outcome;
pub mod owned;
pub mod path;
pub mod plan;
pub mod progress;
pub mod refresh;
pub mod render;
pub mod step;
pub mod steps;
pub mod validate;
pub mod value;
