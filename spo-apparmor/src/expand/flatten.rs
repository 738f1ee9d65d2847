//! Walks the tree once for the variables and once for the profiles.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use spo_model::Severity;

use super::{
    FlatProfile, FlatRule, IncludeCache, Origin, Resolver, Unit,
    cache::{ReadFile, World},
    diagnostic_at,
    variables::next_variable,
};
use crate::{
    ParseOptions, TextRange, aare,
    parse::Parsed,
    tree::{AssignValue, IncludeTarget, Item, Policy, Prefix, Profile, ProfileKind, Rule, RuleKind, Value},
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
    includes_read.prepare(options);
    let mut walk = Walk {
        unit: Unit { files: vec![String::new()], abi: None, ..Unit::default() },
        text,
        resolver,
        options,
        world: World::default(),
        assigned: BTreeMap::new(),
        used: BTreeSet::new(),
        stack: Vec::new(),
        files: vec![None],
        includes_read,
        numbers: HashMap::new(),
        rules: 0,
        includes: 0,
        problems: 0,
        preamble_read: false,
    };
    walk.unit.needs = parsed.needs;
    walk.unit.diagnostics = parsed.diagnostics;
    if walk.unit.is_ok() {
        walk.preamble(&parsed.policy, 0);
        let World { variables, aliases, .. } = std::mem::take(&mut walk.world);
        walk.world = walk.includes_read.world(variables, aliases);
        walk.preamble_read = true;
        walk.profiles(&parsed.policy, 0);
        walk.finish();
        let world = std::mem::take(&mut walk.world);
        walk.includes_read.keep(world);
    }
    walk.unit
}

