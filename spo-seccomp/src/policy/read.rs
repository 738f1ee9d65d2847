//! From a profile to the policy it means.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use spo_model::seccomp::{Arch, ArgFilter, Op, SeccompProfileSpec, SyscallRule};

use super::{
    Applied, ArchPolicy, Call, Multiplexers, Options, Origin, Policy, PolicyError, Semantics, canonical_order,
};
use crate::{
    Verdict,
    arch::ArchExt,
    decision::{Comparison, Id, Store, Width},
    syscalls::{Param, Syscall},
};

/// A rule's conditions, `None` for an unconditional one.
type Conditions = Option<Arc<[(Comparison, Width)]>>;

/// Rules for calls that an architecture lacks.
type Absent = Vec<(Syscall, Applied)>;

/// One conjunction of one rule, for one number.
struct Entry {
    number: u32,
    rule: Applied,
}

impl Policy {
    /// The meaning of a profile on its own, without the base profile it may name.
    ///
    /// # Errors
    /// [`PolicyError`] when rules contradict each other under libseccomp's reading, or combine to something too
    /// large. Unknown names are no error here: see [`Policy::unknown_names`].
    pub fn from_profile(profile: &SeccompProfileSpec, options: &Options) -> Result<Self, PolicyError> {
        let default = Verdict::of(profile.default_action, profile.default_errno_ret);
        let mut policy = Self::uniform(default, []);
        policy.note_unknown_names(profile);
        for arch in architectures(profile, options) {
            let (entries, absent, newest) = entries(profile, options, arch, default);
            if options.semantics == Semantics::Libseccomp {
                refuse_contradictions(absent, arch)?;
            }
            let arch_policy = policy.decide_all(arch, entries, newest, default, options)?;
            policy.arches.insert(arch, arch_policy);
        }
        if policy.store.is_full() {
            return Err(PolicyError::TooComplex);
        }
        Ok(policy)
    }

    fn note_unknown_names(&mut self, profile: &SeccompProfileSpec) {
        for (index, rule) in profile.rules().iter().enumerate() {
            for name in rule.names.iter().filter(|name| !name.is_known()) {
                self.unknown.push((name.clone(), Origin { profile: 0, rule: index }));
            }
        }
    }

    fn decide_all(
        &mut self,
        arch: Arch,
        mut entries: Vec<Entry>,
        newest: Option<u32>,
        default: Verdict,
        options: &Options,
    ) -> Result<ArchPolicy, PolicyError> {
        entries.sort_by_key(|entry| entry.number);
        let default = self.store.leaf(default);
        let mut calls = Vec::with_capacity(entries.len());
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let number = first.number;
            let mut group = vec![first.rule];
            while let Some(more) = entries.next_if(|entry| entry.number == number) {
                group.push(more.rule);
            }
            if options.semantics == Semantics::Libseccomp && group.len() > 1 {
                let name = Syscall::by_number(arch, number).map_or("a call without a name", Syscall::name);
                group = libseccomp_rules(group, name, arch)?;
            }
            let decision = decide(&mut self.store, &group, default);
            let start = self.applied.len() as u32;
            self.applied.append(&mut group);
            calls.push(Call { number, decision, rules: start..self.applied.len() as u32 });
        }
        Ok(ArchPolicy { default, calls, newest, minus_one: default })
    }
}

impl Comparison {
    /// Whether the comparison holds.
    pub(crate) fn holds(self, width: Width, args: &[u64; 6]) -> bool {
        let argument = args[usize::from(self.index)];
        let argument = if width == Width::Low { argument & 0xffff_ffff } else { argument };
        match self.op {
            Op::NotEqual => argument != self.value,
            Op::LessThan => argument < self.value,
            Op::LessOrEqual => argument <= self.value,
            Op::Equal => argument == self.value,
            Op::GreaterOrEqual => argument >= self.value,
            Op::GreaterThan => argument > self.value,
            Op::MaskedEqual => argument & self.value == self.value & self.value_two,
        }
    }
}

