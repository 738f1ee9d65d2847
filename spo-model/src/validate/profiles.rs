//! Rules about the four kinds of profile.

use crate::{
    apparmor::AppArmorBody,
    base,
    diagnostic::{Diagnostic, FieldPath},
    names::ProfileKey,
    object::{AppArmorProfile, Metadata, RawSelinuxProfile, SeccompProfile, SelinuxProfile},
    seccomp::{Action, Op, SyscallRule},
    selinux::InheritKind,
};

pub(super) const NOTIFY_DEFAULT: &str = "SCMP_ACT_NOTIFY cannot be the default action";

pub(super) fn seccomp(profile: &SeccompProfile, problems: &mut Vec<Diagnostic>) {
    if let Some(key) = key(&profile.metadata)
        && let Err(error) = key.seccomp_path()
    {
        problems.push(Diagnostic::error("name-length", FieldPath::of("metadata.name"), error.to_string()));
    }
    let spec = FieldPath::of("spec");
    if profile.spec.default_action == Action::Notify {
        // runc and crun refuse it: the process that answers would itself need an answer.
        problems.push(
            Diagnostic::error("notify-default", spec.key("defaultAction"), NOTIFY_DEFAULT)
                .with_help("use SCMP_ACT_ERRNO and give single syscalls SCMP_ACT_NOTIFY"),
        );
    }
    if let (Some(base), Some(key)) = (&profile.spec.base_profile_name, key(&profile.metadata))
        && (base.as_str() == key.name.as_str() || base.key().as_ref() == Some(&key))
    {
        let message = format!("the profile is its own base: {key} → {key}");
        problems.push(Diagnostic::error("base-cycle", spec.key("baseProfileName"), message));
    }
    let carries_errno = |action| matches!(action, Action::Errno | Action::Trace);
    if profile.spec.default_errno_ret.is_some() && !carries_errno(profile.spec.default_action) {
        problems.push(unused_errno(spec.key("defaultErrnoRet"), profile.spec.default_action));
    }
    for (i, rule) in profile.spec.rules().iter().enumerate() {
        let path = spec.key("syscalls").index(i);
        if rule.errno_ret.is_some() && !carries_errno(rule.action) {
            problems.push(unused_errno(path.key("errnoRet"), rule.action));
        }
        syscall_names(rule, &path, problems);
        for (j, arg) in rule.conditions().iter().enumerate() {
            if arg.op != Op::MaskedEqual && !arg.value_two.is_zero() {
                let message = format!("valueTwo means nothing to {}", arg.op);
                problems.push(
                    Diagnostic::warning(
                        "unused-value-two",
                        path.key("args").index(j).key("valueTwo"),
                        message,
                    )
                    .with_help("only SCMP_CMP_MASKED_EQ compares with valueTwo"),
                );
            }
        }
    }
}

fn syscall_names(rule: &SyscallRule, path: &FieldPath, problems: &mut Vec<Diagnostic>) {
    for (j, name) in rule.names.iter().enumerate() {
        let place = || path.key("names").index(j);
        if !name.is_known() {
            // A runtime skips a name it does not know: a deny rule with a typing error denies nothing.
            let problem = Diagnostic::error(
                "unknown-syscall",
                place(),
                format!("no kernel has a syscall {:?}", name.as_str()),
            );
            problems.push(match crate::syscall_names::suggest(name.as_str()) {
                Some(near) => problem.with_help(format!("did you mean {near:?}?")),
                None => problem.with_help("runtimes would skip the name silently; remove it"),
            });
        }
        if rule.action == Action::Notify && name.as_str() == "write" {
            problems.push(
                Diagnostic::error("notify-write", place(), "SCMP_ACT_NOTIFY cannot be used for write")
                    .with_help("runc refuses it: the runtime itself writes to the listener"),
            );
        }
    }
}

fn unused_errno(path: FieldPath, action: Action) -> Diagnostic {
    Diagnostic::warning("unused-errno", path, format!("{action} returns no errno"))
        .with_help("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do, and crun refuses the others")
}

pub(super) fn selinux(profile: &SelinuxProfile, problems: &mut Vec<Diagnostic>) {
    selinux_name(&profile.metadata, problems);
    for (i, inherit) in profile.spec.inherit.iter().flatten().enumerate() {
        let own = profile.metadata.name.as_ref().is_some_and(|name| name.as_str() == inherit.name.as_str());
        if inherit.kind == InheritKind::SelinuxProfile && own {
            let message = format!("the profile inherits itself: {0} → {0}", inherit.name);
            problems.push(Diagnostic::error(
                "inherit-cycle",
                FieldPath::of("spec.inherit").index(i),
                message,
            ));
        }
    }
    for (target, classes) in profile.spec.allow.iter().flatten() {
        let path = FieldPath::of("spec.allow").key(target.as_str());
        if classes.is_empty() {
            problems.push(
                Diagnostic::error("empty-allow", path.clone(), "no object class is given")
                    .with_help("name a class with its permissions, or remove the type"),
            );
        }
        for (class, permissions) in classes {
            if permissions.is_empty() {
                problems.push(
                    Diagnostic::error("empty-allow", path.key(class.as_str()), "no permission is given")
                        .with_help("name a permission, or remove the class"),
                );
            }
        }
    }
}

pub(super) fn raw_selinux(profile: &RawSelinuxProfile, problems: &mut Vec<Diagnostic>) {
    selinux_name(&profile.metadata, problems);
    raw_text(profile.spec.policy.as_deref().unwrap_or_default(), problems);
}

pub(super) fn apparmor(profile: &AppArmorProfile, problems: &mut Vec<Diagnostic>) {
    if let Some(key) = key(&profile.metadata)
        && let Err(error) = key.apparmor_file()
    {
        problems.push(Diagnostic::error("name-length", FieldPath::of("metadata.name"), error.to_string()));
    }
    if let AppArmorBody::Raw(text) = &profile.spec.body {
        raw_text(text, problems);
    }
}

fn raw_text(text: &str, problems: &mut Vec<Diagnostic>) {
    let path = FieldPath::of("spec.policy");
    if text.trim().is_empty() {
        problems.push(
            Diagnostic::error("empty-policy", path, "the policy is empty")
                .with_help("an empty policy would deny everything; write the rules"),
        );
    } else if text.contains('\0') {
        problems.push(Diagnostic::error("nul-byte", path, "the policy contains a NUL byte"));
    }
}

/// A CIL identifier starts with a letter and has no dot, which an object's name may not obey.
fn selinux_name(metadata: &Metadata, problems: &mut Vec<Diagnostic>) {
    let Some(key) = key(metadata) else { return };
    let (path, name) = (FieldPath::of("metadata.name"), key.name.as_str());
    let letter_first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !letter_first || name.contains('.') {
        problems.push(
            Diagnostic::error(
                "selinux-name",
                path,
                format!("{name:?} cannot be the name of an SELinux block"),
            )
            .with_help("start with a letter and use letters, digits and `-` only"),
        );
    } else if let Err(error) = key.selinux_module() {
        problems.push(Diagnostic::error("name-length", path, error.to_string()));
    }
}

fn key(metadata: &Metadata) -> Option<ProfileKey> {
    base::key(metadata)
}
