//! Profiles in the dialects of other tools, as the hub type.
//!
//! Every importer keeps the meaning or fails: what the hub type cannot say is an error that names it.

mod docker;
mod runtime_spec;
mod seccompiler;

pub use docker::{DOCKER_CAPABILITIES, Host, docker};
pub use runtime_spec::runtime_spec;
pub use seccompiler::seccompiler;

/// Why a document was not imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not JSON, or JSON of another shape.
    #[error("not a seccomp profile: {0}")]
    Json(#[from] serde_json::Error),
    /// A value that the format allows and the profile type does not.
    #[error("{field}: {reason}")]
    Value {
        /// The field, as a path.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `architectures` and `archMap` together.
    #[error("architectures and archMap exclude each other")]
    ArchitecturesTwice,
}

impl ImportError {
    fn value(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Value { field: field.into(), reason: reason.to_string() }
    }
}
