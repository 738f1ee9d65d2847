//! The agent's metrics.
//!
//! * [`registry`]: what is counted, under the names of the existing operator.
//! * [`text`](mod@text): the two text formats.
//! * [`guard`]: who may read them.
//! * [`server`]: `/metrics-spod` and `/metrics`.

pub mod guard;
pub mod registry;
pub mod server;
pub mod text;

pub use guard::Guard;
pub use registry::Metrics;
pub use server::router;
