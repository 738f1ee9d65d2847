//! Record → the rule that would have allowed it, with the choices that `aa-logprof` offers.

use std::{collections::BTreeMap, sync::Arc};

use super::{Kind, Record};
use crate::{
    TextRange, aare,
    meaning::{Compiled, Event, Grants, Subject, grants_of},
    parse::{NETWORK_FAMILIES, SOCKET_TYPES},
    tree::{
        ChangeProfileRule, Class, ClassPerms, ClassRule, Condition, ConditionOp, Exec, FilePerms, FileRule,
        Item, MountKind, MountRule, NetworkRule, Owner, PivotRootRule, Policy, Prefix, Profile, ProfileKind,
        Rule, RuleKind, Value,
    },
};

/// Decisions that `aa-logprof` asks its user for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices {
    /// How programs run.
    pub exec: Exec,
    /// Whether programs that run under the same profile are also readable and mappable.
    pub exec_reads: bool,
    /// Whether accesses to a task's own files become `owner` rules.
    pub owner: bool,
    /// Whether rules name addresses and ports.
    pub addresses: bool,
}

impl Default for Choices {
    /// `ix` with `mr`, owner rules, addresses.
    fn default() -> Self {
        Self { exec: Exec::INHERIT, exec_reads: true, owner: true, addresses: true }
    }
}

/// What was learned about one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The profile, as the kernel names it.
    pub profile: String,
    /// The rules, sorted by their text.
    pub rules: Vec<Rule>,
}

/// The profile of a record and the rule that would have allowed the access.
///
/// `None` for records that deny nothing: changes of policy, hints, and accesses of which nothing is known.
pub fn rule_of(record: &Record, choices: Choices) -> Option<(String, Rule)> {
    if !matches!(record.kind, Kind::Denied | Kind::Allowed | Kind::Audit | Kind::Killed) {
        return None;
    }
    let (kind, owner) = kind_of(record, choices)?;
    let profile = subject_of(record)?.to_owned();
    let files = matches!(kind, RuleKind::File(_));
    let prefix = Prefix { audit: record.kind == Kind::Audit && !files, owner, ..Prefix::default() };
    Some((profile, Rule { prefix, kind, range: TextRange::default() }))
}

/// The profile that a rule for the record belongs to: of an unconfined task the program.
fn subject_of(record: &Record) -> Option<&str> {
    match record.profile()? {
        "unconfined" => record.get("execpath").or(Some("unconfined")),
        profile => Some(profile),
    }
}

/// The rules of many records, merged: permissions on one path are one rule.
pub fn learn<'a>(records: impl IntoIterator<Item = &'a Record>, choices: Choices) -> Vec<Learned> {
    let mut files: BTreeMap<(String, String, Option<Owner>, Option<Exec>), FilePerms> = BTreeMap::new();
    let mut others: BTreeMap<String, BTreeMap<String, Rule>> = BTreeMap::new();
    for record in records {
        if let Some(profile) =
            subject_of(record).filter(|_| record.kind != Kind::Status && record.kind != Kind::Invalid)
        {
            others.entry(profile.to_owned()).or_default();
        }
        let Some((profile, rule)) = rule_of(record, choices) else { continue };
        let rules = others.entry(profile.clone()).or_default();
        match &rule.kind {
            RuleKind::File(file) if file.target.is_none() => {
                let path = file.path.as_ref().map_or(String::new(), |p| p.text.clone());
                let entry = files.entry((profile, path, rule.prefix.owner, file.exec)).or_default();
                *entry = *entry | file.perms;
            }
            _ => {
                rules.insert(rule.to_string(), rule);
            }
        }
    }
    for ((profile, path, owner, exec), mut perms) in files {
        // Append is part of write.
        if perms.contains(FilePerms::WRITE) {
            perms = perms.without(FilePerms::APPEND);
        }
        let kind =
            RuleKind::File(FileRule { path: Some(Value::new(path)), perms, exec, ..FileRule::default() });
        let rule = Rule { prefix: Prefix { owner, ..Prefix::default() }, kind, range: TextRange::default() };
        others.entry(profile).or_default().insert(rule.to_string(), rule);
    }
    others
        .into_iter()
        .map(|(profile, rules)| Learned { profile, rules: rules.into_values().collect() })
        .collect()
}

