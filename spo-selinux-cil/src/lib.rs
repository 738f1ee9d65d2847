//! SELinux CIL, understood.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod render;
mod suggest;
pub mod syntax;
pub mod templates;

pub use render::{Ancestors, Layout, NoAncestors, Options, Rendered, render, render_raw};
