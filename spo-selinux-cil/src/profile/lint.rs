//! What works but is probably not meant.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{Diagnostic, Severity};

use crate::{
    base::Profile,
    policy::{ConstraintStep, Policy, TypeSet, Why},
};

/// A target that stands for more types than this is broad.
const BROAD: usize = 20;

/// The kernel's default range of ephemeral ports (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Capabilities that reach far beyond the container, in the classes `capability` and `capability2`.
const FAR_REACHING: [&str; 12] = [
    "bpf",
    "dac_read_search",
    "mac_admin",
    "mac_override",
    "net_admin",
    "perfmon",
    "sys_admin",
    "sys_boot",
    "sys_module",
    "sys_ptrace",
    "sys_rawio",
    "sys_time",
];

/// Remarks on a profile's own rules, in the order of the rules.
///
/// Codes: `selinux-broad-target`, `selinux-capability`, `selinux-shared-files`, `selinux-redundant`,
/// `selinux-ephemeral-port`, `selinux-separated`, `selinux-write-execute`.
pub fn lint(profile: &Profile<'_>) -> Vec<Diagnostic> {
    let policy = profile.base.policy();
    let inherited = profile.inherited();
    let mut found = Vec::new();
    for rule in &profile.rules {
        let class = &policy.classes[rule.class as usize].name[..];
        let permissions: Vec<&str> = policy.permission_names(rule.class, rule.permissions).collect();
        let name = policy.name(rule.target);
        let mut add = |severity, code: &str, message: String| {
            found.push(Diagnostic::new(severity, code, rule.path.clone(), message));
        };
        if policy.is_attribute(rule.target) {
            let count = policy.members(rule.target).len();
            if count > BROAD {
                let message = format!("{name} stands for {count} types; name those that are needed");
                add(Severity::Warning, "selinux-broad-target", message);
            }
        }
        if matches!(class, "capability" | "capability2" | "cap_userns" | "cap2_userns") {
            for p in permissions.iter().filter(|p| FAR_REACHING.contains(p)) {
                let message = format!("the capability {p} reaches beyond the container");
                add(Severity::Warning, "selinux-capability", message);
            }
        }
        if name == "container_file_t" {
            let message =
                "container_file_t is on the files of all containers; only categories keep them apart";
            add(Severity::Info, "selinux-shared-files", message.to_owned());
        }
        let accesses = profile.accesses(rule);
        let unconditional = |w: &Vec<Why>| w.iter().any(|w| !matches!(w, Why::Conditional(..)));
        // Other profiles join such an attribute, so there is more to it than this base shows.
        let open_ended = policy.is_attribute(rule.target)
            && profile.probes.iter().any(|&p| policy.set_contains(rule.target, p));
        if !open_ended
            && !accesses.is_empty()
            && accesses.iter().all(|a| inherited.get(a).is_some_and(unconditional))
        {
            let message = "templates and the base grant all of this already".to_owned();
            add(Severity::Info, "selinux-redundant", message);
        }
        if permissions.contains(&"name_bind") && only_ephemeral(policy, rule.target) {
            let message =
                format!("every port of {name} is ephemeral; the kernel does not ask for name_bind there");
            add(Severity::Info, "selinux-ephemeral-port", message);
        }
        if separated(policy, rule.target, rule.class, rule.permissions) {
            let message =
                format!("containers of different categories are kept apart on {class} of {name} in any case");
            add(Severity::Info, "selinux-separated", message);
        }
    }
    found.extend(write_and_execute(profile));
    found
}

/// Targets the profile itself makes both writable and executable: what is written can be run.
fn write_and_execute(profile: &Profile<'_>) -> Vec<Diagnostic> {
    let policy = profile.base.policy();
    let mut modes: BTreeMap<String, (BTreeSet<&str>, spo_model::FieldPath)> = BTreeMap::new();
    for rule in &profile.rules {
        if policy.classes[rule.class as usize].name != "file" {
            continue;
        }
        for access in profile.accesses(rule) {
            let mode = match &access.permission[..] {
                "write" | "append" | "create" => "write",
                "execute" | "execute_no_trans" | "entrypoint" => "execute",
                _ => continue,
            };
            modes.entry(access.target).or_insert_with(|| (BTreeSet::new(), rule.path.clone())).0.insert(mode);
        }
    }
    let both = modes.into_iter().filter(|(_, (modes, _))| modes.len() == 2);
    both.take(BROAD)
        .map(|(target, (_, path))| {
            let message = format!("files of {target} can be written and run");
            Diagnostic::warning("selinux-write-execute", path, message)
        })
        .collect()
}

fn only_ephemeral(policy: &Policy, target: TypeSet) -> bool {
    let Some(t) = target.as_type() else { return false };
    let mut ports = policy.ports.iter().filter(|p| p.type_ as usize == t).peekable();
    ports.peek().is_some() && ports.all(|p| EPHEMERAL.contains(&p.low) && EPHEMERAL.contains(&p.high))
}

/// Whether a constraint wants the source's categories to include the target's, where targets have categories.
fn separated(policy: &Policy, target: TypeSet, class: u16, permissions: u32) -> bool {
    let Some(separated) = policy.find("mcs_constrained_type") else { return false };
    let members = policy.members(separated);
    let hit = policy.members(target).intersects(&members);
    hit && policy.constraints.iter().any(|c| {
        c.levels
            && c.class == class
            && c.permissions & permissions != 0
            && c.expression.iter().any(|s| {
                matches!(
                    s,
                    ConstraintStep::Fields { op: "dom" | "eq", left: "h1" | "l1", right: "h2" | "l2" }
                )
            })
    })
}
