//! An optimising, validated seccomp-BPF compiler for seccomp profiles, and everything one may ask about a filter.
//!
//! ```
//! use spo_model::seccomp::{Action, Arch, SeccompProfileSpec, SyscallRule};
//! use spo_seccomp::{CompileOptions, Data, Endian, Options, Policy, Verdict, compile, simulate};
//!
//! let mut profile = SeccompProfileSpec::new(Action::Errno);
//! profile.syscalls = Some(vec![SyscallRule::new(Action::Allow, ["read".parse()?, "write".parse()?])]);
//!
//! let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64))?;
//! let program = compile(&policy, &[Arch::X86_64], &CompileOptions::default())?;
//! let outcome = simulate(program.insns(), &Data::new(Arch::X86_64, 0, [0; 6]), Endian::Little)?;
//! assert_eq!(outcome.verdict, Verdict::ALLOW);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is where
//!
//! | task | here |
//! | --- | --- |
//! | give a profile its meaning | [`Policy::from_profile`] with [`Options`] |
//! | merge, restrict, take away, exactly | [`Policy::union`], [`Policy::intersect`], [`Policy::subtract`] |
//! | resolve base profiles, with the origin of each rule | [`inherit()`], [`subtract`] |
//! | write a policy down as a profile, or learn why it cannot be | [`Policy::to_profile`] |
//! | the file a container runtime reads | [`runtime_spec::to_string`] |
//! | a program for the kernel | [`compile`] |
//! | run a program on a call | [`simulate`] |
//! | why a call is denied, and where in which file it says so | [`explain`], [`explain_name`], [`Source`] |
//! | what a change permits or denies, with a call that shows it | [`diff`], [`diff_programs`] |
//! | mistakes and dangers in a profile | [`lint()`] |
//! | an administrator's allow list | [`check_allowed`] |
//! | Docker's dialect, runtime-spec, seccompiler JSON | [`import`] |
//! | pseudo-code, listing, graph | [`text`] |
//! | instructions of a program and of its answers | [`figures`] |
//! | names, numbers, parameter widths, first releases | [`syscalls`] |
//! | libseccomp, seccompiler, loading | [`backend`], each behind a feature |
//!
//! # How it works
//!
//! A [`Policy`] is an exact function of (architecture, number, arguments). Decisions over arguments are shared,
//! ordered decision diagrams, in which equal functions are the same node. The compiler cuts the number line
//! where the decision changes, finds the search tree with the least expected tests over thresholds, equality and
//! bit tests, and writes instructions from the end so that returns and argument blocks are shared. It uses only
//! instructions that keep the kernel's bitmap of constant-allow calls (Linux 5.11) working.
//!
//! Every program is read back before it is returned: the whole number line and, as diagrams, all arguments are
//! compared with the policy. A mismatch is an error, never a program.
//!
//! # Limits
//!
//! - What a filter cannot see, no profile can check: memory behind pointers, and the arguments of `socketcall`
//!   and `ipc` ([`Multiplexers`], and the lint `multiplexed-arguments`).
//! - How libseccomp decides between overlapping rules with different actions depends on its internal tree. The
//!   documented part is followed; the lint `overlapping-actions` names every such pair.
//! - Parameters are compared with the width the kernel gives them; [`Options::strict64`] restores libseccomp's
//!   64-bit comparisons.
//!
//! The default features are pure: no C, no I/O, no unsafe code.

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
pub use lint::{lint, lint_for};
pub use policy::{Multiplexers, NotExpressible, Options, Origin, Policy, PolicyError, Semantics, Written};
pub use simulate::{Data, Outcome, cacheable, simulate};
pub use source::Source;
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
pub mod figures;
pub mod import;
mod inherit;
pub mod lint;
mod policy;
pub mod runtime_spec;
mod simulate;
mod source;
pub mod syscalls;
pub mod text;
mod validate;
