//! File rules → automaton with the decision of each accepting state.
//!
//! The decision rule is that of `libapparmor_re/hfa.cc`: per permission bit and per owner half, each rule
//! has the score 4·priority + {deny 3, exact path and bit x 2, allow 1, prompt 0}; the highest score counts,
//! and equal scores add up.

use std::collections::HashMap;

use crate::{
    aare::Aare,
    dfa::{Budget, Dfa, TooComplex},
    expand::{FlatProfile, Origin},
    tree::{Access, Exec, ExecKind, Fallback, FilePerms, FileRule, Owner, Prefix, RuleKind, Safety},
};

/// The targets of a link permission that names none.
pub(crate) const LINK_ANYWHERE: &str = "/[^/]**";

/// The file part of a profile, ready for questions.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The full name of the profile.
    pub name: String,
    pub(crate) dfa: Dfa,
    pub(crate) entries: Vec<Entry>,
    /// The entries of each glob of the automaton.
    pub(crate) of_glob: Vec<Vec<u32>>,
    /// Per set of globs: the decision for the owner's files and for those of others.
    pub(crate) decisions: Vec<[Decision; 2]>,
}

/// A rule as the automaton knows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The glob.
    pub path: String,
    /// The permissions, append with write.
    pub perms: FilePerms,
    /// How a program is executed.
    pub exec: Option<ExecOutcome>,
    /// Whose files.
    pub owner: Option<Owner>,
    /// Allow, deny or prompt.
    pub access: Access,
    /// Whether it is logged.
    pub audit: bool,
    /// The priority, 0 without one.
    pub priority: i32,
    /// Whether the path has no wildcard.
    pub exact: bool,
    /// With `l`: the target that a link rule names, `None` for any.
    pub link_target: Option<String>,
    /// With `l`: whether the name may be used for nothing that the target may not be used for.
    pub link_subset: bool,
    /// Index into the rules of the profile.
    pub rule: usize,
    /// The number of the written rule.
    pub source: usize,
    /// Where it was written.
    pub origin: Origin,
    pub(crate) glob: u32,
}

impl Entry {
    /// Whether the entry is about the half: index 0 the owner's files, 1 those of others.
    pub(crate) fn in_half(&self, half: usize) -> bool {
        match self.owner {
            None => true,
            Some(Owner::Owner) => half == 0,
            Some(Owner::Other) => half == 1,
        }
    }
}

/// How a program runs after exec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecOutcome {
    /// The mode.
    pub exec: Exec,
    /// The named profile.
    pub target: Option<String>,
}

/// Whose file is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The task's own.
    Owner,
    /// Somebody else's.
    Other,
}

impl Subject {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Owner, Self::Other];

    pub(crate) const fn half(self) -> usize {
        match self {
            Self::Owner => 0,
            Self::Other => 1,
        }
    }
}

/// What the kernel does at one accepting state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What is allowed.
    pub allow: FilePerms,
    /// What is denied by a rule.
    pub deny: FilePerms,
    /// What is logged although it is allowed.
    pub audit: FilePerms,
    /// What is denied without a log record.
    pub quiet: FilePerms,
    /// What a helper is asked about.
    pub prompt: FilePerms,
    /// How a program runs, when `x` is allowed.
    pub exec: Option<ExecOutcome>,
}

/// Why a profile has no automaton.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The patterns need too many states.
    #[error(transparent)]
    TooComplex(#[from] TooComplex),
    /// Two rules execute the same path in different ways.
    #[error("{first:?} and {second:?} execute {witness:?} in different ways")]
    ExecConflict {
        /// The glob of one rule.
        first: String,
        /// The glob of the other.
        second: String,
        /// A path that both match.
        witness: String,
    },
    /// A glob is malformed, which [`crate::load`] would have said.
    #[error("{path:?}: {source}")]
    BadGlob {
        /// The glob.
        path: String,
        /// What is wrong with it.
        source: crate::aare::AareError,
    },
}

