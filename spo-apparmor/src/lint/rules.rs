//! Lints about single rules, and about rules against each other.

use std::collections::BTreeSet;

use super::Lints;
use crate::{
    aare::Aare,
    expand::{FlatProfile, FlatRule},
    meaning::{Compiled, Entry, FindingKind, Grants, conflicts, escapes},
    tree::{Access, Exec, ExecKind, FilePerms, FileRule, Owner, RuleKind, Safety},
};

/// Capabilities that are as good as no confinement.
const DANGEROUS: [&str; 7] =
    ["mac_admin", "mac_override", "sys_module", "sys_admin", "sys_ptrace", "sys_rawio", "sys_boot"];

pub(super) fn each(lints: &mut Lints<'_>, profile: &FlatProfile) {
    let mut seen = BTreeSet::new();
    for flat in &profile.rules {
        // One finding per written rule, not per expansion.
        if !seen.insert(flat.source) {
            continue;
        }
        match &flat.rule.kind {
            RuleKind::File(file) => file_rule(lints, profile, flat, file),
            RuleKind::Link(link) if link.target.text.ends_with("/**") && !flat.rule.is_deny() => {
                let message = format!("links to everything below {:?} are allowed", link.target.text);
                lints.info("link-target-wide", message, "name the targets", flat.origin);
            }
            RuleKind::Capability(names) if !flat.rule.is_deny() => {
                let all = names.is_empty();
                for name in DANGEROUS.iter().filter(|d| all || names.iter().any(|n| n.text == **d)) {
                    let message = format!("{name} is as good as having no profile");
                    lints.warn("cap-dangerous", message, "find out which operation needs it", flat.origin);
                }
            }
            RuleKind::Network(rule) if rule.socket_type == Some("raw") && rule.family.is_none() => {
                let message = "raw sockets of every family are allowed".to_owned();
                lints.info(
                    "net-proto",
                    message,
                    "name the family, for example \"network inet raw\"",
                    flat.origin,
                );
            }
            RuleKind::Rlimit(limit) => {
                let digits: String = limit.text.chars().take_while(char::is_ascii_digit).collect();
                if digits.len() > 1 && digits.starts_with('0') {
                    let message = format!("the limit {digits} begins with 0 and is read as octal");
                    lints.warn("octal-rlimit", message, "leave the zero out", flat.origin);
                }
            }
            _ => {}
        }
    }
}

fn file_rule(lints: &mut Lints<'_>, profile: &FlatProfile, flat: &FlatRule, file: &FileRule) {
    let Some(path) = file.path.as_ref().map(|p| p.text.as_str()) else { return };
    let origin = flat.origin;
    let deny = flat.rule.is_deny();
    let Ok(glob) = Aare::parse(path) else { return };
    if glob.has_negated_class_with_slash() {
        let message = format!("a negated class in {path:?} also matches \"/\"");
        lints.warn("negclass-slash", message, "put \"/\" into the class", origin);
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        let message =
            format!("{path:?} contains \".\" or \"..\", which the kernel has resolved: it never matches");
        lints.warn("dotdot", message, "write the resolved path", origin);
    }
    if path.starts_with("//") {
        let message = format!("{path:?} begins with two slashes, which no path of the kernel does");
        lints.warn("double-slash", message, "write one slash", origin);
    }
    if deny && flat.rule.prefix.owner == Some(Owner::Owner) {
        let message = format!("the deny of {path:?} is about files of the task's own user only");
        lints.warn("owner-on-deny", message, "leave \"owner\" out to deny it for all", origin);
    }
    if deny && file.perms.contains(FilePerms::EXEC) {
        let message = format!("the bare \"x\" in the deny of {path:?} covers every way to execute it");
        lints.info("deny-exec", message, "right as it is; ix, px and so on are errors in a deny", origin);
    }
    if let Some((dir, star)) = directory_of(path) {
        let wanted = if deny { None } else { Some(dir) };
        let readable = file.perms.contains(FilePerms::READ);
        if readable
            && let Some(dir) = wanted
            && !matched(profile, dir, FilePerms::READ)
        {
            let message =
                format!("{path:?} does not match {dir:?} itself: \"{star}\" needs at least one character");
            lints.warn("dir-self", message, "add the directory for listing it, or write \"{,**}\"", origin);
        }
    }
    if path.contains("/**/") {
        let message =
            format!("{path:?} needs a directory where \"**\" stands: it does not match without one");
        lints.info("star-needs-one", message, "write \"/{,**/}\" to match with and without one", origin);
    }
    if file.capitals {
        let message = format!("the permissions of {path:?} are in capitals, an old spelling");
        lints.info("perm-case", message, "write r, w, l, m, i and x in small letters", origin);
    }
    usrmerge(lints, profile, flat, file, path);
    if !deny {
        let log = path.starts_with("/var/log/") || path.ends_with(".log");
        if log && file.perms.contains(FilePerms::WRITE) {
            let message = format!("\"w\" on the log {path:?} also allows to cut it off and to rewrite it");
            lints.info("rw-as-append", message, "write \"a\" when the program only appends", origin);
        }
        exec(lints, flat, file, path);
        let special = ["/proc/sys/", "/sys/"].iter().any(|p| path.starts_with(p));
        if special && file.perms.intersects(FilePerms::WRITE | FilePerms::APPEND) {
            let message = format!("writing to {path:?} changes the kernel for the whole host");
            lints.warn("write-proc-sys", message, "name the single files that are needed", origin);
        }
    }
}