/// The learned rules that a profile does not grant yet.
pub fn missing(compiled: &Compiled, grants: &Grants, rules: &[Rule]) -> Vec<Rule> {
    rules
        .iter()
        .filter(|rule| match &rule.kind {
            RuleKind::File(file) => {
                let path = file.path.as_ref().map(|p| p.text.as_str());
                let literal = path.and_then(|p| aare::Aare::parse(p).ok()).and_then(|g| g.as_literal());
                let halves: &[Subject] = match rule.prefix.owner {
                    Some(Owner::Owner) => &[Subject::Owner],
                    Some(Owner::Other) => &[Subject::Other],
                    None => &Subject::BOTH,
                };
                // An exec rule asks for read and map as a convenience only.
                let wanted = if file.perms.contains(FilePerms::EXEC) { FilePerms::EXEC } else { file.perms };
                !literal
                    .is_some_and(|p| halves.iter().all(|h| compiled.decide(&p, *h).allow.contains(wanted)))
            }
            _ => !grants_of(rule).iter().all(|grant| grants.allows(grant)),
        })
        .cloned()
        .collect()
}

/// The learned rules as a policy: hats inside of their profile.
pub fn policy_of(learned: &[Learned]) -> Policy {
    let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
    for one in learned {
        let (namespace, name) = split_namespace(&one.profile);
        let (parent, child) = match name.split_once("//") {
            Some((parent, child)) => (parent, Some(child)),
            None => (name, None),
        };
        let key = one.profile[..one.profile.len() - name.len() + parent.len()].to_owned();
        let profile = profiles.entry(key).or_insert_with(|| Profile {
            kind: if parent.starts_with('/') { ProfileKind::Path } else { ProfileKind::Profile },
            namespace: namespace.map(str::to_owned),
            name: plain_name(parent),
            ..Profile::default()
        });
        let rules = one.rules.iter().map(|r| Item::Rule(Arc::new(r.clone())));
        match child {
            None => {
                let inner = std::mem::take(&mut profile.items);
                profile.items = rules.chain(inner).collect();
            }
            Some(child) => {
                let hat = Profile {
                    kind: ProfileKind::Hat,
                    name: plain_name(child),
                    items: rules.collect(),
                    ..Profile::default()
                };
                profile.items.push(Item::Profile(Box::new(hat)));
            }
        }
    }
    Policy { items: profiles.into_values().map(|p| Item::Profile(Box::new(p))).collect() }
}

