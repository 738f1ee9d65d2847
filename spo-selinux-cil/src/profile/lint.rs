//! What works but is probably not meant.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::{Diagnostic, FieldPath, Severity};

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

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// Its stable identifier.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, in a few words.
    pub finding: &'static str,
    /// The way out.
    pub fix: &'static str,
}

const fn lint_of(code: &'static str, severity: Severity, finding: &'static str, fix: &'static str) -> Lint {
    Lint { code, severity, finding, fix }
}

/// Every finding of [`lint`].
pub const LINTS: [Lint; 8] = [
    lint_of(
        "selinux-broad-target",
        Severity::Warning,
        "a target is an attribute of many types",
        "name the types that are needed",
    ),
    lint_of(
        "selinux-write-execute",
        Severity::Warning,
        "files of one type can be written and run",
        "give what is written and what is run different types",
    ),
    lint_of(
        "selinux-capability",
        Severity::Warning,
        "a capability reaches beyond the container",
        "leave it out, or give it to a container of its own",
    ),
    lint_of(
        "selinux-shared-files",
        Severity::Info,
        "the files of all containers have the target's type",
        "give the volume a type of its own",
    ),
    lint_of(
        "selinux-redundant",
        Severity::Info,
        "a template or the base grants the rule already",
        "remove the rule",
    ),
    lint_of(
        "selinux-ephemeral-port",
        Severity::Info,
        "the kernel does not ask for name_bind on ephemeral ports",
        "remove the permission name_bind",
    ),
    lint_of(
        "selinux-separated",
        Severity::Info,
        "a constraint on categories holds whatever the rule says",
        "give the pods the same level in seLinuxOptions",
    ),
    lint_of(
        "selinux-shadowed-module",
        Severity::Warning,
        "the base has a module of the profile's name",
        "choose another name",
    ),
];

/// Remarks on a profile's own rules, in the order of the rules, each with the field at fault and a way out. The codes are
/// those of [`LINTS`].
///
/// What cannot be installed at all is no remark but an error of [`Base::check`](crate::Base::check): names a base does not
/// have (`selinux-type`, `selinux-class`, `selinux-template`), permissions that are not of the class
/// (`selinux-permission`), names with a digit in front or a dot (`selinux-name`), blocks that are there already
/// (`selinux-name-reserved`).
pub fn lint(profile: &Profile<'_>) -> Vec<Diagnostic> {
    let policy = profile.base.policy();
    let inherited = profile.inherited();
    let mut found = Vec::new();
    if profile.base.has_module(&profile.name) {
        // Ours has another name; the operator this one follows names modules after profiles, and the one with the higher
        // priority hides the other.
        let message = format!(
            "the base has a module {:?}; where modules are named after profiles, the profile hides it",
            profile.name
        );
        found.push(finding("selinux-shadowed-module", FieldPath::of("metadata.name"), message));
    }
    for rule in &profile.rules {
        let class = &policy.classes[rule.class as usize].name[..];
        let permissions: Vec<&str> = policy.permission_names(rule.class, rule.permissions).collect();
        let name = policy.name(rule.target);
        let mut add = |code: &str, message: String| found.push(finding(code, rule.path.clone(), message));
        if policy.is_attribute(rule.target) {
            let count = policy.members(rule.target).len();
            if count > BROAD {
                add("selinux-broad-target", format!("{name} stands for {count} types"));
            }
        }
        if matches!(class, "capability" | "capability2" | "cap_userns" | "cap2_userns") {
            for p in permissions.iter().filter(|p| FAR_REACHING.contains(p)) {
                add("selinux-capability", format!("the capability {p} reaches beyond the container"));
            }
        }
        if name == "container_file_t" {
            let message =
                "container_file_t is on the files of all containers; only categories keep them apart";
            add("selinux-shared-files", message.to_owned());
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
            add("selinux-redundant", "templates and the base grant all of this already".to_owned());
        }
        if permissions.contains(&"name_bind") && only_ephemeral(policy, rule.target) {
            let message =
                format!("every port of {name} is ephemeral; the kernel does not ask for name_bind there");
            add("selinux-ephemeral-port", message);
        }
        if separated(policy, rule.target, rule.class, rule.permissions) {
            let message =
                format!("containers of different categories are kept apart on {class} of {name} in any case");
            add("selinux-separated", message);
        }
    }
    found.extend(write_and_execute(profile));
    found
}

fn finding(code: &str, path: FieldPath, message: String) -> Diagnostic {
    let lint = LINTS.iter().find(|l| l.code == code);
    let d = Diagnostic::new(lint.map_or(Severity::Warning, |l| l.severity), code, path, message);
    match lint {
        Some(lint) => d.with_help(lint.fix),
        None => d,
    }
}

/// Targets the profile itself makes both writable and executable: what is written can be run.
fn write_and_execute(profile: &Profile<'_>) -> Vec<Diagnostic> {
    let policy = profile.base.policy();
    let mut modes: BTreeMap<String, (BTreeSet<&str>, FieldPath)> = BTreeMap::new();
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
            finding("selinux-write-execute", path, message)
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
