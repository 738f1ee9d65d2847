//! What changes from one filter to another, with a call that shows it.

use std::collections::BTreeSet;

use spo_model::seccomp::Arch;

use crate::{
    Policy, Verdict,
    arch::{ArchExt, Endian},
    bpf::Insn,
    compile::{
        segments::{self, Target},
        tokens,
    },
    decision::{Id, ImportMemo, Store},
    syscalls::Syscall,
    validate::{Mismatch, Reading},
};

/// The difference between two filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// All in all.
    pub relation: Relation,
    /// Calls that changed, by architecture and number; each direction of change once per call.
    pub changes: Vec<Change>,
    /// False when the conditions on arguments were too large to compare; the relation is `Incomparable` then, and the
    /// changes say nothing.
    pub complete: bool,
}

/// How the second filter relates to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same verdict on every call.
    Equal,
    /// Nothing permits more, something permits less.
    Stricter,
    /// Nothing permits less, something permits more.
    Looser,
    /// Some calls are permitted more, some less, or errno values differ.
    Incomparable,
}

/// A call whose verdict changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The architecture, `None` for one that neither filter names.
    pub arch: Option<Arch>,
    /// The number, with bit 30 for x32.
    pub number: u32,
    /// The name, `None` for a number without one, which stands for the unnamed numbers around it.
    pub name: Option<&'static str>,
    /// Arguments that show the change.
    pub args: [u64; 6],
    /// The verdict of the first filter.
    pub before: Verdict,
    /// The verdict of the second filter.
    pub after: Verdict,
    /// Whether the change depends on arguments.
    pub conditional: bool,
}

/// Compares two policies on all architectures that either covers.
///
/// Should the decisions over arguments be too large to compare, the result says so: [`Diff::complete`].
pub fn diff(before: &Policy, after: &Policy) -> Diff {
    let arches: BTreeSet<Arch> = before.architectures().chain(after.architectures()).collect();
    let arches: Vec<Arch> = arches.into_iter().collect();
    let mut store = Store::default();
    let mut memos = [ImportMemo::default(), ImportMemo::default()];
    let mut changes = Vec::new();
    for token in tokens(&arches) {
        let [a, b] = [(before, 0), (after, 1)]
            .map(|(policy, side)| line(policy, &token, &mut store, &mut memos[side]));
        compare(&mut store, &token, &a, &b, &mut changes);
    }
    let bad = [before.bad_arch(), after.bad_arch()].map(|verdict| vec![(0, store.leaf(verdict))]);
    compare(&mut store, &[], &bad[0], &bad[1], &mut changes);
    let found = Diff::new(changes);
    if store.is_full() { Diff { relation: Relation::Incomparable, complete: false, ..found } } else { found }
}

/// Compares two programs for some architectures, and for all others together.
///
/// # Errors
/// [`Mismatch`] when a program is malformed or uses instructions that filters do not need (the X register,
/// memory, arithmetic other than AND).
pub fn diff_programs(before: &[Insn], after: &[Insn], arches: &[Arch]) -> Result<Diff, Mismatch> {
    crate::bpf::verify(before)?;
    crate::bpf::verify(after)?;
    let endian = arches.first().map_or(Endian::Little, |arch| arch.endian());
    let mut changes = Vec::new();
    let mut store = Store::default();
    let tokens = tokens(arches);
    let constants: BTreeSet<u32> = before.iter().chain(after).map(|insn| insn.k).collect();
    let other = (1..).find(|token| !constants.contains(token)).unwrap_or_default();
    let mut places: Vec<(u32, &[Arch])> = tokens.iter().map(|t| (t[0].audit_token(), t.as_slice())).collect();
    places.push((other, &[]));
    for (audit, token) in places {
        let mut lines = Vec::new();
        for program in [before, after] {
            let mut reading = Reading::new(program, endian, store);
            let pieces = reading.pieces(audit);
            store = reading.store;
            lines.push(pieces?.iter().map(|piece| (piece.start, piece.decision)).collect::<Vec<_>>());
        }
        compare(&mut store, token, &lines[0], &lines[1], &mut changes);
    }
    if store.is_full() { Err(Mismatch::TooLarge) } else { Ok(Diff::new(changes)) }
}