/// Splits a label of the form `:namespace://name`; what has another form is a name as a whole.
fn split_namespace(label: &str) -> (Option<&str>, &str) {
    let split = label.strip_prefix(':').and_then(|rest| rest.split_once(':'));
    let Some((namespace, name)) = split else { return (None, label) };
    let name = name.strip_prefix("//").unwrap_or(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if namespace.is_empty() || name.is_empty() || name.starts_with('/') || !namespace.bytes().all(plain) {
        return (None, label);
    }
    (Some(namespace), name)
}

/// A name that matches exactly the text, whose colon does not begin a namespace.
fn plain_name(text: &str) -> Value {
    let escaped = aare::escape(text);
    Value::new(match escaped.strip_prefix(':') {
        Some(rest) => format!("\\072{rest}"),
        None => escaped,
    })
}

impl Record {
    /// The access as an event, for [`crate::meaning::least`].
    pub fn events(&self) -> Vec<Event> {
        match rule_of(self, Choices { exec_reads: false, ..Choices::default() }) {
            Some((_, Rule { kind: RuleKind::File(file), .. })) => {
                let subject = if self.is_owner() == Some(true) { Subject::Owner } else { Subject::Other };
                match self.get("name") {
                    Some(path) => vec![Event::File { path: path.to_owned(), perms: file.perms, subject }],
                    None => Vec::new(),
                }
            }
            Some((_, rule)) => grants_of(&rule).into_iter().map(Event::Grant).collect(),
            None => Vec::new(),
        }
    }
}

type Kinds = Option<(RuleKind, Option<Owner>)>;

fn kind_of(record: &Record, choices: Choices) -> Kinds {
    let operation = record.operation()?;
    let class = record.get("class");
    let plain = |kind| Some((kind, None));
    match (class, operation) {
        (_, "capable") | (Some("cap"), _) => {
            let name = record.get("capname").or_else(|| record.get("name"))?;
            plain(RuleKind::Capability(vec![Value::new(crate::parse::capability_word(name)?.as_str())]))
        }
        (Some("posix_mqueue" | "sysv_mqueue"), _) | (_, "sysv_mqueue") => plain(mqueue(record)?),
        (Some("io_uring"), _) | (_, "uring_sqpoll" | "uring_override") => {
            let mut rule = class_rule(Class::IoUring, perms(record.denied()?, Class::IoUring)?);
            rule.conditions.extend(record.get("tcontext").map(|label| condition("label", label)));
            plain(RuleKind::Class(rule))
        }
        (_, "userns_create") => {
            plain(RuleKind::Class(class_rule(Class::Userns, ClassPerms(ClassPerms::CREATE))))
        }
        (_, "signal") => {
            let mut rule = class_rule(Class::Signal, perms(record.denied()?, Class::Signal)?);
            rule.conditions.extend(record.get("signal").map(|s| condition("set", s)));
            rule.conditions.extend(record.get("peer").map(|p| condition("peer", p)));
            plain(RuleKind::Class(rule))
        }
        (_, "ptrace") => {
            let mut rule = class_rule(Class::Ptrace, perms(record.denied()?, Class::Ptrace)?);
            rule.conditions.extend(record.get("peer").map(|p| condition("peer", p)));
            plain(RuleKind::Class(rule))
        }
        (_, dbus) if dbus.starts_with("dbus_") => plain(dbus_rule(record)?),
        (_, "mount") => {
            let mut conditions: Vec<Condition> =
                record.get("fstype").map(|f| condition("fstype", f)).into_iter().collect();
            if let Some(flags) = record.get("flags") {
                let words: Vec<&str> = flags.split([',', ' ']).filter(|w| !w.is_empty()).collect();
                let values = words.iter().map(|w| Value::new(*w)).collect();
                conditions.push(Condition { values, list: words.len() > 1, ..condition("options", "") });
            }
            let path = |key: &str| record.get(key).map(|p| Value::new(aare::escape(p)));
            plain(RuleKind::Mount(MountRule {
                kind: MountKind::Mount,
                conditions,
                source: path("srcname"),
                target: path("name"),
            }))
        }
        (_, "umount" | "remount") => {
            let kind = if operation == "umount" { MountKind::Umount } else { MountKind::Remount };
            let target = record.get("name").map(|p| Value::new(aare::escape(p)));
            plain(RuleKind::Mount(MountRule { kind, conditions: Vec::new(), source: None, target }))
        }
        (_, "pivotroot") => plain(RuleKind::PivotRoot(PivotRootRule {
            conditions: record.get("srcname").map(|old| condition("oldroot", old)).into_iter().collect(),
            new_root: record.get("name").map(|p| Value::new(aare::escape(p))),
            profile: None,
        })),
        (_, "change_profile" | "change_onexec") => {
            let target = Some(Value::new(aare::escape(record.target()?)));
            plain(RuleKind::ChangeProfile(ChangeProfileRule { target, ..ChangeProfileRule::default() }))
        }
        (_, "change_hat" | "stack") => None,
        _ if record.get("family").is_some() && record.get("name").is_none() => {
            plain(network(record, choices)?)
        }
        (_, "exec") => plain(exec(record, choices)?),
        _ => file(record, choices),
    }
}

fn file(record: &Record, choices: Choices) -> Kinds {
    let path = record.get("name").filter(|p| p.starts_with('/'))?;
    // An audited access was allowed; only what was asked for is known then.
    let audited = record.kind == Kind::Audit;
    let mask = record.denied().or(if audited { record.requested() } else { None })?;
    // Old masks say "owner::other".
    let mut perms = FilePerms::NONE;
    for letter in mask.chars() {
        perms = perms
            | match letter {
                'c' | 'd' => FilePerms::WRITE,
                ':' => FilePerms::NONE,
                'x' => return exec(record, choices).map(|kind| (kind, None)),
                other => FilePerms::from_letter(other)?,
            };
    }
    if perms.contains(FilePerms::WRITE) {
        perms = perms.without(FilePerms::APPEND);
    }
    if perms.is_empty() {
        return None;
    }
    let own = choices.owner && !audited && record.is_owner() == Some(true);
    let rule = FileRule { path: Some(Value::new(aare::escape(path))), perms, ..FileRule::default() };
    Some((RuleKind::File(rule), own.then_some(Owner::Owner)))
}

fn exec(record: &Record, choices: Choices) -> Option<RuleKind> {
    let path = record.get("name").filter(|p| p.starts_with('/'))?;
    let reads = if choices.exec_reads && choices.exec == Exec::INHERIT {
        FilePerms::READ | FilePerms::MMAP
    } else {
        FilePerms::NONE
    };
    let perms = FilePerms::EXEC | reads;
    let path = Some(Value::new(aare::escape(path)));
    Some(RuleKind::File(FileRule { path, perms, exec: Some(choices.exec), ..FileRule::default() }))
}

fn network(record: &Record, choices: Choices) -> Option<RuleKind> {
    let family = record.get("family")?;
    if record.requested().is_some() && record.denied().is_none() && record.kind != Kind::Audit {
        // What was asked for was not what was denied.
        return None;
    }
    let mask = record.denied().or(record.requested());
    let socket = record.get("sock_type")?;
    if family == "unix" {
        let mut rule = class_rule(Class::Unix, perms(mask?, Class::Unix)?);
        rule.conditions.push(condition("type", socket));
        let own = record.get("addr").filter(|a| *a != "none" && choices.addresses);
        rule.conditions.extend(own.map(|a| condition("addr", a)));
        let other = record.get("peer_addr").filter(|a| *a != "none" && choices.addresses);
        rule.peer.extend(other.map(|a| condition("addr", a)));
        return Some(RuleKind::Class(rule));
    }
    let known = |list: &'static [&'static str], word: &str| list.iter().copied().find(|w| *w == word);
    let mut rule = NetworkRule {
        perms: match mask {
            Some(mask) => perms(mask, Class::Unix)?,
            None => ClassPerms::default(),
        },
        family: Some(known(NETWORK_FAMILIES, family)?),
        socket_type: Some(known(SOCKET_TYPES, socket)?),
        ..NetworkRule::default()
    };
    if choices.addresses && family.starts_with("inet") {
        for ((address, port), list) in
            [(record.local(), &mut rule.conditions), (record.foreign(), &mut rule.peer)]
        {
            list.extend(address.map(|a| condition("ip", a)));
            list.extend(port.map(|p| condition("port", p)));
        }
    }
    Some(RuleKind::Network(rule))
}

