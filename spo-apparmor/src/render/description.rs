//! The abstract body → rules.
//!
//! What each field grants is what the existing operator documents; read-only means that nothing grants
//! writing. The existing operator writes denies instead, which also hit paths that another field grants,
//! because a deny beats every allow.

use std::{collections::BTreeSet, sync::Arc};

use spo_model::{
    Diagnostic, FieldPath,
    apparmor::{AppArmorAbstract, AppArmorMode, Capability},
};

use super::{RenderOptions, mode_flag};
use crate::{
    ParseOptions, TextRange,
    aare::Aare,
    dfa::intersection_witness,
    expand::next_variable,
    tree::{
        Access, Class, Exec, FilePerms, FileRule, Flag, Include, IncludeTarget, Item, MountKind, MountRule,
        NetworkRule, Policy, Prefix, Profile, Rule, RuleKind, Value,
    },
};

pub(super) fn text(
    name: &str,
    body: &AppArmorAbstract,
    mode: AppArmorMode,
    options: &RenderOptions<'_>,
) -> Result<(String, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut builder =
        Builder { errors: Vec::new(), warnings: Vec::new(), rules: Vec::new(), granted: Vec::new() };
    builder.body(body);
    if options.protect && mode == AppArmorMode::Enforce {
        builder.protect();
    }
    if !builder.errors.is_empty() {
        return Err(builder.errors);
    }
    let include = |path: &str| {
        Item::Include(Include {
            target: IncludeTarget::System(path.to_owned()),
            if_exists: false,
            hash: false,
            range: TextRange::default(),
        })
    };
    let flags = mode_flag(mode)
        .into_iter()
        .chain(["attach_disconnected", "mediate_deleted"])
        .map(|f| Flag { text: f.to_owned(), mode: None, range: TextRange::default() })
        .collect();
    let mut items = vec![include("abstractions/base")];
    items.extend(builder.rules.into_iter().map(|r| Item::Rule(Arc::new(r))));
    let profile = Profile { name: Value::new(name), flags: Some(flags), items, ..Profile::default() };
    let policy = Policy { items: vec![include("tunables/global"), Item::Profile(Box::new(profile))] };
    Ok((crate::print(&policy), builder.warnings))
}

struct Builder {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    rules: Vec<Rule>,
    /// What the fields grant, with the field.
    granted: Vec<(String, FilePerms, FieldPath)>,
}

impl Builder {
    fn body(&mut self, body: &AppArmorAbstract) {
        let root = FieldPath::of("spec.abstract");
        let mounting = body
            .capability
            .as_ref()
            .and_then(|c| c.allowed_capabilities.as_ref())
            .is_some_and(|list| list.contains(&Capability::SysRawio));
        if let Some(executable) = &body.executable {
            let path = root.key("executable");
            let mode = (FilePerms::READ | FilePerms::EXEC, Some(Exec::INHERIT));
            self.paths(executable.allowed_executables.as_deref(), &path.key("allowedExecutables"), mode);
            let map = (FilePerms::MMAP | FilePerms::READ, None);
            self.paths(executable.allowed_libraries.as_deref(), &path.key("allowedLibraries"), map);
        }
        if let Some(filesystem) = &body.filesystem {
            let path = root.key("filesystem");
            let write = FilePerms::WRITE | FilePerms::LINK | FilePerms::LOCK;
            self.paths(
                filesystem.read_only_paths.as_deref(),
                &path.key("readOnlyPaths"),
                (FilePerms::READ, None),
            );
            self.paths(filesystem.write_only_paths.as_deref(), &path.key("writeOnlyPaths"), (write, None));
            let both = (write | FilePerms::READ, None);
            self.paths(filesystem.read_write_paths.as_deref(), &path.key("readWritePaths"), both);
        }
        if let Some(network) = &body.network {
            let mut push = |rule: NetworkRule| self.rules.push(Rule::new(RuleKind::Network(rule)));
            if network.allow_raw == Some(true) {
                push(NetworkRule { socket_type: Some("raw"), ..NetworkRule::default() });
            }
            let protocols = network.allowed_protocols.clone().unwrap_or_default();
            for (allowed, protocol) in [(protocols.allow_tcp, "tcp"), (protocols.allow_udp, "udp")] {
                if allowed == Some(true) {
                    push(NetworkRule { protocol: Some(protocol), ..NetworkRule::default() });
                }
            }
        }
        let capabilities = body.capability.as_ref().and_then(|c| c.allowed_capabilities.as_deref());
        let sorted: BTreeSet<Capability> = capabilities.unwrap_or_default().iter().copied().collect();
        for capability in sorted {
            self.rules.push(Rule::new(RuleKind::Capability(vec![Value::new(capability.as_str())])));
        }
        if mounting {
            self.mounting(&root);
        }
    }

