//! What a profile means: which path may be accessed how, and by which rule.
//!
//! [`Compiled`] is the file part of one profile as an automaton, with the decision of the kernel for each
//! of its accepting states. The other classes are sets of grants, see [`Grants`].

mod compile;
mod conflicts;
mod diff;
mod escape;
mod grants;
mod least;
mod links;
mod merge;
mod query;
mod target;

pub(crate) use compile::exec_of;
pub use compile::{CompileError, Compiled, Decision, Entry, ExecOutcome, Subject};
pub use conflicts::{Finding, FindingKind, conflicts};
pub use diff::{ClassDifference, Difference, FileDifference, Relation, Side, diff};
pub use escape::{Escape, escapes};
pub(crate) use grants::grants_of;
pub use grants::{Grant, Grants};
pub use least::{Event, Least, OverBroad, least};
pub use links::{LinkAnswer, LinkDifference, Links};
pub use merge::{MergeMode, Merged, merge};
pub use query::{Answer, Verdict, Which};
pub use target::{Feature, Target, features_of, target};
