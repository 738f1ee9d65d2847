//! Lints about what almost every program in a container needs.

use super::{Lints, includes};
use crate::{
    expand::FlatProfile,
    meaning::{Compiled, Grants, Subject},
    tree::{FilePerms, Mode, RuleKind},
};

/// Where the dynamic loader is, by C library and machine.
const LOADERS: [&str; 8] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
    "/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

pub(super) fn profile(lints: &mut Lints<'_>, profile: &FlatProfile, compiled: &Compiled, grants: &Grants) {
    // A mode that denies nothing needs nothing.
    if matches!(profile.mode(), Some(Mode::Unconfined | Mode::DefaultAllow | Mode::Complain)) {
        return;
    }
    let base = includes(profile, "abstractions/base");
    let asks = Asks { compiled };
    if !base {
        loader(lints, profile, &asks);
    }
    programs(lints, profile, compiled, &asks);
    files(lints, profile, &asks);
    signals(lints, profile, grants, base);
    network(lints, profile, grants, base);
    capabilities(lints, profile, grants);
}

struct Asks<'a> {
    compiled: &'a Compiled,
}

impl Asks<'_> {
    fn may(&self, path: &str, perms: FilePerms) -> bool {
        self.compiled.decide(path.as_bytes(), Subject::Owner).allow.contains(perms)
    }

    fn may_any(&self, paths: &[&str], perms: FilePerms) -> bool {
        paths.iter().any(|p| self.may(p, perms))
    }
}

fn loader(lints: &mut Lints<'_>, profile: &FlatProfile, asks: &Asks<'_>) {
    if asks.may_any(&LOADERS, FilePerms::MMAP | FilePerms::READ) {
        return;
    }
    let missing: Vec<&str> = ["/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/passwd", "/dev/null"]
        .into_iter()
        .filter(|p| !asks.may(p, FilePerms::READ))
        .collect();
    let more = if missing.is_empty() { String::new() } else { format!(", nor {}", missing.join(", ")) };
    lints.warn(
        "no-loader",
        format!(
            "the dynamic loader and the C library cannot be read and mapped{more}: no dynamic program starts"
        ),
        "include <abstractions/base>",
        profile.origin,
    );
}

fn programs(lints: &mut Lints<'_>, profile: &FlatProfile, compiled: &Compiled, asks: &Asks<'_>) {
    let runs = compiled.entries().iter().any(|e| e.exec.is_some());
    let mapped: Vec<_> = compiled
        .entries()
        .iter()
        .filter(|e| e.perms.contains(FilePerms::MMAP | FilePerms::READ) && e.exec.is_none())
        .filter(|e| e.exact && (e.path.contains("/bin/") || e.path.contains("/sbin/")))
        .collect();
    for entry in mapped {
        let message = format!("{:?} may be mapped but not executed", entry.path);
        let help = "enough for the first program of a container, which the runtime starts, and for its forks; add \"ix\" otherwise";
        lints.info("x-missing", message, help, entry.origin);
    }
    if !runs {
        let scripts = ["/docker-entrypoint.sh", "/bin/sh", "/usr/bin/sh", "/entrypoint.sh"];
        if !asks.may_any(&scripts, FilePerms::EXEC) {
            let message = "nothing may be executed, not even an entry point such as /docker-entrypoint.sh and its /bin/sh: \
                           a container whose image has one fails to start";
            lints.warn(
                "no-exec",
                message.to_owned(),
                "add \"ix\" rules for the programs of the image",
                profile.origin,
            );
        }
    }
}

