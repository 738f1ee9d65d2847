//! The resource types of `security-profiles-operator.x-k8s.io`, in every version.

pub mod apparmor;
pub mod base;
pub mod binding;
pub mod convert;
#[cfg(feature = "kube")]
pub mod crd;
pub mod daemon;
pub mod diagnostic;
pub mod kind;
pub mod kubernetes;
pub mod manifest;
pub mod names;
pub mod node_status;
pub mod object;
pub mod recording;
pub mod schema;
pub mod seccomp;
pub mod selinux;
mod served;
pub mod status;
pub mod syscall_names;
mod text_enum;
pub mod validate;

pub use diagnostic::{Diagnostic, FieldPath, PathSegment, Severity, Span};
pub use status::State;
pub use text_enum::{InvalidText, UnknownWord};
