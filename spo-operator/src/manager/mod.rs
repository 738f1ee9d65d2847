//! The manager: what happens once per cluster.
//!
//! ```text
//! Lease ──lease, election──► one leader
//!   Secrets, definitions ──certificates, trust──► certificates, caBundle
//!   SPOD ──rendering, kinds, applied, spod, rollout──► DaemonSet, webhook, …; state
//!   profiles, node statuses, nodes, pods ──facts, index──► status, finalizer ──profiles──► writes
//! ```
//!
//! Whatever decides is pure: [`lease`], [`certificates`], [`membership`], [`mirror`], [`facts`], [`bindings`], [`reports`], [`index`], [`applied`], [`rollout`].
//! The others hold watches and writes. A replica that does not lead watches nothing: it only looks at the Lease.

pub mod applied;
pub mod bases;
pub mod bindings;
pub mod certificates;
pub mod election;
pub mod facts;
pub mod index;
pub mod kinds;
pub mod lease;
pub mod membership;
pub mod mirror;
pub mod process;
pub mod profiles;
pub mod rendering;
pub mod reports;
pub mod rollout;
pub mod spod;
pub mod spod_watches;
pub mod texts;
pub mod trust;
pub mod uninstall;
