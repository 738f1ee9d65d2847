//! The resource types of `security-profiles-operator.x-k8s.io`, in every version.

pub mod apparmor;
pub mod diagnostic;
pub mod names;
pub mod seccomp;
pub mod selinux;
pub mod status;
pub mod syscall_names;
mod text_enum;

pub use diagnostic::{Diagnostic, FieldPath, PathSegment, Severity, Span};
pub use status::State;
pub use text_enum::{InvalidText, UnknownWord};
