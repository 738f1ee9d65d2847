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
//! # For whom
//!
//! A container runtime reads the seccomp section of a `config.json` and makes the filter, calls newer than the profile
//! answering `ENOSYS`; `examples/runtime.rs` also installs it:
//!
//! ```
//! use spo_model::seccomp::Arch;
//! use spo_seccomp::{CompileOptions, Options, Policy, compile, flags, import};
//!
//! let config = r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
//!     "syscalls": [{"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]}}}"#;
//! let profile = import::runtime_spec(config)?;
//! let policy = Policy::from_profile(&profile, &Options::new(Arch::X86_64))?;
//! let filter = compile(&policy, &[], &CompileOptions::default().enosys_ceiling(true))?;
//! assert!(filter.insns().len() < 20);
//! assert_eq!(flags(&profile), 4, "SECCOMP_FILTER_FLAG_SPEC_ALLOW, as runc without a list");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A jailer restricts itself; with the feature `load`, this ends in force (`examples/jailer.rs`):
//!
//! ```
//! use spo_model::seccomp::SeccompProfileSpec;
//! use spo_seccomp::{ArchExt, CompileOptions, Options, Policy, compile};
//!
//! let no_sockets: SeccompProfileSpec = serde_json::from_str(r#"{"defaultAction": "SCMP_ACT_ALLOW",
//!     "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97}]}"#)?;
//! let policy = Policy::from_profile(&no_sockets, &Options::new(ArchExt::host()))?;
//! let filter = compile(&policy, &[], &CompileOptions::default())?;
//! # #[cfg(all(feature = "load", target_os = "linux"))]
//! spo_seccomp::backend::load::load(&filter, &spo_seccomp::backend::load::LoadOptions::new(0))?;
//! # #[cfg(all(feature = "load", target_os = "linux"))]
//! assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A linter in CI stops a profile that says too much or does not say what it means (`examples/linter.rs`):
//!
//! ```
//! use spo_model::{Severity, seccomp::Arch};
//! use spo_seccomp::{import, lint};
//!
//! let profile = import::runtime_spec(r#"{"defaultAction": "SCMP_ACT_ALLOW",
//!     "syscalls": [{"names": ["mknodd"], "action": "SCMP_ACT_KILL"}]}"#)?;
//! let findings = lint(&profile, Arch::X86_64);
//! let codes: Vec<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
//! assert_eq!(codes, ["default-allow", "unknown-syscall"]);
//! assert!(findings.iter().all(|finding| finding.severity < Severity::Error));
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
//! | what an administrator allows and denies all profiles | [`check_allowed`], [`excess`] |
//! | calls that every profile allows | [`enforce`] |
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
//! bit tests, and writes instructions from the end so that returns and argument blocks are shared; a last pass leaves
//! out those that turned out to be needless. It uses only instructions that keep the kernel's bitmap of
//! constant-allow calls (Linux 5.11) working.
//!
//! Every program is read back before it is returned: the whole number line and, as diagrams, all arguments are
//! compared with the policy. A mismatch is an error, never a program.
//!
//! # Limits
//!
//! - What a filter cannot see, no profile can check: memory behind pointers, and the arguments of `socketcall`
//!   and `ipc` ([`Multiplexers`], and the lint `multiplexed-arguments`).
//! - libseccomp decides between overlapping conditional rules by its internal order, which is followed exactly; the lint
//!   `overlapping-actions` names the pairs where that matters. Where it merges comparisons and then decides something
//!   else than the rules say (64-bit orderings of one argument, conjunctions that share an argument with another rule,
//!   inequalities with different actions), the rules count here, and the lint `libseccomp-differs` says so.
//! - Parameters are compared with the width the kernel gives them; [`Options::strict64`] restores libseccomp's
//!   64-bit comparisons.
//!
//! The default features are pure: no C, no I/O, no unsafe code.

#![cfg_attr(not(feature = "load"), forbid(unsafe_code))]
#![cfg_attr(feature = "load", deny(unsafe_code))]
#![deny(missing_docs)]

pub use action::Verdict;
pub use allowed::{AllowList, Excess, check_allowed, excess};
pub use arch::{ArchExt, Endian};
pub use compile::{CompileError, CompileOptions, Program, Weights, compile, flags};
pub use decompile::DecompileError;
pub use diff::{Change, Diff, Relation, diff, diff_programs};
pub use enforce::{Enforced, enforce};
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
mod enforce;
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
