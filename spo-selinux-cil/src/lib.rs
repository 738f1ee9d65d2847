//! SELinux CIL, understood.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![allow(
    clippy::result_large_err,
    reason = "diagnostics are the errors of the whole workspace, off the fast paths"
)]

pub mod base;
pub mod policy;
pub mod profile;
pub mod render;
pub mod resolve;
mod suggest;
pub mod syntax;
pub mod templates;

pub use base::{Base, Profile};
pub use render::{Ancestors, Layout, NoAncestors, Options, Rendered, render, render_raw};
