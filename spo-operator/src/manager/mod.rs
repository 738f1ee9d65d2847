//! The manager: what happens once per cluster.
//!
//! ```text
//! Lease ──lease, election──► one leader
//!   Secrets, definitions ──certificates, trust──► certificates, caBundle
//!   SPOD ──rendering, platform, kinds, applied, spod, rollout──► DaemonSet, webhook, …; state
//!   profiles, node statuses, nodes, pods ──facts, index──► status, finalizer, event ──profiles──► writes
//!   SPOD, profiles, node statuses ──forbidden, index──► profiles to delete ──profiles──► deletions
//!   SPOD, nodes, agents ──startup_taint──► nodes that can lose their taint ──untaint──► writes
//! ```
//!
//! Whatever decides is pure: [`anchor`], [`lease`], [`certificates`], [`overlap`], [`membership`], [`mirror`], [`facts`],
//! [`bindings`], [`reports`], [`index`], [`forbidden`], [`transitions`], [`applied`], [`rollout`], [`spod_status`],
//! [`startup_taint`].
//! The others hold watches and writes. A replica that does not lead looks at the Lease, and at whether the operator is
//! being deleted.

pub mod anchor;
pub mod applied;
pub mod bases;
pub mod bindings;
pub mod certificates;
pub mod election;
pub mod facts;
pub mod forbidden;
pub mod index;
pub mod kinds;
pub mod lease;
pub mod membership;
pub mod mirror;
pub mod overlap;
pub mod platform;
pub mod process;
pub mod profiles;
pub mod rendering;
pub mod reports;
pub mod rollout;
pub mod sources;
pub mod spod;
pub mod spod_status;
pub mod spod_watches;
pub mod startup_taint;
pub mod static_webhook;
pub mod texts;
pub mod transitions;
pub mod trust;
pub mod uninstall;
pub mod untaint;
