//! Where a statement may stand.

use super::{
    grammar::Version,
    symbol::{Symbol, word},
};

/// What a statement is inside of. Everything around it counts, not only the nearest.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) block: bool,
    pub(super) optional: bool,
    pub(super) macro_: bool,
    pub(super) tunable: bool,
    pub(super) boolean: bool,
    pub(super) in_: bool,
    pub(super) in_after: bool,
    pub(super) depth: u16,
}

impl Place {
    /// Why a statement may not stand here.
    pub(super) fn refuses(self, keyword: Symbol, version: Version) -> Option<&'static str> {
        use word::*;
        let tunable = keyword == TUNABLE;
        if self.macro_ && (tunable || matches!(keyword, IN | BLOCK | BLOCKINHERIT | BLOCKABSTRACT | MACRO)) {
            return Some("a macro");
        }
        if self.optional && (tunable || matches!(keyword, IN | BLOCK | BLOCKABSTRACT | MACRO)) {
            return Some("an optional");
        }
        if self.in_ && (tunable || keyword == IN) {
            return Some("an `in` statement");
        }
        if self.in_after && matches!(keyword, BLOCKINHERIT | BLOCKABSTRACT) {
            return Some("an `in after` statement");
        }
        if self.tunable && tunable {
            return Some("a tunableif");
        }
        if self.block && matches!(keyword, SENSITIVITY | CATEGORY) {
            return Some("a block");
        }
        (self.boolean && !fits_condition(keyword, version)).then_some("a booleanif")
    }
}

/// Whether a statement may stand inside a `booleanif`.
pub(crate) fn fits_condition(keyword: Symbol, version: Version) -> bool {
    use word::*;
    matches!(
        keyword,
        ALLOW | AUDITALLOW | DONTAUDIT | TYPETRANSITION | TYPECHANGE | TYPEMEMBER | CALL | TUNABLEIF
    ) || version.minor >= 8 && matches!(keyword, ALLOWX | AUDITALLOWX | DONTAUDITX)
}

/// Most containers (blocks, optionals, conditions) inside one another. Ours: the compiler has no bound besides the
/// parser's, but nothing real nests more than a handful.
pub(crate) const MAX_NESTING: u16 = 128;
