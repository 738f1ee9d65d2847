//! Walks the tree once for the variables and once for the profiles.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use spo_model::Severity;

use super::{
    FlatProfile, FlatRule, IncludeCache, Origin, Resolver, Unit,
    cache::ReadFile,
    diagnostic_at, plain,
    variables::{Variables, next_variable},
};
use crate::{
    ParseOptions, TextRange, aare,
    parse::Parsed,
    tree::{
        Alias, AssignValue, Condition, IncludeTarget, Item, Policy, Prefix, Profile, ProfileKind, Rule,
        RuleKind, Value,
    },
};

/// The nesting of includes that is followed.
const MAX_INCLUDE_DEPTH: usize = 64;
/// The most included texts of one unit.
const MAX_INCLUDES: usize = 5_000;
/// The longest pattern, twice what the kernel takes as a path.
const MAX_GLOB: usize = 8192;
/// The most flat rules of one unit.
const MAX_RULES: usize = 400_000;

pub(super) fn flatten(
    text: &str,
    parsed: Parsed,
    resolver: &dyn Resolver,
    options: ParseOptions,
    includes_read: &mut IncludeCache,
) -> Unit {
    let mut walk = Walk {
        unit: Unit { files: vec![String::new()], abi: None, ..Unit::default() },
        text,
        resolver,
        options,
        variables: Variables::default(),
        globals: Variables::default(),
        assigned: BTreeMap::new(),
        used: BTreeSet::new(),
        aliases: Vec::new(),
        stack: Vec::new(),
        files: vec![None],
        includes_read,
        cache: BTreeMap::new(),
        rules: 0,
        includes: 0,
    };
    walk.unit.needs = parsed.needs;
    walk.unit.diagnostics = parsed.diagnostics;
    if walk.unit.is_ok() {
        walk.preamble(&parsed.policy, 0);
        walk.globals = walk.variables.clone();
        walk.profiles(&parsed.policy, 0);
        walk.finish();
    }
    walk.unit
}

struct Walk<'a> {
    unit: Unit,
    text: &'a str,
    resolver: &'a dyn Resolver,
    options: ParseOptions,
    variables: Variables,
    /// The variables of the preamble.
    globals: Variables,
    assigned: BTreeMap<String, Origin>,
    used: BTreeSet<String>,
    aliases: Vec<Alias>,
    /// The files that are being read.
    stack: Vec<u32>,
    /// The included files by their number.
    files: Vec<Option<Loaded>>,
    /// What was read before.
    includes_read: &'a mut IncludeCache,
    /// Parsed files by kind (whole file or rules) and name.
    cache: BTreeMap<(bool, String), Loaded>,
    rules: usize,
    includes: usize,
}

/// A file of the unit: its number and what was read.
#[derive(Clone)]
struct Loaded {
    file: u32,
    read: Arc<ReadFile>,
}

