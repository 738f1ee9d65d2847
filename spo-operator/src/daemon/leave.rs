//! Whether the end of this process is the end of the operator on this node.

use super::write::Fleet;

/// Whether the node is to be left as it was before the operator came.
///
/// A pod of a DaemonSet ends because it is replaced, or because the operator is uninstalled; only the API server
/// knows. `early` is what it said when the agent started: who was not allowed to ask then cannot take a refusal now
/// for the end of his rights.
///
/// A refusal alone proves nothing: the token of a pod that is deleted by force is refused at once, and rights can be
/// taken away by mistake. Only with the settings gone (`orphaned`), from which the agents are made, is it the end.
pub fn is_uninstall(early: Fleet, late: Fleet, orphaned: bool) -> bool {
    match late {
        Fleet::Gone => true,
        Fleet::Forbidden => orphaned && matches!(early, Fleet::There | Fleet::Gone),
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
            for orphaned in [false, true] {
                assert!(is_uninstall(early, Gone, orphaned));
                assert!(!is_uninstall(early, There, orphaned));
                assert!(!is_uninstall(early, Silent, orphaned), "an API server that is down says nothing");
            }
        }
        assert!(is_uninstall(There, Forbidden, true), "the rights went with the operator");
        assert!(
            !is_uninstall(There, Forbidden, false),
            "a pod that was deleted by force has no rights either"
        );
        assert!(!is_uninstall(Forbidden, Forbidden, true), "the rights were never given");
        assert!(!is_uninstall(Silent, Forbidden, true));
    }
}
