//! Text → the abstract body, as far as it can say it.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::apparmor::{
    AppArmorAbstract, Capabilities, Capability, Executable, Filesystem, Network, Protocols,
};

use crate::{
    TextRange,
    tree::{Exec, FilePerms, FileRule, Item, Profile, RuleKind},
};

/// Something that the abstract body has no field for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The rule or statement in canonical text.
    pub text: String,
    /// Why it does not fit.
    pub reason: &'static str,
    /// Where it stands.
    pub range: TextRange,
}

/// Puts the rules of a profile into the fields of the abstract body.
///
/// Gives the body and what it cannot say; without leftovers the body grants what the profile grants (the
/// includes of base and tunables, which every rendered body has, are no leftovers).
pub fn to_abstract(profile: &Profile) -> (AppArmorAbstract, Vec<Leftover>) {
    let mut take = Take::default();
    for item in &profile.items {
        take.item(item);
    }
    take.finish()
}

#[derive(Default)]
struct Take {
    exec: BTreeSet<String>,
    files: BTreeMap<String, FilePerms>,
    network: BTreeSet<&'static str>,
    capabilities: BTreeSet<Capability>,
    leftovers: Vec<Leftover>,
}

impl Take {
    fn leave(&mut self, text: String, reason: &'static str, range: TextRange) {
        self.leftovers.push(Leftover { text, reason, range });
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Rule(rule) => {
                let reason = if !rule.prefix.is_empty() {
                    Some("prefixes such as deny, owner and audit have no field")
                } else {
                    self.rule(&rule.kind).err()
                };
                if let Some(reason) = reason {
                    self.leave(rule.to_string(), reason, rule.range);
                }
            }
            Item::Include(include) if include.target.path() == "abstractions/base" => {}
            Item::Include(include) => {
                self.leave(include.to_string(), "includes have no field", include.range);
            }
            Item::Profile(child) => {
                self.leave(format!("profile {}", child.name), "children have no field", child.range);
            }
            Item::Block(block) => self.leave(block.prefix.to_string(), "blocks have no field", block.range),
            Item::If(condition) => self.leave("if".to_owned(), "conditions have no field", condition.range),
            Item::Abi(abi) => self.leave(format!("abi {}", abi.target), "the abi has no field", abi.range),
            Item::Alias(_) | Item::Assign(_) => {}
        }
    }

    fn rule(&mut self, kind: &RuleKind) -> Result<(), &'static str> {
        match kind {
            RuleKind::File(file) => self.file(file),
            RuleKind::Capability(names) if names.is_empty() => {
                self.capabilities.extend(Capability::ALL);
                Ok(())
            }
            RuleKind::Capability(names) => {
                for name in names {
                    self.capabilities.insert(name.text.parse().map_err(|_| "this capability has no name")?);
                }
                Ok(())
            }
            RuleKind::Network(rule)
                if rule.perms.is_empty() && rule.conditions.is_empty() && rule.peer.is_empty() =>
            {
                match (rule.family, rule.socket_type, rule.protocol) {
                    (None, Some("raw"), None) => self.network.insert("raw"),
                    (None, None, Some(protocol @ ("tcp" | "udp"))) => self.network.insert(protocol),
                    _ => return Err("only tcp, udp and raw for all families have a field"),
                };
                Ok(())
            }
            _ => Err("this class has no field"),
        }
    }

    fn file(&mut self, file: &FileRule) -> Result<(), &'static str> {
        let Some(path) = &file.path else { return Err("a rule for every file has no field") };
        if file.target.is_some() || file.safety.is_some() {
            return Err("named profiles and safe or unsafe have no field");
        }
        if file.perms.contains(FilePerms::EXEC) {
            if file.exec != Some(Exec::INHERIT) {
                return Err("only execution under the same profile has a field");
            }
            self.exec.insert(path.text.clone());
        }
        // Executables are readable and mappable with their field.
        let rest = file.perms.without(FilePerms::EXEC);
        let covered = FilePerms::READ | FilePerms::MMAP;
        if !file.perms.contains(FilePerms::EXEC) || !covered.contains(rest) {
            let entry = self.files.entry(path.text.clone()).or_default();
            *entry = *entry | rest;
        }
        Ok(())
    }

    fn finish(mut self) -> (AppArmorAbstract, Vec<Leftover>) {
        let write = FilePerms::WRITE | FilePerms::LINK | FilePerms::LOCK;
        let mut lists: [Vec<String>; 4] = Default::default();
        for (path, perms) in std::mem::take(&mut self.files) {
            let mut rest = perms;
            if rest.contains(FilePerms::MMAP) {
                lists[0].push(path.clone());
                rest = rest.without(
                    FilePerms::MMAP | if rest.intersects(write) { FilePerms::NONE } else { FilePerms::READ },
                );
            }
            if rest.is_empty() {
                continue;
            }
            if rest == FilePerms::READ {
                lists[1].push(path);
            } else if rest == write {
                lists[2].push(path);
            } else if rest == (write | FilePerms::READ) {
                lists[3].push(path);
            } else {
                let text = format!("{path} {rest},");
                self.leave(text, "the fields grant wlk together, with or without r", TextRange::default());
            }
        }
        let some = |list: Vec<String>| if list.is_empty() { None } else { Some(list) };
        let [libraries, read, write_only, read_write] = lists;
        let exec: Vec<String> = self.exec.into_iter().collect();
        let executable = (!exec.is_empty() || !libraries.is_empty())
            .then(|| Executable { allowed_executables: some(exec), allowed_libraries: some(libraries) });
        let filesystem =
            (!read.is_empty() || !write_only.is_empty() || !read_write.is_empty()).then(|| Filesystem {
                read_only_paths: some(read),
                write_only_paths: some(write_only),
                read_write_paths: some(read_write),
            });
        let has = |word: &str| self.network.contains(word).then_some(true);
        let network = (!self.network.is_empty()).then(|| Network {
            allow_raw: has("raw"),
            allowed_protocols: (has("tcp").is_some() || has("udp").is_some())
                .then(|| Protocols { allow_tcp: has("tcp"), allow_udp: has("udp") }),
        });
        let capability = (!self.capabilities.is_empty())
            .then(|| Capabilities { allowed_capabilities: Some(self.capabilities.into_iter().collect()) });
        (AppArmorAbstract { executable, filesystem, network, capability }, self.leftovers)
    }
}
