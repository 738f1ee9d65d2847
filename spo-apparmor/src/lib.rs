//! The AppArmor policy language.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aare;
pub mod dfa;
pub mod expand;
pub mod lint;
pub mod log;
pub mod meaning;
pub mod parse;
pub mod print;
pub mod render;
mod source;
pub mod tree;

pub use expand::{Files, IncludeCache, NoIncludes, Resolver, Unit, load, load_cached};
pub use parse::{ParseOptions, Parsed, parse, parse_rules};
pub use print::print;
pub use render::{RenderOptions, Rendered, render};
pub use source::{LineIndex, TextRange};
