//! Whether the end of this process is the end of the operator on this node.

use super::write::Fleet;

/// Whether the node is to be left as it was before the operator came.
///
/// A pod of a DaemonSet ends because it is replaced, or because the operator is uninstalled; only the API server
/// knows. `early` is what it said when the agent started: who was not allowed to ask then cannot take a refusal now
/// for the end of his rights.
pub fn is_uninstall(early: Fleet, late: Fleet) -> bool {
    match late {
        Fleet::Gone => true,
        Fleet::Forbidden => matches!(early, Fleet::There | Fleet::Gone),
        Fleet::There | Fleet::Silent => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_answer_empties_the_node() {
        use Fleet::{Forbidden, Gone, Silent, There};
        for early in [There, Gone, Forbidden, Silent] {
            assert!(is_uninstall(early, Gone));
            assert!(!is_uninstall(early, There));
            assert!(!is_uninstall(early, Silent), "an API server that is down says nothing");
        }
        assert!(is_uninstall(There, Forbidden), "the rights went with the operator");
        assert!(!is_uninstall(Forbidden, Forbidden), "the rights were never given");
        assert!(!is_uninstall(Silent, Forbidden));
    }
}