impl Compiled {
    /// Compiles the file rules of a profile.
    ///
    /// # Errors
    /// When the automaton would outgrow the budget, or two rules of equal standing execute a path in
    /// different ways.
    pub fn new(profile: &FlatProfile, budget: Budget) -> Result<Self, CompileError> {
        let mut build = Build::default();
        for (index, flat) in profile.rules.iter().enumerate() {
            let mut add =
                |file: &FileRule, prefix: Prefix| build.file(file, prefix, index, flat.source, flat.origin);
            match &flat.rule.kind {
                RuleKind::File(file) => add(file, flat.rule.prefix)?,
                RuleKind::Link(link) => {
                    let file = FileRule {
                        path: Some(link.link.clone()),
                        perms: FilePerms::LINK,
                        target: Some(link.target.clone()),
                        subset: link.subset,
                        perms_first: true,
                        ..FileRule::default()
                    };
                    add(&file, flat.rule.prefix)?;
                }
                RuleKind::All => {
                    let all = FilePerms::ALL.without(FilePerms::EXEC);
                    add(&FileRule { perms: all, ..FileRule::default() }, flat.rule.prefix)?;
                    let exec =
                        FileRule { perms: FilePerms::EXEC, exec: Some(Exec::INHERIT), ..FileRule::default() };
                    let priority = Some(flat.rule.prefix.priority.unwrap_or(0) - 1);
                    add(&exec, Prefix { priority, ..flat.rule.prefix })?;
                }
                _ => {}
            }
        }
        build.finish(profile.name.clone(), budget)
    }

    /// What the kernel decides about a path.
    ///
    /// One step of the automaton per byte; the answer was computed when the profile was compiled.
    #[inline]
    pub fn decide(&self, path: &[u8], subject: Subject) -> &Decision {
        &self.decisions[self.dfa.set_index(path)][subject.half()]
    }

    /// The rules whose path matches.
    pub fn rules_at(&self, path: &[u8]) -> Vec<&Entry> {
        self.entries_of_set(self.dfa.set_index(path)).collect()
    }

    /// Every rule of the automaton.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of states of the automaton.
    pub fn states(&self) -> usize {
        self.dfa.len()
    }

    /// How many pairs of rules meet at some state: the work of comparing all with all.
    pub(crate) fn pairs(&self) -> u64 {
        (0..self.decisions.len()).map(|set| self.entries_of_set(set).count() as u64).map(|n| n * n).sum()
    }

    pub(crate) fn entries_of_set(&self, set: usize) -> impl Iterator<Item = &Entry> {
        self.dfa.sets()[set]
            .iter()
            .flat_map(|glob| &self.of_glob[*glob as usize])
            .map(|entry| &self.entries[*entry as usize])
    }
}

#[derive(Default)]
struct Build {
    globs: Vec<Aare>,
    numbers: HashMap<String, u32>,
    entries: Vec<Entry>,
}

impl Build {
    fn file(
        &mut self,
        file: &FileRule,
        prefix: Prefix,
        rule: usize,
        source: usize,
        origin: Origin,
    ) -> Result<(), CompileError> {
        let path = file.path.as_ref().map_or("/{**,}", |p| p.text.as_str());
        let glob = match self.numbers.get(path) {
            Some(number) => *number,
            None => {
                let aare = Aare::parse(path)
                    .map_err(|source| CompileError::BadGlob { path: path.to_owned(), source })?;
                let number = u32::try_from(self.globs.len()).unwrap_or(u32::MAX);
                self.globs.push(aare);
                self.numbers.insert(path.to_owned(), number);
                number
            }
        };
        let access = prefix.access.unwrap_or(Access::Allow);
        let exec = match (access, exec_of(file)) {
            (Access::Deny, _) | (_, None) => None,
            (_, Some((exec, target))) => Some(ExecOutcome { exec, target: target.map(str::to_owned) }),
        };
        // Behind a path, "->" names the profile after exec; behind "l" and a path, the target of the link.
        let link_target =
            file.target.as_ref().filter(|_| file.perms_first && file.perms.contains(FilePerms::LINK));
        self.entries.push(Entry {
            path: path.to_owned(),
            perms: file.perms.effective(),
            link_target: link_target.map(|t| t.text.clone()),
            link_subset: link_target.is_none() || file.subset,
            exec,
            owner: prefix.owner,
            access,
            audit: prefix.audit,
            priority: prefix.priority.unwrap_or(0),
            exact: self.globs[glob as usize].is_exact(),
            rule,
            source,
            origin,
            glob,
        });
        Ok(())
    }

    fn finish(self, name: String, budget: Budget) -> Result<Compiled, CompileError> {
        let dfa = Dfa::build(&self.globs.iter().collect::<Vec<_>>(), budget)?;
        let mut of_glob = vec![Vec::new(); self.globs.len()];
        for (i, entry) in self.entries.iter().enumerate() {
            of_glob[entry.glob as usize].push(u32::try_from(i).unwrap_or(u32::MAX));
        }
        let mut compiled = Compiled { name, dfa, entries: self.entries, of_glob, decisions: Vec::new() };
        let mut decisions = Vec::with_capacity(compiled.dfa.sets().len());
        for set in 0..compiled.dfa.sets().len() {
            let entries: Vec<&Entry> = compiled.entries_of_set(set).collect();
            let decide = |half| decide(&entries, half).map_err(|(a, b)| compiled.conflict(set, a, b));
            decisions.push([decide(0)?, decide(1)?]);
        }
        compiled.decisions = decisions;
        Ok(compiled)
    }
}