    /// The existing operator takes `sys_rawio` as the wish to mount and to check file systems.
    fn mounting(&mut self, root: &FieldPath) {
        for path in ["/sbin/fsck", "/sbin/fsck.ext4"] {
            self.rules.push(file_rule(
                path.to_owned(),
                FilePerms::READ | FilePerms::EXEC,
                Some(Exec::INHERIT),
            ));
        }
        for kind in [MountKind::Mount, MountKind::Remount, MountKind::Umount] {
            let rule = MountRule { kind, conditions: Vec::new(), source: None, target: None };
            self.rules.push(Rule::new(RuleKind::Mount(rule)));
        }
        let field = root.key("capability").key("allowedCapabilities");
        self.warnings.push(
            Diagnostic::warning(
                "rawio-grants-mount",
                field,
                "sys_rawio also grants mount, remount, umount and fsck",
            )
            .with_help("use a raw body to have the capability alone"),
        );
    }

    /// One rule for each path of a list, sorted.
    fn paths(
        &mut self,
        list: Option<&[String]>,
        field: &FieldPath,
        (perms, exec): (FilePerms, Option<Exec>),
    ) {
        let mut sorted = BTreeSet::new();
        for (i, path) in list.unwrap_or_default().iter().enumerate() {
            let at = field.index(i);
            if let Some(rule) = self.ptrace_word(path, &at) {
                self.rules.push(rule);
                continue;
            }
            match check_path(path) {
                Ok(()) if sorted.contains(path) => {}
                Ok(()) => {
                    sorted.insert(path.clone());
                    self.granted.push((path.clone(), perms, at));
                }
                Err((code, message)) => self.errors.push(Diagnostic::error(code, at, message)),
            }
        }
        self.rules.extend(sorted.into_iter().map(|path| file_rule(path, perms, exec)));
    }

    /// `ptrace (WORD), # …` in a list of paths is an old way to ask for a ptrace rule.
    fn ptrace_word(&mut self, text: &str, field: &FieldPath) -> Option<Rule> {
        let rule = text.split('#').next().unwrap_or_default().trim();
        if !rule.starts_with("ptrace") || text.contains('\n') {
            return None;
        }
        let parsed = crate::parse_rules(rule, ParseOptions::default());
        let [Item::Rule(found)] = parsed.policy.items.as_slice() else { return None };
        let RuleKind::Class(class) = &found.kind else { return None };
        let plain = class.class == Class::Ptrace
            && class.conditions.is_empty()
            && !class.perms.is_empty()
            && found.prefix.is_empty()
            && parsed.is_ok();
        if !plain {
            return None;
        }
        self.warnings.push(
            Diagnostic::warning("rule-as-path", field.clone(), "a ptrace rule stands in a list of paths")
                .with_help("use a raw body for rules that the fields do not have"),
        );
        Some(Rule::new(found.kind.clone()))
    }

    /// Denies writing to what a container must never write, unless a field grants it by name.
    fn protect(&mut self) {
        for (path, perms) in PROTECTED {
            let Ok(guard) = Aare::parse(&expand_known(path)) else { continue };
            let mut conflict = None;
            for (grant, granted, field) in &self.granted {
                let inside = ["/proc/", "/sys/"].iter().any(|dir| expand_known(grant).starts_with(dir));
                if !perms.intersects(granted.effective()) || !inside {
                    continue;
                }
                let Ok(grant_glob) = Aare::parse(&expand_known(grant)) else { continue };
                // Too complex to compare counts as a conflict with the guard kept: the stricter way.
                if matches!(intersection_witness(&guard, &grant_glob), Ok(Some(_))) {
                    conflict = Some((grant.clone(), field.clone()));
                    break;
                }
            }
            match conflict {
                Some((grant, field)) => self.warnings.push(
                    Diagnostic::warning(
                        "grant-lifts-protection",
                        field,
                        format!("granting {grant:?} takes away the fixed deny of {path:?}"),
                    )
                    .with_help("grant only the files that are needed"),
                ),
                None => {
                    let mut rule = file_rule(path.to_owned(), perms, None);
                    rule.prefix = Prefix { access: Some(Access::Deny), ..Prefix::default() };
                    self.rules.push(rule);
                }
            }
        }
    }
}

const GUARD: FilePerms =
    FilePerms::from_bits(FilePerms::WRITE.bits() | FilePerms::LINK.bits() | FilePerms::LOCK.bits());
