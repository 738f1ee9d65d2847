//! spo-seccomp
#![cfg_attr(not(feature = "load"), forbid(unsafe_code))]
#![cfg_attr(feature = "load", deny(unsafe_code))]
#![deny(missing_docs)]

pub use action::Verdict;
pub use allowed::{AllowList, check_allowed};
pub use arch::{ArchExt, Endian};
pub use compile::{CompileError, CompileOptions, Program, Weights, compile, flags};
pub use decompile::DecompileError;
pub use diff::{Change, Diff, Relation, diff, diff_programs};
pub use explain::{Explanation, Reason, explain, explain_name};
pub use inherit::{Effective, InheritError, inherit, subtract};
pub use lint::lint;
pub use policy::{Multiplexers, NotExpressible, Options, Origin, Policy, PolicyError, Semantics, Written};
pub use simulate::{Data, Outcome, cacheable, simulate};
pub use validate::Mismatch;

mod action;
mod allowed;
pub mod arch;
pub mod backend;
pub mod bpf;
mod compile;
mod decision;
mod decompile;
mod diff;
mod explain;
pub mod import;
mod inherit;
pub mod lint;
mod policy;
pub mod runtime_spec;
mod simulate;
pub mod syscalls;
pub mod text;
mod validate;