pub(super) struct Walk<'a> {
    unit: Unit,
    text: &'a str,
    resolver: &'a dyn Resolver,
    options: ParseOptions,
    /// Variables, aliases, and what is known about rules under them.
    world: World,
    /// The set variables that the text itself assigns.
    assigned: BTreeMap<String, Origin>,
    used: BTreeSet<String>,
    /// The files that are being read.
    stack: Vec<u32>,
    /// The included files by their number.
    files: Vec<Option<Loaded>>,
    /// What was read before.
    includes_read: &'a mut IncludeCache,
    /// The number of each included file, by its place in memory; `files` keeps it there.
    numbers: HashMap<*const ReadFile, u32>,
    rules: usize,
    includes: usize,
    problems: usize,
    preamble_read: bool,
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
            Some(Some(loaded)) => loaded.read.line(range.start),
            _ => 0,
        };
        Origin { file, range, line }
    }

    fn report(&mut self, code: &str, message: String, origin: Origin) {
        self.report_with(code, message, None, origin);
    }

    fn report_with(&mut self, code: &str, message: String, help: Option<&str>, origin: Origin) {
        self.problems += 1;
        if self.unit.diagnostics.len() < 200 {
            let mut diagnostic =
                diagnostic_at(Severity::Error, code, message, origin, &self.unit.files, self.text);
            diagnostic.help = help.map(str::to_owned);
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
                Item::Alias(alias) => self.world.aliases.push((**alias).clone()),
                Item::Assign(assign) => {
                    let result = match &assign.value {
                        AssignValue::Set(values) => {
                            for value in values {
                                self.note_use(&value.text);
                            }
                            self.world.variables.assign_set(&assign.name, assign.op, values)
                        }
                        AssignValue::Bool(expr) => {
                            self.world.variables.assign_bool(&assign.name, assign.op, expr)
                        }
                    };
                    let origin = self.origin(assign.range, file);
                    if file == 0 && matches!(assign.value, AssignValue::Set(_)) {
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
                let message = format!("there is no file {:?}", target.path());
                let help = "write \"include if exists\" when it may be missing";
                self.report_with("include-missing", message, Some(help), origin);
            }
            return Vec::new();
        };
        let mut loaded = Vec::new();
        for included in list {
            let name = &included.name;
            let parsed = self.includes_read.read(body, name, &included.text);
            if let Some(file) = self.numbers.get(&Arc::as_ptr(&parsed)) {
                if !self.stack.contains(file) {
                    loaded.push(Loaded { file: *file, read: parsed });
                }
                continue;
            }
            let file = u32::try_from(self.unit.files.len()).unwrap_or(u32::MAX);
            self.unit.files.push(name.to_string());
            for mut diagnostic in parsed.parsed.diagnostics.iter().cloned() {
                let place =
                    diagnostic.span.take().map_or(String::new(), |s| format!("{}:{}: ", s.line, s.column));
                diagnostic.message = format!("{name}:{place}{}", diagnostic.message);
                if self.unit.diagnostics.len() < 200 {
                    self.unit.diagnostics.push(diagnostic);
                }
            }
            let needs = parsed.parsed.needs.iter();
            self.unit.needs.extend(needs.map(|need| crate::parse::Need { range: origin.range, ..*need }));
            let entry = Loaded { file, read: parsed };
            self.files.push(Some(entry.clone()));
            self.numbers.insert(Arc::as_ptr(&entry.read), file);
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
        let mut own = vec![("profile_name", vec![name])];
        if !attachments.is_empty() && self.options.version >= crate::tree::Version::V5_0 {
            own.push(("attach_path", attachments.clone()));
            own.push(("exec_path", attachments));
        }
        let outer = self.world.variables.set_own(own);
        self.body(&profile.items, index, file, Prefix::default());
        self.world.variables.set_own(outer);
    }

    fn body(&mut self, items: &[Item], profile: usize, file: u32, prefix: Prefix) {
        if let Some(p) = self.unit.profiles.get_mut(profile) {
            // Most statements are rules, and most of these become one flat rule.
            p.rules.reserve(items.len());
        }
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
                    match self.world.variables.eval(&condition.condition) {
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

    fn rule(&mut self, rule: &Arc<Rule>, profile: usize, file: u32, outer: Prefix) {
        // Nothing of the text itself is worth remembering, and whether its variables are used must be seen.
        let shared = file > 0 && outer.is_empty() && self.assigned.is_empty();
        if shared && let Some(known) = self.world.expansion(rule) {
            let origin = Origin { file, range: rule.range, line: known.line };
            let source = self.rules;
            let Some(p) = self.unit.profiles.get_mut(profile) else { return };
            if self.rules + known.rules.len() <= MAX_RULES {
                self.rules += known.rules.len();
                p.rules.extend(known.rules.iter().map(|r| FlatRule { rule: Arc::clone(r), source, origin }));
                return;
            }
        }
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
        let problems = self.problems;
        self.world.variables.take_met_own();
        let mut rules: Vec<Arc<Rule>> = Vec::with_capacity(1);
        if self.is_plain(&rule.kind, origin) {
            rules.push(if prefix == rule.prefix {
                Arc::clone(rule)
            } else {
                Arc::new(Rule { prefix, kind: rule.kind.clone(), range: rule.range })
            });
        } else {
            let kinds = self.expand_kind(&rule.kind, origin);
            rules.extend(kinds.into_iter().map(|kind| Arc::new(Rule { prefix, kind, range: rule.range })));
        }
        let own = self.world.variables.take_met_own();
        if shared && !own && self.problems == problems {
            self.world.remember(rule, origin.line, rules.clone().into());
        }
        let source = self.rules;
        for rule in rules {
            if !self.push(profile, rule, source, origin) {
                return;
            }
        }
    }

    /// Adds a rule to a profile; `false` when there are too many.
    fn push(&mut self, profile: usize, rule: Arc<Rule>, source: usize, origin: Origin) -> bool {
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
                let plain = |text: &str| !text.contains('@');
                if !self.world.aliases.is_empty()
                    || !plain(&path.text)
                    || path.text.contains("//")
                    || !file.target.as_ref().is_none_or(|t| plain(&t.text))
                {
                    return false;
                }
                self.check_glob(&path.text, origin);
                true
            }
            RuleKind::Class(rule) => {
                let values = || {
                    let conditions = rule.conditions.iter().chain(&rule.peer);
                    conditions.flat_map(|c| &c.values).chain(&rule.name)
                };
                if values().any(|v| v.text.contains('@')) {
                    return false;
                }
                values().for_each(|v| self.check_glob(&v.text, origin));
                true
            }
            _ => false,
        }
    }

    pub(super) fn globs(&mut self, value: &Value, origin: Origin) -> Vec<String> {
        let list = self.expand(value, origin);
        for glob in &list {
            self.check_glob(glob, origin);
        }
        list
    }

    /// Expansions of a path, with double slashes collapsed and the aliased spellings behind.
    pub(super) fn paths(&mut self, value: &Value, origin: Origin) -> Vec<String> {
        let mut list = self.expand(value, origin);
        for path in &mut list {
            if path.contains("//") {
                *path = aare::collapse_slashes(path);
            }
        }
        for alias in &self.world.aliases {
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
            && let Err(e) = aare::Aare::check(glob)
        {
            self.report("bad-glob", format!("{glob:?}: {e}"), origin);
        }
    }

    pub(super) fn expand(&mut self, value: &Value, origin: Origin) -> Vec<String> {
        self.note_use(&value.text);
        match self.world.variables.expand(&value.text) {
            Ok(list) => list,
            Err(message) => {
                if self.world.variables.lacks_one_of(&value.text) {
                    let help = "assign it, or \"include <tunables/global>\" in front of the profile";
                    self.report_with("undefined-variable", message, Some(help), origin);
                } else {
                    self.report("bad-variable", message, origin);
                }
                Vec::new()
            }
        }
    }

    fn note_use(&mut self, text: &str) {
        // Only variables of the text itself count, and behind the preamble these are known.
        if self.preamble_read && self.assigned.is_empty() {
            return;
        }
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
            .world
            .variables
            .names()
            .filter(|name| !self.used.contains(*name))
            .filter_map(|name| self.assigned.get(name).map(|origin| (name.clone(), *origin)))
            .collect();
        self.unit.unused_variables = unused;
    }
}
