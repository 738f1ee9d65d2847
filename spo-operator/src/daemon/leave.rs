//! Whether the end of this process is the end of the operator on this node.
//!
//! A pod of a DaemonSet ends because it is replaced, moved or restarted, or because the operator is uninstalled; only
//! the API server knows. Emptying a node by mistake takes AppArmor profiles off pods that run under them, so it takes
//! more than one sign: the SecurityProfilesOperatorDaemon (SPOD) that the agent belongs to has to be gone, and nothing
//! may be left that would start the agent again.
//!
//! | what happened | the watch of the SPOD | SPOD | DaemonSet | namespace | the node is emptied |
//! | --- | --- | --- | --- | --- | --- |
//! | roll-out, drain, restart of the pod | there | there | there | stays | no |
//! | `kubectl delete daemonset`, in whatever order it cascades | there | there | gone | stays | no: the manager makes it again |
//! | the SPOD deleted; the garbage collector takes the DaemonSet, then the pods | gone | gone | gone | stays | yes |
//! | the SPOD deleted in the foreground: it is there and being deleted until its pods are gone | there | gone | gone | stays | yes |
//! | the SPOD deleted and made again, by a person or the manager | any | there | gone | stays | no |
//! | the SPOD deleted with `--cascade=orphan`, then the pod restarted | gone | gone | there | stays | no: the DaemonSet starts it again |
//! | the CustomResourceDefinition deleted, and its objects with it | gone | gone | gone | stays | yes |
//! | the namespace deleted; its objects go in any order, the pods perhaps first | any | any | any | goes | yes |
//! | `kubectl delete -f operator.yaml`, `helm uninstall`: rights go at the same time | gone | refused | refused | refused | yes |
//! | the pod deleted by force: its token is refused | there | refused | refused | refused | no |
//! | rights taken away by mistake | there | refused | any | refused | no |
//! | the API server is away | any | silent | silent | silent | no |
//! | an agent that was started by hand, or with the name of no SPOD | never | gone | gone | stays | no |

use super::write::Answer;

/// What is known when the agent is told to end. An object that is being deleted is [`Answer::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// What the watch told of the agent's SPOD so far.
    pub watched: Watched,
    /// What the API server says about the SPOD now.
    pub spod: Answer,
    /// About the DaemonSet of the same name.
    pub fleet: Answer,
    /// About the operator's namespace.
    pub namespace: Answer,
}

/// What the watch has told of an object since the agent started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It was never there.
    Never,
    /// It is there.
    There,
    /// It was there and is gone. What a watch told remains when the rights are gone.
    Gone,
}

/// Whether the node is to be left as it was before the operator came; the table is in the documentation of the module.
pub fn is_uninstall(signs: Signs) -> bool {
    use Answer::{Forbidden, Gone, Silent, There};
    if signs.namespace == Gone {
        return true;
    }
    let nothing_starts_it_again = matches!(signs.fleet, Gone | Forbidden);
    let spod_is_gone = match signs.spod {
        Gone => signs.watched != Watched::Never,
        // A refusal proves nothing by itself: the token of a pod that is deleted by force is refused at once.
        Forbidden => signs.watched == Watched::Gone,
        There | Silent => false,
    };
    spod_is_gone && nothing_starts_it_again
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{Forbidden, Gone, Silent, There};

    const WATCHED: [Watched; 3] = [Watched::Never, Watched::There, Watched::Gone];
    const ANSWERS: [Answer; 4] = [There, Gone, Forbidden, Silent];

    fn emptied(watched: Watched, spod: Answer, fleet: Answer, namespace: Answer) -> bool {
        is_uninstall(Signs { watched, spod, fleet, namespace })
    }

    #[test]
    fn a_pod_that_is_replaced_leaves_everything() {
        assert!(!emptied(Watched::There, There, There, There));
    }

    #[test]
    fn a_daemon_set_alone_that_is_deleted_is_no_end() {
        assert!(!emptied(Watched::There, There, Gone, There));
    }

    #[test]
    fn the_deleted_spod_is_the_end() {
        assert!(emptied(Watched::Gone, Gone, Gone, There));
    }

    #[test]
    fn a_spod_that_is_being_deleted_in_the_foreground_is_the_end() {
        assert!(emptied(Watched::There, Gone, Gone, There));
    }

    #[test]
    fn a_spod_that_came_back_is_no_end() {
        assert!(WATCHED.into_iter().all(|watched| !emptied(watched, There, Gone, There)));
    }

    #[test]
    fn an_orphaned_daemon_set_starts_the_agent_again() {
        assert!(!emptied(Watched::Gone, Gone, There, There));
    }

    #[test]
    fn a_definition_that_is_deleted_is_the_end() {
        // The API server has no path for the kind any more, which is 404 as well.
        assert!(emptied(Watched::Gone, Gone, Gone, There));
    }

    #[test]
    fn a_namespace_that_goes_is_the_end_whatever_else_is_still_there() {
        for watched in WATCHED {
            for spod in ANSWERS {
                assert!(ANSWERS.into_iter().all(|fleet| emptied(watched, spod, fleet, Gone)), "{spod:?}");
            }
        }
    }

    #[test]
    fn rights_that_went_with_the_operator_are_the_end() {
        assert!(emptied(Watched::Gone, Forbidden, Forbidden, Forbidden));
    }

    #[test]
    fn a_refused_token_is_no_end() {
        assert!(!emptied(Watched::There, Forbidden, Forbidden, Forbidden));
        assert!(!emptied(Watched::Never, Forbidden, Forbidden, Forbidden));
    }

    #[test]
    fn rights_that_are_missing_are_no_end() {
        assert!(ANSWERS.into_iter().all(|fleet| !emptied(Watched::There, Forbidden, fleet, Forbidden)));
        // Somebody took one right and left the other.
        assert!(!emptied(Watched::Gone, Forbidden, There, Forbidden));
    }

    #[test]
    fn an_api_server_that_is_down_says_nothing() {
        for watched in WATCHED {
            assert!(!emptied(watched, Silent, Silent, Silent));
            assert!(ANSWERS.into_iter().all(|other| !emptied(watched, Silent, other, Silent)));
            assert!(ANSWERS.into_iter().all(|other| !emptied(watched, other, Silent, Silent)));
        }
    }

    #[test]
    fn an_agent_without_a_spod_has_no_end() {
        for (spod, fleet) in ANSWERS.into_iter().flat_map(|spod| ANSWERS.map(|fleet| (spod, fleet))) {
            assert!(!emptied(Watched::Never, spod, fleet, There), "{spod:?} {fleet:?}");
        }
    }
}
