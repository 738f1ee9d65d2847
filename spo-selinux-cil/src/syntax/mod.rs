//! CIL as text: tokens, trees with source positions, statement forms, and the printers.
//!
//! ```text
//! text ──lexer──► tokens ──tree──► Forest (flat nodes, interned words, spans, comments)
//!                                    │──grammar──► diagnostics about the form of statements
//!                                    └──print────► canonical text, or formatted text with its comments
//! Item (owned tree, for generated policy) ──print──► text
//! ```

mod forms;
mod grammar;
mod item;
mod lexer;
mod place;
mod print;
mod shapes;
mod symbol;
mod tree;

pub(crate) use grammar::{ParameterKind, in_parts, parameter_kind};
pub use grammar::{Version, check};
pub use item::Item;
pub(crate) use place::fits_condition;
pub use print::{format, format_node, print};
pub(crate) use shapes::{decimal, number};
pub use symbol::{Interner, Symbol, word};
pub(crate) use tree::brief;
pub use tree::{Children, FileId, Forest, MAX_DEPTH, NodeId, View};

/// Longest name the compiler takes, in bytes (`CIL_SYMBOL`'s limit in `cil_verify.c` is 2048 with its NUL).
pub const MAX_NAME: usize = 2047;