/// The directory of a pattern that means everything in it.
fn directory_of(path: &str) -> Option<(&str, &str)> {
    let (dir, last) = path.rsplit_once('/')?;
    if !matches!(last, "*" | "**") || dir.is_empty() || dir.contains(['*', '?', '[', '{', '\\']) {
        return None;
    }
    Some((&path[..=dir.len()], last))
}

/// Whether an allow of the profile matches the path with the permission.
fn matched(profile: &FlatProfile, path: &str, perm: FilePerms) -> bool {
    profile.rules.iter().any(|flat| match &flat.rule.kind {
        RuleKind::File(file) => {
            file.perms.contains(perm)
                && !flat.rule.is_deny()
                && Aare::parse(file.path.as_ref().map_or("/{**,}", |p| &p.text))
                    .is_ok_and(|g| g.matches(path.as_bytes()))
        }
        RuleKind::All => true,
        _ => false,
    })
}

/// Two rules that together let a path be written and executed; of a single rule [`exec`] tells.
fn written_and_executed(lints: &mut Lints<'_>, compiled: &Compiled) {
    let mut seen = BTreeSet::new();
    for (path, half, entries) in compiled.writable_programs() {
        let may = |entry: &&Entry, perms: FilePerms| {
            entry.access == Access::Allow && entry.perms.intersects(perms) && entry.in_half(half)
        };
        let writes = entries.iter().copied().find(|e| may(e, FilePerms::WRITE | FilePerms::APPEND));
        let runs = entries.iter().copied().find(|e| may(e, FilePerms::EXEC));
        if let (Some(writes), Some(runs)) = (writes, runs)
            && writes.source != runs.source
            && seen.insert((writes.source, runs.source))
        {
            let place = lints.unit.place(writes.origin, lints.text);
            let message = format!(
                "{:?} executes what {:?} (line {place}) lets it write, for example {path:?}",
                runs.path, writes.path
            );
            lints.warn("w-and-x", message, "narrow one of the two, so that no path has both", runs.origin);
        }
    }
}

/// `/bin` is a link to `/usr/bin` on most systems, and rules are about the resolved path.
fn usrmerge(lints: &mut Lints<'_>, profile: &FlatProfile, flat: &FlatRule, file: &FileRule, path: &str) {
    const DIRS: [&str; 4] = ["/bin/", "/sbin/", "/lib/", "/lib64/"];
    if !DIRS.iter().any(|d| path.starts_with(d)) {
        return;
    }
    let twin = format!("/usr{path}");
    let access = flat.rule.prefix.access == Some(Access::Deny);
    let covered = profile.rules.iter().any(|other| match &other.rule.kind {
        RuleKind::File(f) => {
            let same =
                (other.rule.prefix.access == Some(Access::Deny)) == access && f.perms.contains(file.perms);
            let text = f.path.as_ref().map_or("/{**,}", |p| p.text.as_str());
            let literal = Aare::parse(&twin).ok().and_then(|g| g.as_literal());
            same && (text == twin
                || literal.is_some_and(|l| Aare::parse(text).is_ok_and(|glob| glob.matches(&l))))
        }
        RuleKind::All => !access,
        _ => false,
    });
    if covered {
        return;
    }
    let shell = matches!(path, "/bin/bash" | "/bin/sh" | "/bin/dash");
    let more = if access && shell { ", nor the other shells: sh, dash, busybox" } else { "" };
    let message = format!("{path:?} does not cover {twin:?}, the same file where /usr is merged{more}");
    lints.warn("usrmerge", message, "write \"/{,usr/}…\"", flat.origin);
}

