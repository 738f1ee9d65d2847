//! spo-seccomp
#![cfg_attr(not(feature = "load"), forbid(unsafe_code))]
#![cfg_attr(feature = "load", deny(unsafe_code))]
#![deny(missing_docs)]

pub use action::Verdict;
pub use arch::{ArchExt, Endian};
pub use compile::{CompileError, CompileOptions, Program, Weights, compile, flags};
pub use diff::{Change, Diff, Relation, diff, diff_programs};
pub use explain::{Explanation, Reason, explain, explain_name};
pub use policy::{Multiplexers, NotExpressible, Options, Origin, Policy, PolicyError, Semantics, Written};
pub use simulate::{Data, Outcome, cacheable, simulate};
pub use validate::Mismatch;

mod action;
pub mod arch;
pub mod backend;
pub mod bpf;
mod compile;
mod decision;
mod diff;
mod explain;
pub mod import;
mod policy;
mod simulate;
pub mod syscalls;
mod validate;
