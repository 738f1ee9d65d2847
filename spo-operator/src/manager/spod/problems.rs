//! What is wrong with a SPOD although everything it asks for is there: pure.

use spo_model::daemon::DaemonState;

use super::super::{membership::Overlaps, trust};
use crate::cluster::names;

/// What is said of a SPOD while there is no certificate of the webhook: nobody is asked about what is created, so it does
/// not run, whatever its agents do.
pub(super) fn without_admission(
    state: DaemonState,
    before: Option<DaemonState>,
    message: String,
    certificates: trust::Source,
) -> (DaemonState, String) {
    let state = match (state, before) {
        (DaemonState::Running, Some(DaemonState::Running | DaemonState::Updating)) => DaemonState::Updating,
        (DaemonState::Running, _) => DaemonState::Creating,
        (other, _) => other,
    };
    let (secret, whose) = (names::WEBHOOK_SECRET, certificates.whose());
    let text = format!(
        "{message}; admission is not set up: no certificate in the Secret {secret}, waiting for {whose}"
    );
    (state, text)
}

/// What is wrong with a SPOD whose agents are meant to run where those of another are.
pub(super) fn overlap(name: &str, overlaps: &Overlaps) -> Option<String> {
    let shared = |((one, other), nodes): (&(String, String), &Vec<Box<str>>)| {
        let (own, other) = if one == name { (one, other) } else { (other, one) };
        let few: Vec<&str> = nodes.iter().take(NODES).map(|node| &**node).collect();
        let more = match nodes.len().saturating_sub(NODES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (own == name).then(|| {
            format!(
                "the agents of the SecurityProfilesOperatorDaemons {own} and {other} are meant to run on the same nodes \
                 ({}{more}), where each undoes what the other does: select the nodes of one of them in \
                 spec.scheduling.affinity",
                few.join(", ")
            )
        })
    };
    overlaps.iter().find_map(shared)
}

/// The most nodes that a message names.
const NODES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spod_without_admission_does_not_run_and_says_who_is_waited_for() {
        let of = |state, before| {
            without_admission(state, before, "3 of 3 agents are ready".to_owned(), trust::Source::CertManager)
        };
        let (state, message) = of(DaemonState::Running, None);
        assert_eq!(state, DaemonState::Creating);
        assert_eq!(
            message,
            "3 of 3 agents are ready; admission is not set up: no certificate in the Secret webhook-server-cert, \
             waiting for cert-manager"
        );
        assert_eq!(of(DaemonState::Running, Some(DaemonState::Running)).0, DaemonState::Updating);
        assert_eq!(of(DaemonState::Error, Some(DaemonState::Running)).0, DaemonState::Error);
    }

    #[test]
    fn both_spods_of_a_shared_node_say_so() {
        let nodes: Vec<Box<str>> = (0..7).map(|i| format!("n-{i}").into()).collect();
        let overlaps: Overlaps = [(("a".to_owned(), "b".to_owned()), nodes)].into();
        let said = overlap("a", &overlaps).expect("a problem");
        assert!(said.contains("SecurityProfilesOperatorDaemons a and b"), "{said}");
        assert!(said.contains("(n-0, n-1, n-2, n-3, n-4 and 2 more)"), "{said}");
        assert!(overlap("b", &overlaps).is_some_and(|said| said.contains("b and a")));
        assert_eq!(overlap("c", &overlaps), None);
    }
}