fn mqueue(record: &Record) -> Option<RuleKind> {
    let mut rule = class_rule(Class::Mqueue, perms(record.denied()?, Class::Mqueue)?);
    let posix = record.get("class") == Some("posix_mqueue");
    rule.conditions.push(condition("type", if posix { "posix" } else { "sysv" }));
    rule.name = record.get("name").map(|n| Value::new(aare::escape(n)));
    Some(RuleKind::Class(rule))
}

fn dbus_rule(record: &Record) -> Option<RuleKind> {
    let mut rule = class_rule(Class::Dbus, perms(record.denied()?, Class::Dbus)?);
    let bind = rule.perms.intersects(ClassPerms::BIND);
    let keys: &[&str] = if bind { &["bus", "name"] } else { &["bus", "path", "interface", "member"] };
    for key in keys {
        rule.conditions.extend(record.get(key).map(|value| condition(key, value)));
    }
    if !bind {
        rule.peer.extend(record.peer().map(|label| condition("label", label)));
    }
    Some(RuleKind::Class(rule))
}

fn class_rule(class: Class, perms: ClassPerms) -> ClassRule {
    ClassRule { class, perms, name: None, conditions: Vec::new(), peer: Vec::new() }
}

fn condition(key: &str, value: &str) -> Condition {
    // An abstract address begins with "@", which is no variable there.
    let text = match value.strip_prefix('@') {
        Some(rest) => format!("@{}", aare::escape(rest)),
        None => aare::escape(value),
    };
    Condition {
        key: key.to_owned(),
        op: ConditionOp::Equals,
        values: vec![Value::new(text)],
        list: false,
        range: TextRange::default(),
    }
}

/// The permissions of a mask of words.
fn perms(mask: &str, class: Class) -> Option<ClassPerms> {
    let allowed = class.permissions();
    let mut bits = 0;
    for word in mask.split([' ', ',']).filter(|w| !w.is_empty()) {
        bits |= ClassPerms::WORDS.iter().find(|(bit, w)| *w == word && bit & allowed.0 != 0)?.0;
    }
    (bits != 0).then_some(ClassPerms(bits))
}