const GUARD_ALL: FilePerms = FilePerms::from_bits(
    GUARD.bits() | FilePerms::READ.bits() | FilePerms::EXEC.bits() | FilePerms::MMAP.bits(),
);

/// The files of `/proc` and `/sys` that act on the whole host.
///
/// The template that container runtimes share excludes names with classes such as `[^0-9]`, which also match
/// `/` and so hit the shm settings that it means to spare; these patterns exclude `/` as well.
const PROTECTED: [(&str, FilePerms); 9] = [
    ("@{PROC}/*", FilePerms::WRITE),
    ("@{PROC}/{[^1-9s/]*,s,s[^y/]*,sy,sy[^s/]*,sys?*}/**", FilePerms::WRITE),
    ("@{PROC}/sys/[^k/]**", FilePerms::WRITE),
    ("@{PROC}/sys/kernel/{[^s/]**,s,s/**,s[^h/]**,sh,sh/**,sh[^m/]**}", FilePerms::WRITE),
    ("@{PROC}/sysrq-trigger", GUARD_ALL),
    ("@{PROC}/mem", GUARD_ALL),
    ("@{PROC}/kmem", GUARD_ALL),
    ("@{PROC}/kcore", GUARD_ALL),
    ("/sys/firmware/efi/efivars/**", GUARD_ALL),
];

fn file_rule(path: String, perms: FilePerms, exec: Option<Exec>) -> Rule {
    let rule = FileRule { path: Some(Value::new(path)), perms, exec, ..FileRule::default() };
    Rule::new(RuleKind::File(rule))
}

/// The variables that every host has; see `tunables/global`.
const VARIABLES: [&str; 25] = [
    "HOME",
    "HOMEDIRS",
    "multiarch",
    "PROC",
    "pid",
    "pids",
    "tid",
    "uid",
    "uids",
    "sys",
    "securityfs",
    "apparmorfs",
    "run",
    "etc_ro",
    "etc_rw",
    "flatpak_exports_root",
    "system_share_dirs",
    "user_share_dirs",
    "XDG_DESKTOP_DIR",
    "XDG_DOWNLOAD_DIR",
    "XDG_TEMPLATES_DIR",
    "XDG_DOCUMENTS_DIR",
    "XDG_MUSIC_DIR",
    "XDG_PICTURES_DIR",
    "XDG_VIDEOS_DIR",
];

/// A path of a list: absolute, one line, known variables, no `..`, a valid glob.
fn check_path(path: &str) -> Result<(), (&'static str, String)> {
    if path.is_empty() {
        return Err(("bad-path", "the path is empty".to_owned()));
    }
    if path.len() > 4096 {
        return Err(("bad-path", "the path is longer than 4096 bytes".to_owned()));
    }
    if let Some(c) = path.chars().find(|c| c.is_control()) {
        return Err(("bad-path", format!("{path:?} contains the control character {c:?}")));
    }
    if path.contains('"') {
        return Err(("bad-path", format!("{path:?} contains a quote")));
    }
    let begins = path.starts_with('/')
        || next_variable(path).is_some_and(|(before, name, _)| {
            before.is_empty() && (name.ends_with("dirs") || PATH_VARIABLES.contains(&name))
        });
    if !begins {
        return Err(("bad-path", format!("{path:?} is not absolute")));
    }
    let mut rest = path;
    while let Some((_, name, after)) = next_variable(rest) {
        if !VARIABLES.contains(&name) && name != "profile_name" {
            return Err((
                "unknown-variable",
                format!("{path:?} uses @{{{name}}}, which no host is sure to have"),
            ));
        }
        rest = after;
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(("bad-path", format!("{path:?} contains \".\" or \"..\" and would never match")));
    }
    let plain = strip_variables(path);
    if plain.contains("@{") {
        return Err(("unknown-variable", format!("{path:?} contains \"@{{\" but no variable")));
    }
    Aare::parse(&plain).map(drop).map_err(|e| ("bad-glob", format!("{path:?}: {e}")))
}

/// The variables whose values are absolute paths.
const PATH_VARIABLES: [&str; 9] =
    ["HOME", "HOMEDIRS", "PROC", "sys", "securityfs", "apparmorfs", "run", "etc_ro", "etc_rw"];

fn strip_variables(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, _, after)) = next_variable(rest) {
        out.push_str(before);
        out.push('x');
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The path with the variables of `/proc` and `/sys` put in.
fn expand_known(path: &str) -> String {
    let text = path.replace("@{PROC}", "/proc").replace("@{sys}", "/sys").replace("@{pid}", "[1-9]*");
    crate::aare::collapse_slashes(&strip_variables(&text))
}