fn exec(lints: &mut Lints<'_>, flat: &FlatRule, file: &FileRule, path: &str) {
    let origin = flat.origin;
    let Some(Exec { kind, scrub, .. }) = file.exec else { return };
    if kind == ExecKind::Unconfined {
        let message = format!("programs of {path:?} run without any profile");
        lints.warn("unconfined-exec", message, "use ix, or px with a profile of its own", origin);
    }
    if kind != ExecKind::Inherit && !scrub && file.safety != Some(Safety::Safe) {
        let message = format!("programs of {path:?} keep the environment, which can load code into them");
        lints.warn("env-unsafe", message, "write the first letter in upper case", origin);
    }
    if file.perms.intersects(FilePerms::WRITE | FilePerms::APPEND) {
        let message = format!("{path:?} may be written and then executed");
        lints.warn("w-and-x", message, "split the rule, so that no path has both", origin);
    }
    if kind == ExecKind::Inherit && !file.perms.contains(FilePerms::READ) && path.ends_with(".sh") {
        let message = format!("{path:?} is a script, and its interpreter must read it");
        lints.warn("x-no-mr", message, "add \"r\"", origin);
    }
}

/// Lints that need the automaton.
pub(super) fn together(lints: &mut Lints<'_>, profile: &FlatProfile, compiled: &Compiled, grants: &Grants) {
    for finding in conflicts(compiled) {
        let (path, perms) = (&finding.path, finding.perms);
        let other = finding.other.as_ref().map_or(String::new(), |(_, glob, origin)| {
            format!("{glob:?} (line {})", lints.unit.place(*origin, lints.text))
        });
        match finding.kind {
            FindingKind::QuietDeny => {
                let message = format!("nothing allows {path:?}, so this deny only keeps the log quiet");
                lints.info("quiet-deny", message, "remove it, unless the silence is wanted", finding.origin);
            }
            FindingKind::DeadAllow => {
                let message =
                    format!("nothing is left of this rule: {other} denies {perms} for all of {path:?}");
                lints.warn(
                    "deny-shadows-allow",
                    message,
                    "a deny beats every allow; remove one of them",
                    finding.origin,
                );
            }
            FindingKind::PartlyDenied => {
                let message = format!(
                    "{other} takes {perms} away from {path:?}, for example for {:?}",
                    finding.witness
                );
                lints.info(
                    "partly-denied",
                    message,
                    "fine when it is the exception that is meant",
                    finding.origin,
                );
            }
            FindingKind::Redundant => {
                let (code, message) = match &finding.other {
                    Some((_, glob, _)) if glob == path => ("dup-rule", format!("{other} says the same")),
                    _ => ("dead-rule", format!("{other} and others allow all of {path:?} already")),
                };
                lints.info(code, message, "remove it", finding.origin);
            }
        }
    }
    written_and_executed(lints, compiled);
    for grant in &grants.quiet {
        let rule = profile
            .rules
            .iter()
            .find(|r| r.rule.is_deny() && crate::meaning::grants_of(&r.rule).contains(grant));
        if let Some(rule) = rule {
            let message =
                format!("nothing allows what \"{}\" denies: it only keeps the log quiet", rule.rule);
            lints.info("quiet-deny", message, "remove it, unless the silence is wanted", rule.origin);
        }
    }
    for escape in escapes(profile, compiled, grants) {
        // Those with a rule have lints of their own.
        if matches!(escape.code, "write-policy" | "change-profile" | "ptrace" | "write-and-exec") {
            let origin = escape.rule.and_then(|r| profile.rules.get(r)).map_or(profile.origin, |r| r.origin);
            let message = format!("a way out: it {}", escape.message);
            lints.warn("escape", message, "take the permission away", origin);
        }
    }
}
