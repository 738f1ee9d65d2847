//! The AppArmor policy language.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![allow(dead_code, unused_imports)]

pub mod aare;
pub mod dfa;
pub mod expand;
pub mod parse;
pub mod print;
mod source;
pub mod tree;

pub use expand::{Files, NoIncludes, Resolver, Unit, load};
pub use parse::{ParseOptions, Parsed, parse, parse_rules};
pub use print::print;
pub use source::{LineIndex, TextRange};