fn files(lints: &mut Lints<'_>, profile: &FlatProfile, asks: &Asks<'_>) {
    let missing: Vec<&str> = [
        ("/run/x.pid", FilePerms::WRITE, "/run/*.pid (and /var/run)"),
        ("/usr/share/x/y", FilePerms::READ, "/usr/share/**"),
        ("/docker-entrypoint.d/x", FilePerms::READ, "/docker-entrypoint.d/**"),
    ]
    .into_iter()
    .filter(|(path, perms, _)| !asks.may(path, *perms))
    .map(|(.., name)| name)
    .collect();
    if missing.len() == 3 {
        let message = format!("files that most service images use are not covered: {}", missing.join(", "));
        lints.info("service-files", message, "add those that the image has", profile.origin);
    }
    let logs = profile.rules.iter().find(|flat| match &flat.rule.kind {
        RuleKind::File(file) => {
            !flat.rule.is_deny()
                && file.perms.intersects(FilePerms::WRITE | FilePerms::APPEND)
                && file.path.as_ref().is_some_and(|p| p.text.starts_with("/var/log/"))
        }
        _ => false,
    });
    if let Some(rule) = logs
        && !asks.may_any(&["/dev/pts/0", "/proc/1/fd/1", "/dev/stdout"], FilePerms::WRITE)
    {
        let message = "log files that are links to /dev/stdout and /dev/stderr are not covered: \
                       the resolved path is checked, a terminal or pipe below /dev/pts or /proc/*/fd";
        lints.info("log-to-stdout", message.to_owned(), "include <abstractions/consoles>", rule.origin);
    }
}

fn signals(lints: &mut Lints<'_>, profile: &FlatProfile, grants: &Grants, base: bool) {
    let receives = grants.allowed.iter().any(|g| g.class == "signal" && g.what.starts_with("receive "));
    if !receives && !base {
        let message = "no rule lets it receive signals: where signals are mediated, those between its own \
                       processes and from the runtime are denied, so it cannot be stopped gracefully";
        let help =
            "add \"signal (send, receive) peer=@{profile_name},\" and \"signal receive peer=unconfined,\"";
        lints.warn("missing-signal", message.to_owned(), help, profile.origin);
    }
    let traces = grants.allowed.iter().any(|g| g.class == "ptrace");
    if !traces && !base {
        let message = "no ptrace rule: reading /proc of its own other processes is denied".to_owned();
        lints.info(
            "missing-ptrace-self",
            message,
            "add \"ptrace read peer=@{profile_name},\"",
            profile.origin,
        );
    }
}

fn network(lints: &mut Lints<'_>, profile: &FlatProfile, grants: &Grants, base: bool) {
    let has = |family: &str| {
        grants.allowed.iter().any(|g| g.class == "network" && g.what.split(' ').next() == Some(family))
    };
    let unix = has("unix") || base || grants.allowed.iter().any(|g| g.class == "unix");
    let rule = |family: &str| {
        profile
            .rules
            .iter()
            .find(|r| matches!(&r.rule.kind, RuleKind::Network(n) if n.family == Some(family)))
    };
    if let Some(rule) = rule("inet")
        && !has("inet6")
    {
        let more = if unix { "" } else { ", and so are unix sockets" };
        let message = format!("IPv4 is allowed but IPv6 is not{more}");
        lints.warn(
            "net-v6",
            message,
            "add \"network inet6 …\", and \"network unix\" or \"unix\" rules",
            rule.origin,
        );
    }
}

fn capabilities(lints: &mut Lints<'_>, profile: &FlatProfile, grants: &Grants) {
    let has = |name: &str| grants.allowed.iter().any(|g| g.class == "capability" && g.what == name);
    if !has("setuid") || !has("setgid") {
        return;
    }
    let missing: Vec<&str> = ["chown", "dac_override", "kill"].into_iter().filter(|c| !has(c)).collect();
    let rule = profile.rules.iter().find(
        |r| matches!(&r.rule.kind, RuleKind::Capability(names) if names.iter().any(|n| n.text == "setuid")),
    );
    if let Some(rule) = rule
        && missing.len() == 3
    {
        let message = format!(
            "a program that changes its user often also needs {}: to give away its directories and to signal its workers",
            missing.join(", ")
        );
        lints.info("cap-daemon", message, "add those that the program uses", rule.origin);
    }
}