impl Diff {
    fn new(changes: Vec<Change>) -> Self {
        let (mut looser, mut stricter, mut level) = (false, false, false);
        for change in &changes {
            match change.after.cmp_permissive(change.before) {
                std::cmp::Ordering::Greater => looser = true,
                std::cmp::Ordering::Less => stricter = true,
                std::cmp::Ordering::Equal => level = true,
            }
        }
        let relation = match (looser, stricter, level) {
            (false, false, false) => Relation::Equal,
            (true, false, false) => Relation::Looser,
            (false, true, false) => Relation::Stricter,
            _ => Relation::Incomparable,
        };
        Self { relation, changes, complete: true }
    }

    /// The changes that permit more.
    pub fn allowed(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|c| c.after.cmp_permissive(c.before).is_gt())
    }

    /// The changes that permit less.
    pub fn denied(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|c| c.after.cmp_permissive(c.before).is_lt())
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.arch, self.name) {
            (None, _) => f.write_str("other architectures")?,
            (Some(arch), Some(name)) => write!(f, "{arch} {name}")?,
            (Some(arch), None) => write!(f, "{arch} {:#x} and unnamed numbers near it", self.number)?,
        }
        if self.conditional {
            write!(f, "({})", self.args.map(|a| format!("{a:#x}")).join(", "))?;
        }
        write!(f, ": {} -> {}", self.before, self.after)
    }
}

type Line = Vec<(u32, Id)>;

fn line(policy: &Policy, token: &[Arch], store: &mut Store, memo: &mut ImportMemo) -> Line {
    let mut line: Line = segments::segments(policy, token, false)
        .into_iter()
        .map(|segment| match segment.target {
            Target::Decision(id) => (segment.start, store.import(&policy.store, id, memo)),
            Target::Fixed(verdict) => (segment.start, store.leaf(Verdict::from_raw(verdict))),
        })
        .collect();
    if line.is_empty() {
        line.push((0, store.leaf(policy.bad_arch())));
    }
    line
}

fn compare(store: &mut Store, token: &[Arch], a: &Line, b: &Line, changes: &mut Vec<Change>) {
    let starts: BTreeSet<u32> = a.iter().chain(b).map(|(start, _)| *start).collect();
    let at = |line: &Line, number: u32| {
        let index = line.partition_point(|(start, _)| *start <= number).saturating_sub(1);
        line.get(index).map(|(_, id)| *id)
    };
    let starts: Vec<u32> = starts.into_iter().collect();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).map_or(u32::MAX, |next| next - 1);
        let (Some(x), Some(y)) = (at(a, *start), at(b, *start)) else { continue };
        if x == y {
            continue;
        }
        let named: BTreeSet<(u32, Arch, &'static str)> = token
            .iter()
            .flat_map(|&arch| Syscall::of(arch).map(move |(call, number)| (number, arch, call.name())))
            .filter(|(number, ..)| (*start..=end).contains(number))
            .collect();
        for direction in 0..3u8 {
            let marked = store.apply(x, y, &|before: Verdict, after: Verdict| {
                let this = match after.cmp_permissive(before) {
                    std::cmp::Ordering::Greater => 0,
                    std::cmp::Ordering::Less => 1,
                    std::cmp::Ordering::Equal if after != before => 2,
                    std::cmp::Ordering::Equal => 3,
                };
                if this == direction { Verdict::ALLOW } else { Verdict::KILL_PROCESS }
            });
            let Some(args) = store.find(marked, &|verdict| verdict == Verdict::ALLOW) else { continue };
            let change = |arch, number, name| Change {
                arch,
                number,
                name,
                args,
                before: store.eval(x, &args),
                after: store.eval(y, &args),
                conditional: !marked.is_leaf(),
            };
            if named.is_empty() {
                changes.push(change(token.first().copied(), *start, None));
            }
            changes
                .extend(named.iter().map(|(number, arch, name)| change(Some(*arch), *number, Some(*name))));
        }
    }
}
