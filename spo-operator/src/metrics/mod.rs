//! Metrics.
//!
//! * [`registry`]: what an agent counts, under the names of the existing operator.
//! * [`cluster`]: what the manager counts.
//! * [`admission`]: what the webhook counts.
//! * [`text`](mod@text): the two text formats.
//! * [`guard`]: who may read them.
//! * [`server`]: `/metrics-spod` and `/metrics`.

pub mod admission;
pub mod cluster;
#[cfg(test)]
mod dashboard;
pub mod guard;
pub mod registry;
pub mod server;
pub mod text;

pub use admission::AdmissionMetrics;
pub use cluster::ClusterMetrics;
pub use guard::Guard;
pub use registry::Metrics;
pub use server::router;