/// The architectures a runtime would put into the filter, sorted, each once.
pub(super) fn architectures(profile: &SeccompProfileSpec, options: &Options) -> Vec<Arch> {
    let native = Arch::Native.resolve(options.native);
    let listed = profile.architectures.as_deref().unwrap_or_default();
    let mut arches: Vec<Arch> = listed.iter().map(|arch| arch.resolve(native)).collect();
    if options.always_native || arches.is_empty() {
        arches.push(native);
    }
    arches.sort_unstable();
    arches.dedup();
    arches
}

/// The decision of rules that are tried in order.
pub(crate) fn decide(store: &mut Store, rules: &[Applied], default: Id) -> Id {
    let mut decision = default;
    for rule in rules.iter().rev() {
        let verdict = store.leaf(rule.verdict);
        decision = match rule.conditions.as_deref() {
            None | Some([]) => verdict,
            Some(conditions) if decision.is_leaf() && distinct(conditions) => {
                conjunction(store, conditions, verdict, decision)
            }
            Some(conditions) => {
                let (yes, no) = (store.leaf(Verdict::ALLOW), store.leaf(Verdict::KILL_PROCESS));
                let mut holds = yes;
                for condition in conditions {
                    let one = conjunction(store, std::slice::from_ref(condition), yes, no);
                    holds = store.choose(one, holds, no);
                }
                store.choose(holds, verdict, decision)
            }
        };
    }
    decision
}

/// What the conditions of a rule compare for a syscall on an architecture, sorted by descending argument.
pub(super) fn conditions(
    filters: &[ArgFilter],
    call: Syscall,
    arch: Arch,
    number: u32,
    options: &Options,
) -> Vec<(Comparison, Width)> {
    let mut found: Vec<(Comparison, Width)> = filters
        .iter()
        .map(|filter| {
            let comparison = Comparison {
                index: filter.index.get(),
                op: filter.op,
                value: filter.value.0,
                value_two: if filter.op == Op::MaskedEqual { filter.value.0 & filter.value_two.0 } else { 0 },
            };
            width(comparison, call.param(comparison.index), arch, number, options)
        })
        // A mask without bits in the part that counts is no condition.
        .filter(|(c, width)| {
            let counts = if *width == Width::Low { c.value & 0xffff_ffff } else { c.value };
            c.op != Op::MaskedEqual || counts != 0 || c.value_two != 0
        })
        .collect();
    found.sort_by_key(|(c, _)| (std::cmp::Reverse(c.index), c.op, c.value, c.value_two));
    found.dedup();
    found
}

/// The rules for calls that an architecture has, those for calls that it lacks, and the largest number named.
fn entries(
    profile: &SeccompProfileSpec,
    options: &Options,
    arch: Arch,
    default: Verdict,
) -> (Vec<Entry>, Absent, Option<u32>) {
    let mut newest = None;
    let mut absent = Absent::new();
    let mut entries = Vec::new();
    for (index, rule) in profile.rules().iter().enumerate() {
        let verdict = Verdict::of(rule.action, rule.errno_ret);
        // runc and crun leave these out, because libseccomp refuses them.
        let idle = options.semantics == Semantics::Libseccomp && verdict == default;
        for call in rule.names.iter().filter_map(|name| Syscall::by_name(name.as_str())) {
            let number = call.number(arch);
            newest = newest.max(number);
            if idle {
                continue;
            }
            let origin = Origin { profile: 0, rule: index };
            for filters in conjunctions(rule, options.semantics) {
                let conditions = match filters {
                    [] => None,
                    filters => Some(conditions(filters, call, arch, number.unwrap_or(0), options)),
                };
                let conditions = conditions.filter(|c| !c.is_empty()).map(Arc::from);
                let rule = Applied { origin, verdict, conditions };
                match number {
                    Some(number) => entries.push(Entry { number, rule }),
                    None => absent.push((call, rule)),
                }
            }
            entries.extend(multiplexer_entry(call, arch, rule, verdict, origin, options));
        }
    }
    (entries, absent, newest)
}

/// libseccomp keeps rules for calls that an architecture lacks under pseudo numbers, and refuses contradictions among
/// them too.
fn refuse_contradictions(mut absent: Absent, arch: Arch) -> Result<(), PolicyError> {
    absent.sort_by_key(|(call, _)| call.name());
    for group in absent.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        let rules = group.iter().map(|(_, rule)| rule.clone()).collect();
        libseccomp_rules(rules, group[0].0.name(), arch)?;
    }
    Ok(())
}

