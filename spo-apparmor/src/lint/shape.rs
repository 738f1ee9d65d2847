//! Lints about the text as a whole and the headers.

use super::Lints;
use crate::{
    expand::{FlatProfile, Origin},
    meaning::target,
    tree::{Mode, ProfileKind},
};

pub(super) fn unit(lints: &mut Lints<'_>) {
    let first = lints.unit.profiles.first().map_or(Origin::default(), |p| p.origin);
    if lints.unit.abi.is_none() && !lints.unit.profiles.is_empty() {
        lints.warn(
            "no-abi",
            "there is no abi rule, so the meaning depends on the defaults of the node's parser".to_owned(),
            "write \"abi <abi/3.0>,\" or the newest abi that every node has",
            first,
        );
    }
    let of_abstraction = |p: &FlatProfile| {
        p.includes.iter().find(|(path, _)| path.starts_with("abstractions/")).map(|(_, origin)| *origin)
    };
    if !lints.unit.files.iter().any(|f| f.ends_with("tunables/global"))
        && let Some(origin) = lints.unit.profiles.iter().find_map(of_abstraction)
    {
        let message = "abstractions need variables that this text does not bring along".to_owned();
        lints.warn(
            "no-tunables",
            message,
            "write \"include <tunables/global>\" in front of the profile",
            origin,
        );
    }
    for (name, origin) in &lints.unit.unused_variables {
        // What the tunables define is for whoever wants it.
        if origin.file == 0 {
            lints.info("var-unused", format!("@{{{name}}} is never used"), "remove the assignment", *origin);
        }
    }
    for origin in &lints.unit.hash_includes {
        if origin.file == 0 {
            let message = "\"#include\" is the old spelling and looks like a comment".to_owned();
            lints.info("hash-include", message, "write \"include\"", *origin);
        }
    }
    if let Some(need) = target(lints.unit).needs.first() {
        let message =
            format!("{} makes AppArmor {} the oldest release that takes the text", need.what, need.version);
        lints.info("target-release", message, "nodes with an older release refuse the whole profile", first);
    }
}

pub(super) fn profile(lints: &mut Lints<'_>, profile: &FlatProfile) {
    let origin = profile.origin;
    if profile.kind != ProfileKind::Hat && profile.parent.is_none() {
        if profile.attachments.is_empty() {
            let message = format!(
                "{:?} attaches to no program: it confines only what asks for it by name",
                profile.name
            );
            lints.info("no-attachment", message, "right for pods, which name it in localhostProfile", origin);
        } else {
            let message =
                format!("{:?} confines every program of the host that it attaches to", profile.name);
            lints.warn(
                "attach-host",
                message,
                "give it a plain name when it is meant for containers",
                origin,
            );
        }
    }
    if profile.name.contains(['*', '?', '[', '{']) && !profile.name.starts_with('/') {
        let message =
            format!("the name {:?} contains wildcards, which make it hard to ask for", profile.name);
        lints.warn("name-glob", message, "use a plain name", origin);
    }
    if let Some(mode @ (Mode::Unconfined | Mode::DefaultAllow)) = profile.mode() {
        let message = format!("the mode {} confines nothing", mode.as_str());
        lints.warn("unconfined-mode", message, "use enforce or complain", origin);
    }
    let mut depth = 0;
    let mut at = profile.parent;
    while let Some(parent) = at.and_then(|p| lints.unit.profiles.get(p)) {
        depth += 1;
        at = parent.parent;
    }
    if depth > 1 {
        let message =
            format!("{:?} is nested {depth} levels deep, the kernel and the tools know one", profile.name);
        lints.warn("hat-depth", message, "make it a child of the outermost profile", origin);
    }
}