impl Compiled {
    fn conflict(&self, set: usize, first: &Entry, second: &Entry) -> CompileError {
        let witness = self.dfa.shortest().swap_remove(set).unwrap_or_default();
        CompileError::ExecConflict {
            first: first.path.clone(),
            second: second.path.clone(),
            witness: String::from_utf8_lossy(&witness).into_owned(),
        }
    }
}

/// The mode of a rule with `safe` and `unsafe` worked in, and the named profile.
pub(crate) fn exec_of(file: &FileRule) -> Option<(Exec, Option<&str>)> {
    let mut exec = file.exec?;
    match file.safety {
        Some(Safety::Safe) => exec.scrub = true,
        Some(Safety::Unsafe) => exec.scrub = false,
        None => {}
    }
    if exec.kind == ExecKind::Inherit {
        exec.scrub = false;
    }
    Some((exec, file.target.as_ref().map(|t| t.text.as_str())))
}

/// What wins for one permission bit.
#[derive(Clone, Copy)]
struct Bit {
    score: i64,
    allow: bool,
    deny: bool,
    prompt: bool,
    audit: bool,
    /// A deny that is not logged; one of them is enough.
    quiet: bool,
}

/// The decision of rules that match together, for one owner half.
fn decide<'a>(entries: &[&'a Entry], half: usize) -> Result<Decision, (&'a Entry, &'a Entry)> {
    let none = Bit { score: i64::MIN, allow: false, deny: false, prompt: false, audit: false, quiet: false };
    let mut bits = [none; 7];
    let mut winner: Option<&Entry> = None;
    for entry in entries.iter().filter(|e| e.in_half(half)) {
        let mut perms = entry.perms;
        let stays =
            |e: &ExecOutcome| e.exec.kind == ExecKind::Inherit || e.exec.fallback == Some(Fallback::Inherit);
        if entry.exec.as_ref().is_some_and(stays) {
            // What may run under this profile, if only as a fallback, may be mapped under it, too.
            perms = perms | FilePerms::MMAP;
        }
        for (index, bit) in bits.iter_mut().enumerate() {
            let perm = FilePerms::from_bits(1 << index);
            if !perms.contains(perm) {
                continue;
            }
            // A deny of links takes away pairs of name and target, see `links`; their log is a matter of pairs, too.
            let link_bit = perm == FilePerms::LINK;
            if link_bit && entry.access == Access::Deny {
                continue;
            }
            let exec_bit = perm == FilePerms::EXEC;
            let rank = match entry.access {
                Access::Deny => 3,
                Access::Allow if exec_bit && entry.exact => 2,
                Access::Allow => 1,
                Access::Prompt => 0,
            };
            let score = 4 * i64::from(entry.priority) + rank;
            if score < bit.score {
                continue;
            }
            if score > bit.score {
                *bit = Bit { score, ..none };
                if exec_bit {
                    winner = None;
                }
            }
            match entry.access {
                Access::Allow => bit.allow = true,
                Access::Deny => bit.deny = true,
                Access::Prompt => bit.prompt = true,
            }
            bit.audit |= entry.audit && entry.access != Access::Deny && !link_bit;
            bit.quiet |= !entry.audit && entry.access == Access::Deny;
            if exec_bit && entry.access != Access::Deny {
                match winner {
                    Some(other) if other.exec != entry.exec => return Err((other, entry)),
                    _ => winner = Some(entry),
                }
            }
        }
    }
    let mut decision = Decision::default();
    for (index, bit) in bits.iter().enumerate() {
        let perm = FilePerms::from_bits(1 << index);
        let mut put = |condition: bool, set: fn(&mut Decision) -> &mut FilePerms| {
            if condition {
                let slot = set(&mut decision);
                *slot = *slot | perm;
            }
        };
        put(bit.allow && !bit.deny, |d| &mut d.allow);
        put(bit.deny, |d| &mut d.deny);
        put(bit.prompt && !bit.deny, |d| &mut d.prompt);
        put(bit.audit && !bit.deny, |d| &mut d.audit);
        put(bit.deny && bit.quiet, |d| &mut d.quiet);
    }
    if decision.allow.contains(FilePerms::EXEC) {
        decision.exec = winner.and_then(|w| w.exec.clone());
    }
    Ok(decision)
}
