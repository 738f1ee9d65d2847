//! What goes wrong on real nodes, and what is left of it: nothing.
//!
//! `SPO_FAULTS` names the parts of a test that are to run, by a piece of their names; without it all of them do.

mod agents;
mod chart;
mod control_plane;
mod ground;
mod pods;
mod removal;
mod webhook;

use std::sync::{Mutex, PoisonError};

use spo_tests::{
    cluster::{Cluster, PROGRAMS},
    operator_image,
};

use ground::{Fallible, Part};

/// One cluster at a time: two would share two processors.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn with_the_manifest() -> Fallible {
    run(
        "spo-faults",
        &[
            ("install", removal::install),
            ("a pod under a profile", pods::a_pod_under_a_profile),
            ("a profile in use", pods::a_profile_in_use),
            ("a node hangs", agents::a_node_hangs),
            ("a kubelet stops", agents::a_kubelet_stops),
            ("an agent is killed", agents::an_agent_is_killed),
            ("a node goes, another comes", agents::a_node_goes_and_another_comes),
            ("the control plane falls over", control_plane::it_falls_over),
            ("the leader is killed", control_plane::the_leader_is_killed),
            ("no webhook answers", webhook::none_answers),
            ("an upgrade under load", control_plane::an_upgrade_under_load),
            ("uninstall as documented", removal::as_documented),
            ("uninstall the hard way", removal::the_hard_way),
        ],
    )
}

#[test]
fn with_the_chart() -> Fallible {
    run("spo-chart", &[("the chart", chart::installs_upgrades_and_goes)])
}

fn run(name: &str, parts: &[Part]) -> Fallible {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !Cluster::is_possible("faults", &[PROGRAMS, operator_image::PROGRAMS].concat()) {
        return Ok(());
    }
    let images = operator_image::images()?;
    let mut cluster = Cluster::start(name)?;
    images.iter().try_for_each(|image| cluster.push(image))?;
    cluster.add_nodes(3)?;
    ground::run(&mut cluster, parts)
}