impl Walk<'_> {
    fn origin(&self, range: TextRange, file: u32) -> Origin {
        // The lines of the text itself are counted by whoever shows them.
        let line = match self.files.get(file as usize) {
            Some(Some(loaded)) => {
                let starts = &loaded.read.lines;
                u32::try_from(starts.partition_point(|s| *s <= range.start)).unwrap_or(0)
            }
            _ => 0,
        };
        Origin { file, range, line }
    }

    fn report(&mut self, code: &str, message: String, origin: Origin) {
        if self.unit.diagnostics.len() < 200 {
            let diagnostic =
                diagnostic_at(Severity::Error, code, message, origin, &self.unit.files, self.text);
            self.unit.diagnostics.push(diagnostic);
        }
    }

    /// Assignments, aliases and abi, in the order in which they are read.
    fn preamble(&mut self, policy: &Policy, file: u32) {
        for item in &policy.items {
            match item {
                Item::Abi(abi) => {
                    self.check_abi(&abi.target, self.origin(abi.range, file));
                    self.unit.abi.get_or_insert_with(|| abi.clone());
                }
                Item::Alias(alias) => self.aliases.push(alias.clone()),
                Item::Assign(assign) => {
                    let result = match &assign.value {
                        AssignValue::Set(values) => {
                            for value in values {
                                self.note_use(&value.text);
                            }
                            self.variables.assign_set(&assign.name, assign.op, values)
                        }
                        AssignValue::Bool(expr) => self.variables.assign_bool(&assign.name, assign.op, expr),
                    };
                    let origin = self.origin(assign.range, file);
                    if matches!(assign.value, AssignValue::Set(_)) {
                        self.assigned.entry(assign.name.clone()).or_insert(origin);
                    }
                    if let Err(message) = result {
                        self.report("bad-assignment", message, origin);
                    }
                }
                Item::Include(include) => {
                    let origin = self.origin(include.range, file);
                    if include.hash {
                        self.unit.hash_includes.push(origin);
                    }
                    for loaded in self.open(&include.target, include.if_exists, false, origin) {
                        self.stack.push(loaded.file);
                        self.preamble(&loaded.read.parsed.policy, loaded.file);
                        self.stack.pop();
                    }
                }
                _ => {}
            }
        }
    }

    fn check_abi(&mut self, target: &IncludeTarget, origin: Origin) {
        let built_in = matches!(target, IncludeTarget::System(name) if name == "kernel" || name == "default");
        if !built_in && !self.resolver.has_abi(target) {
            self.report("abi-missing", format!("there is no abi file {:?}", target.path()), origin);
        }
    }

    fn profiles(&mut self, policy: &Policy, file: u32) {
        for item in &policy.items {
            match item {
                Item::Profile(profile) => self.profile(profile, None, file),
                Item::Include(include) => {
                    let origin = self.origin(include.range, file);
                    for loaded in self.open(&include.target, true, false, origin) {
                        self.stack.push(loaded.file);
                        self.profiles(&loaded.read.parsed.policy, loaded.file);
                        self.stack.pop();
                    }
                }
                _ => {}
            }
        }
    }

    /// The trees of an include; a file that is being read already is passed over.
    fn open(&mut self, target: &IncludeTarget, if_exists: bool, body: bool, origin: Origin) -> Vec<Loaded> {
        self.includes += 1;
        if self.stack.len() >= MAX_INCLUDE_DEPTH || self.includes > MAX_INCLUDES {
            self.report(
                "too-many-includes",
                "includes are nested too deeply or are too many".to_owned(),
                origin,
            );
            return Vec::new();
        }
        let Some(list) = self.resolver.resolve(target) else {
            if !if_exists {
                self.report("include-missing", format!("there is no file {:?}", target.path()), origin);
            }
            return Vec::new();
        };
        let mut loaded = Vec::new();
        for included in list {
            let key = (body, included.name);
            if let Some(known) = self.cache.get(&key) {
                if !self.stack.contains(&known.file) {
                    loaded.push(known.clone());
                }
                continue;
            }
            let parsed = self.includes_read.read(body, &key.1, &included.text, self.options);
            let file = u32::try_from(self.unit.files.len()).unwrap_or(u32::MAX);
            self.unit.files.push(key.1.clone());
            for mut diagnostic in parsed.parsed.diagnostics.iter().cloned() {
                let place =
                    diagnostic.span.take().map_or(String::new(), |s| format!("{}:{}: ", s.line, s.column));
                diagnostic.message = format!("{}:{place}{}", key.1, diagnostic.message);
                if self.unit.diagnostics.len() < 200 {
                    self.unit.diagnostics.push(diagnostic);
                }
            }
            let needs = parsed.parsed.needs.iter();
            self.unit.needs.extend(needs.map(|need| crate::parse::Need { range: origin.range, ..*need }));
            let entry = Loaded { file, read: parsed };
            self.files.push(Some(entry.clone()));
            self.cache.insert(key, entry.clone());
            loaded.push(entry);
        }
        loaded
    }

    fn profile(&mut self, profile: &Profile, parent: Option<usize>, file: u32) {
        let origin = self.origin(profile.head, file);
        let names = self.expand(&profile.name, origin);
        let Some(own) = names.first().cloned() else { return };
        if profile.kind == ProfileKind::Path
            && profile.namespace.is_none()
            && !names.iter().all(|n| n.starts_with('/'))
        {
            self.report("bad-name", format!("the name {own:?} is no path"), origin);
        }
        let attachments = match &profile.attachment {
            Some(value) => {
                let list = self.expand(value, origin);
                if !list.iter().all(|a| a.starts_with('/')) {
                    self.report(
                        "bad-attachment",
                        format!("the attachment {:?} is no path", value.text),
                        origin,
                    );
                }
                list
            }
            None if profile.kind == ProfileKind::Hat => Vec::new(),
            None => names.iter().filter(|n| n.starts_with('/')).cloned().collect(),
        };
        for glob in &attachments {
            self.check_glob(glob, origin);
        }
        let name = match parent.and_then(|p| self.unit.profiles.get(p)) {
            Some(parent) => format!("{}//{own}", parent.name),
            None => own,
        };
        let duplicate = self
            .unit
            .profiles
            .iter()
            .any(|p| p.name == name && p.namespace == profile.namespace && p.parent == parent);
        if duplicate {
            self.report("duplicate-profile", format!("there is a second profile {name:?}"), origin);
        }
        let flags: Vec<String> = profile.flags.iter().flatten().map(|f| f.text.clone()).collect();
        for flag in &flags {
            let Some((_, path)) = flag.split_once("path=").or_else(|| flag.split_once("ipc=")) else {
                continue;
            };
            let value = Value::new(path);
            if !self.expand(&value, origin).iter().all(|p| p.starts_with('/')) {
                self.report("bad-flag", format!("the path of the flag {flag:?} is not absolute"), origin);
            }
        }
        let index = self.unit.profiles.len();
        self.unit.profiles.push(FlatProfile {
            name: name.clone(),
            namespace: profile.namespace.clone(),
            parent,
            kind: profile.kind,
            attachments: attachments.clone(),
            flags,
            rules: Vec::new(),
            includes: Vec::new(),
            origin,
        });
        // A child knows the variables of the text, not those that its parent got from its own header.
        let outer = std::mem::replace(&mut self.variables, self.globals.clone());
        self.variables.set_auto("profile_name", vec![name]);
        if !attachments.is_empty() {
            self.variables.set_auto("attach_path", attachments.clone());
            self.variables.set_auto("exec_path", attachments);
        }
        self.body(&profile.items, index, file, Prefix::default());
        self.variables = outer;
    }

    fn body(&mut self, items: &[Item], profile: usize, file: u32, prefix: Prefix) {
        for item in items {
            match item {
                Item::Rule(rule) => self.rule(rule, profile, file, prefix),
                Item::Block(block) => {
                    let mut inner = block.prefix;
                    inner.audit |= prefix.audit;
                    inner.access = inner.access.or(prefix.access);
                    inner.owner = inner.owner.or(prefix.owner);
                    self.body(&block.items, profile, file, inner);
                }
                Item::Profile(child) => self.profile(child, Some(profile), file),
                Item::If(condition) => {
                    let origin = self.origin(condition.range, file);
                    match self.variables.eval(&condition.condition) {
                        Ok(true) => self.body(&condition.then, profile, file, prefix),
                        Ok(false) => {
                            if let Some(items) = &condition.otherwise {
                                self.body(items, profile, file, prefix);
                            }
                        }
                        Err(message) => self.report("bad-condition", message, origin),
                    }
                }
                Item::Include(include) => {
                    let origin = self.origin(include.range, file);
                    if include.hash {
                        self.unit.hash_includes.push(origin);
                    }
                    let path = include.target.path().to_owned();
                    if let Some(p) = self.unit.profiles.get_mut(profile) {
                        p.includes.push((path, origin));
                    }
                    for loaded in self.open(&include.target, include.if_exists, true, origin) {
                        self.stack.push(loaded.file);
                        self.body(&loaded.read.parsed.policy.items, profile, loaded.file, prefix);
                        self.stack.pop();
                    }
                }
                Item::Abi(abi) => self.check_abi(&abi.target, self.origin(abi.range, file)),
                Item::Alias(_) | Item::Assign(_) => {}
            }
        }
    }

    fn rule(&mut self, rule: &Rule, profile: usize, file: u32, outer: Prefix) {
        let origin = self.origin(rule.range, file);
        let mut prefix = rule.prefix;
        if let (Some(inner), Some(block)) = (prefix.access, outer.access)
            && inner != block
        {
            self.report(
                "prefix-conflict",
                "the rule and its block disagree on allow and deny".to_owned(),
                origin,
            );
        }
        prefix.audit |= outer.audit;
        prefix.access = prefix.access.or(outer.access);
        if matches!(rule.kind, RuleKind::File(_) | RuleKind::Link(_)) {
            prefix.owner = prefix.owner.or(outer.owner);
        }
        let source = self.rules;
        if self.is_plain(&rule.kind, origin) {
            self.push(profile, Rule { prefix, kind: rule.kind.clone(), range: rule.range }, source, origin);
            return;
        }
        for kind in self.expand_kind(&rule.kind, origin) {
            if !self.push(profile, Rule { prefix, kind, range: rule.range }, source, origin) {
                return;
            }
        }
    }

    /// Adds a rule to a profile; `false` when there are too many.
    fn push(&mut self, profile: usize, rule: Rule, source: usize, origin: Origin) -> bool {
        self.rules += 1;
        if self.rules > MAX_RULES {
            if self.rules == MAX_RULES + 1 {
                self.report("too-many-rules", format!("more than {MAX_RULES} rules after expansion"), origin);
            }
            return false;
        }
        if let Some(p) = self.unit.profiles.get_mut(profile) {
            p.rules.push(FlatRule { rule, source, origin });
        }
        true
    }

    /// Whether nothing in the rule expands, which is true of most; its globs are checked then.
    fn is_plain(&mut self, kind: &RuleKind, origin: Origin) -> bool {
        match kind {
            RuleKind::Capability(_) | RuleKind::Rlimit(_) | RuleKind::All => true,
            RuleKind::Network(rule) => rule.conditions.is_empty() && rule.peer.is_empty(),
            RuleKind::File(file) => {
                let Some(path) = &file.path else { return true };
                let plain = |text: &str| !text.contains("@{");
                if !self.aliases.is_empty()
                    || !plain(&path.text)
                    || path.text.contains("//")
                    || !file.target.as_ref().is_none_or(|t| plain(&t.text))
                {
                    return false;
                }
                self.check_glob(&path.text, origin);
                true
            }
            _ => false,
        }
    }

    /// The rule once per combination of its variables' values.
    fn expand_kind(&mut self, kind: &RuleKind, origin: Origin) -> Vec<RuleKind> {
        match kind {
            RuleKind::File(file) => {
                let Some(path) = &file.path else { return vec![kind.clone()] };
                let paths = self.paths(path, origin);
                let targets = match &file.target {
                    Some(target) => self.expand(target, origin).into_iter().map(Some).collect(),
                    None => vec![None],
                };
                let mut list = Vec::with_capacity(paths.len());
                for p in &paths {
                    for t in &targets {
                        let mut copy = file.clone();
                        copy.path = Some(plain(p.clone(), path.range));
                        copy.target = t.clone().map(|t| plain(t, origin.range));
                        list.push(RuleKind::File(copy));
                    }
                }
                list
            }
            RuleKind::Link(link) => {
                let links = self.paths(&link.link, origin);
                let targets = self.paths(&link.target, origin);
                let mut list = Vec::new();
                for l in &links {
                    for t in &targets {
                        let mut copy = link.clone();
                        copy.link = plain(l.clone(), link.link.range);
                        copy.target = plain(t.clone(), link.target.range);
                        list.push(RuleKind::Link(copy));
                    }
                }
                list
            }
            RuleKind::Network(rule) => {
                let mut rule = rule.clone();
                self.expand_conditions(&mut rule.conditions, origin);
                self.expand_conditions(&mut rule.peer, origin);
                vec![RuleKind::Network(rule)]
            }
            RuleKind::Class(rule) => {
                let mut rule = rule.clone();
                self.expand_conditions(&mut rule.conditions, origin);
                self.expand_conditions(&mut rule.peer, origin);
                let names = rule.name.as_ref().map(|n| self.globs(n, origin));
                match names {
                    Some(names) => names
                        .into_iter()
                        .map(|n| {
                            let mut copy = rule.clone();
                            copy.name = Some(plain(n, origin.range));
                            RuleKind::Class(copy)
                        })
                        .collect(),
                    None => vec![RuleKind::Class(rule)],
                }
            }
            RuleKind::Mount(rule) => {
                let mut base = rule.clone();
                self.expand_conditions(&mut base.conditions, origin);
                let sources = self.optional_globs(rule.source.as_ref(), origin);
                let targets = self.optional_globs(rule.target.as_ref(), origin);
                let mut list = Vec::new();
                for s in &sources {
                    for t in &targets {
                        let mut copy = base.clone();
                        copy.source.clone_from(s);
                        copy.target.clone_from(t);
                        list.push(RuleKind::Mount(copy));
                    }
                }
                list
            }
            RuleKind::PivotRoot(rule) => {
                let mut base = rule.clone();
                self.expand_conditions(&mut base.conditions, origin);
                self.optional_globs(rule.new_root.as_ref(), origin)
                    .into_iter()
                    .map(|new_root| {
                        let mut copy = base.clone();
                        copy.new_root = new_root;
                        RuleKind::PivotRoot(copy)
                    })
                    .collect()
            }
            RuleKind::ChangeProfile(rule) => {
                let execs = self.optional_globs(rule.exec.as_ref(), origin);
                let targets = self.optional_globs(rule.target.as_ref(), origin);
                let mut list = Vec::new();
                for e in &execs {
                    for t in &targets {
                        let mut copy = rule.clone();
                        copy.exec.clone_from(e);
                        copy.target.clone_from(t);
                        list.push(RuleKind::ChangeProfile(copy));
                    }
                }
                list
            }
            RuleKind::Capability(_) | RuleKind::Rlimit(_) | RuleKind::All => vec![kind.clone()],
        }
    }

    fn expand_conditions(&mut self, list: &mut [Condition], origin: Origin) {
        for condition in list {
            let range = condition.range;
            let mut values = Vec::with_capacity(condition.values.len());
            for value in &condition.values {
                values.extend(self.globs(value, origin).into_iter().map(|v| plain(v, range)));
            }
            condition.values = values;
        }
    }

    fn optional_globs(&mut self, value: Option<&Value>, origin: Origin) -> Vec<Option<Value>> {
        match value {
            Some(value) => {
                self.globs(value, origin).into_iter().map(|t| Some(plain(t, value.range))).collect()
            }
            None => vec![None],
        }
    }

    fn globs(&mut self, value: &Value, origin: Origin) -> Vec<String> {
        let list = self.expand(value, origin);
        for glob in &list {
            self.check_glob(glob, origin);
        }
        list
    }

    /// Expansions of a path, with double slashes collapsed and the aliased spellings behind.
    fn paths(&mut self, value: &Value, origin: Origin) -> Vec<String> {
        let mut list = self.expand(value, origin);
        for path in &mut list {
            if path.contains("//") {
                *path = aare::collapse_slashes(path);
            }
        }
        for alias in &self.aliases {
            let aliased: Vec<_> = list
                .iter()
                .filter_map(|p| {
                    p.strip_prefix(&alias.from.text).map(|rest| format!("{}{rest}", alias.to.text))
                })
                .collect();
            list.extend(aliased);
        }
        for path in &list {
            self.check_glob(path, origin);
        }
        list
    }

    fn check_glob(&mut self, glob: &str, origin: Origin) {
        if glob.len() > MAX_GLOB {
            self.report("bad-glob", format!("a pattern of more than {MAX_GLOB} bytes"), origin);
        }
        // Most words hold no character that could be wrong.
        if glob.bytes().any(|b| matches!(b, b'{' | b'}' | b'[' | b']' | b'\\'))
            && let Err(e) = aare::Aare::parse(glob)
        {
            self.report("bad-glob", format!("{glob:?}: {e}"), origin);
        }
    }

    fn expand(&mut self, value: &Value, origin: Origin) -> Vec<String> {
        self.note_use(&value.text);
        match self.variables.expand(&value.text) {
            Ok(list) => list,
            Err(message) => {
                self.report("bad-variable", message, origin);
                Vec::new()
            }
        }
    }

    fn note_use(&mut self, text: &str) {
        let mut rest = text;
        while let Some((_, name, after)) = next_variable(rest) {
            if !self.used.contains(name) {
                self.used.insert(name.to_owned());
            }
            rest = after;
        }
    }

    fn finish(&mut self) {
        let unused: Vec<_> = self
            .variables
            .names()
            .filter(|name| !self.used.contains(*name))
            .filter_map(|name| self.assigned.get(name).map(|origin| (name.clone(), *origin)))
            .collect();
        self.unit.unused_variables = unused;
    }
}
