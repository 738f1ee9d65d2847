//! The resource types of `security-profiles-operator.x-k8s.io`: all eight kinds, in every version they had.
//!
//! ```
//! # #[cfg(feature = "documents")] {
//! use spo_model::{manifest::{self, Content, Limits}, object::AnyObject, State};
//!
//! let text = "\
//! apiVersion: security-profiles-operator.x-k8s.io/v1beta1
//! kind: SeccompProfile
//! metadata: {name: reader, namespace: production}
//! spec:
//!   disabled: true          # the form of release 0.10
//!   defaultAction: SCMP_ACT_ERRNO
//!   syscalls:
//!   - {action: SCMP_ACT_ALLOW, names: [raed]}
//! ";
//! let entries = manifest::read(text, &Limits::default()).unwrap();
//! let Content::Object(decoded) = &entries[0].content else { panic!() };
//! let AnyObject::SeccompProfile(profile) = &decoded.object else { panic!() };
//! assert_eq!(profile.spec.state, State::Disabled);
//! assert_eq!(
//!     entries[0].diagnostics[0].to_string(),
//!     "8:38: error[unknown-syscall]: spec.syscalls[0].names[0]: no kernel has a syscall \"raed\" \
//!      (did you mean \"read\"?)"
//! );
//! # }
//! ```
//!
//! # The way a document takes
//!
//! ```text
//! text ──manifest──► document ──schema──► checked ──served──► v1 document ──serde──► hub object ──validate──► findings
//!                    hub object ──serde──► v1 document ──served──► document of any version
//! ```
//!
//! * [`manifest`] reads YAML and JSON with limits on size, depth and aliases, and keeps line and column of every
//!   value.
//! * The *hub* is v1: one Rust type per kind ([`object`] and the modules of the kinds). Its values cannot be bad:
//!   [`seccomp::SyscallName`], [`apparmor::Capability`], [`selinux::ClassName`], [`names::NamespaceName`] are
//!   types that refuse what breaks their rule.
//! * An older version is a list of differences from v1. From that list follow how it is read, how it is written
//!   and its schema; both shapes that a version had in its life are in it.
//! * [`convert`] does that both ways without loss: what the target version cannot show travels in one annotation.
//! * [`schema`] checks the form of a document, all problems at once; [`validate`] checks the rules between fields.
//! * [`names`] is the one place for paths, labels and names in the kernel; [`base`] finds who inherits from whom;
//!   [`image`] tells which images a binding means.
//! * Without the default feature `documents`, only the types, their rules, the names and the chains are left, for
//!   crates that compile profiles and do not read them.
//! * The feature `schema`, part of `documents`, gives every type `schemars::JsonSchema`.
//! * With the feature `kube`, the module `crd` has the CustomResourceDefinitions.
//!
//! # Limits
//!
//! What the union of two seccomp policies means, what AppArmor text says and what CIL compiles to is not known
//! here: that is the business of the compiler crates. The fields are documented where they stand; their rules come
//! from the CRDs of the existing operator's releases 0.4 to 1.0.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod apparmor;
pub mod base;
pub mod binding;
#[cfg(feature = "documents")]
pub mod convert;
#[cfg(feature = "kube")]
pub mod crd;
pub mod daemon;
pub mod diagnostic;
pub mod image;
pub mod kind;
pub mod kubernetes;
#[cfg(feature = "documents")]
pub mod manifest;
pub mod names;
pub mod node_status;
pub mod object;
pub mod recording;
#[cfg(feature = "documents")]
pub mod schema;
pub mod seccomp;
pub mod selinux;
#[cfg(feature = "documents")]
mod served;
pub mod status;
pub mod syscall_names;
mod text_enum;
#[cfg(feature = "documents")]
pub mod validate;

pub use diagnostic::{Diagnostic, FieldPath, PathSegment, Severity, Span};
pub use status::State;
pub use text_enum::{InvalidText, UnknownWord};