fn multiplexer_entry(
    call: Syscall,
    arch: Arch,
    rule: &SyscallRule,
    verdict: Verdict,
    origin: Origin,
    options: &Options,
) -> Option<Entry> {
    let mux = call.multiplexed(arch)?;
    let conditional = !rule.conditions().is_empty();
    match options.multiplexers {
        Multiplexers::Skip => return None,
        Multiplexers::Deny if conditional && verdict.permits() => return None,
        _ => {}
    }
    let through = Syscall::by_name(mux.multiplexer)?;
    let comparison = Comparison { index: 0, op: Op::Equal, value: u64::from(mux.call), value_two: 0 };
    let width = if arch.is_32_bit() || !options.strict64 { Width::Low } else { Width::Full };
    let rule = Applied { origin, verdict, conditions: Some(Arc::from([(comparison, width)])) };
    Some(Entry { number: through.number(arch)?, rule })
}

/// The conjunctions of a rule: runtimes make every condition a rule of its own when an argument repeats.
fn conjunctions(rule: &SyscallRule, semantics: Semantics) -> Vec<&[ArgFilter]> {
    let filters = rule.conditions();
    let repeats = filters.iter().enumerate().any(|(i, a)| filters[..i].iter().any(|b| a.index == b.index));
    if semantics == Semantics::Libseccomp && repeats { filters.chunks(1).collect() } else { vec![filters] }
}

/// The bits of an argument that count, and the constant as it compares with them.
fn width(c: Comparison, param: Param, arch: Arch, number: u32, options: &Options) -> (Comparison, Width) {
    const WORD: u64 = 0xffff_ffff;
    let truncated = Comparison { value: c.value & WORD, value_two: c.value_two & WORD, ..c };
    if options.strict64 {
        return if arch.is_32_bit() { (truncated, Width::Low) } else { (c, Width::Full) };
    }
    // The x32 calls of its own table part are compat entry points, which take 32-bit arguments; the others are
    // the 64-bit entry points.
    let narrow_arch = arch.is_32_bit() && (arch != Arch::X32 || number & 0xffff >= 512);
    if !narrow_arch && param.bits > 32 {
        return (c, Width::Full);
    }
    // A negative number written with all its 64 bits means the same number with 32.
    let negative = |v: u64| v >= 0xffff_ffff_8000_0000;
    let extended = match c.op {
        Op::MaskedEqual => negative(c.value) && c.value & !WORD == c.value_two & !WORD,
        _ => negative(c.value),
    };
    (if extended { truncated } else { c }, Width::Low)
}

fn distinct(conditions: &[(Comparison, Width)]) -> bool {
    conditions.windows(2).all(|pair| pair[0].0.index != pair[1].0.index)
}

/// `all conditions ? yes : no` for conditions on distinct arguments in descending order and leaves as branches.
fn conjunction(store: &mut Store, conditions: &[(Comparison, Width)], yes: Id, no: Id) -> Id {
    conditions.iter().fold(yes, |id, (c, width)| store.compare(*c, *width, id, no))
}

/// What is left of a syscall's rules in libseccomp, in the order it tries them.
pub(super) fn libseccomp_rules(
    rules: Vec<Applied>,
    syscall: &str,
    arch: Arch,
) -> Result<Vec<Applied>, PolicyError> {
    let mut seen: HashMap<Conditions, (Verdict, usize)> = HashMap::new();
    let mut kept: Vec<Applied> = Vec::with_capacity(rules.len());
    for rule in rules {
        // An unconditional rule, the first of them, takes the place of what came before and absorbs what follows.
        if rule.conditions.is_none() {
            return Ok(vec![rule]);
        }
        match seen.entry(rule.conditions.clone()) {
            hash_map::Entry::Occupied(other) if other.get().0 == rule.verdict => {}
            hash_map::Entry::Occupied(other) => {
                return Err(PolicyError::Contradiction {
                    syscall: syscall.to_owned(),
                    arch,
                    first: other.get().1,
                    second: rule.origin.rule,
                });
            }
            hash_map::Entry::Vacant(free) => {
                free.insert((rule.verdict, rule.origin.rule));
                kept.push(rule);
            }
        }
    }
    Ok(canonical_order::sort(kept))
}
