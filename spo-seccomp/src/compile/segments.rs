//! The number line of one audit token, cut where the decision changes.

use spo_model::seccomp::{Arch, Errno};

use super::Weights;
use crate::{
    Policy, Verdict,
    decision::Id,
    figures::TYPICAL_MIX,
    policy::ArchPolicy,
    syscalls::{Syscall, X32_BIT},
};

/// All numbers from `start` to the next segment have one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: u32,
    pub(crate) target: Target,
}

/// Where a number leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A decision of the policy.
    Decision(Id),
    /// An answer that is not the policy's own: wrong architecture or `ENOSYS`.
    Fixed(u32),
}

/// A piece of the number line with its weight, what the tree search works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) target: Target,
    pub(crate) weight: u32,
}

pub(crate) struct Weighted {
    pub(crate) pieces: Vec<Piece>,
    /// Single numbers that matter so much that they may deserve a test of their own, heaviest first.
    pub(crate) points: Vec<(u32, u32)>,
}

/// The segments of the architectures that share a token, from 0 up.
pub(crate) fn segments(policy: &Policy, token: &[Arch], enosys: bool) -> Vec<Segment> {
    let covered = |arch: Arch| token.contains(&arch).then(|| policy.arches.get(&arch)).flatten();
    let mut line = Line { segments: Vec::new() };
    let bad = Target::Fixed(policy.bad_arch().raw());
    if !token.iter().any(|arch| matches!(arch, Arch::X86_64 | Arch::X32)) {
        if let Some((arch, own)) = token.first().and_then(|arch| Some((*arch, covered(*arch)?))) {
            let from = if zero_is_above(policy, arch, own, enosys) {
                line.push(0, Target::Fixed(ABOVE_CEILING.raw()));
                1
            } else {
                0
            };
            line.add(policy, own, from, enosys);
        }
        return line.segments;
    }
    match covered(Arch::X86_64) {
        Some(arch) => line.add(policy, arch, 0, enosys),
        None => line.push(0, bad),
    }
    match covered(Arch::X32) {
        Some(arch) => line.add(policy, arch, X32_BIT, enosys),
        None => line.push(X32_BIT, bad),
    }
    if let Some(arch) = covered(Arch::X86_64).or_else(|| covered(Arch::X32)) {
        line.push(u32::MAX, Target::Decision(arch.minus_one));
    }
    line.segments
}

/// The number above which an architecture answers `ENOSYS`, `None` where it does not.
pub(crate) fn ceiling(policy: &Policy, arch: &ArchPolicy, enosys: bool) -> Option<u32> {
    let denies = policy.store.verdict(arch.default).is_some_and(|verdict| !verdict.permits());
    arch.newest.filter(|_| enosys && denies)
}

/// Whether 0 counts as a number above the ceiling.
///
/// On s390 and s390x a system call whose number does not fit its instruction arrives as 0 with the number in register 1
/// (`arch/s390/kernel/syscall.c`). The number a filter sees is the one from the register, unless that is too large for
/// the table, when it stays 0. So 0 is a call newer than the kernel's table, and runc answers it like one.
pub(crate) fn zero_is_above(policy: &Policy, arch: Arch, own: &ArchPolicy, enosys: bool) -> bool {
    matches!(arch, Arch::S390 | Arch::S390x)
        && ceiling(policy, own, enosys).is_some()
        && own.call(0).is_none()
}

/// The answer above the ceiling.
pub(crate) const ABOVE_CEILING: Verdict = Verdict::errno(Errno::ENOSYS);

/// Segments with the weights of the numbers in them.
pub(crate) fn weighted(segments: &[Segment], token: &[Arch], weights: &Weights) -> Weighted {
    let mut calls: Vec<(u32, u64)> = Vec::new();
    for &arch in token {
        calls.extend(Syscall::of(arch).map(|(call, number)| (number, weight(call.name(), weights))));
    }
    calls.sort_unstable();
    calls.dedup_by_key(|call| call.0);
    let total: u64 = calls.iter().map(|call| call.1).sum::<u64>().max(1);
    // The costs of the search, weights times depth, stay below 2^32.
    let scaled = |weight: u64| {
        if total < SCALE { weight as u32 } else { (weight as f64 * SCALE as f64 / total as f64) as u32 }
    };
    let mut next = calls.iter().peekable();
    let mut pieces = Vec::with_capacity(segments.len());
    for (i, segment) in segments.iter().enumerate() {
        let end = segments.get(i + 1).map_or(u32::MAX, |next| next.start - 1);
        let mut weight = 0;
        while let Some(call) = next.next_if(|call| call.0 <= end) {
            weight += scaled(call.1);
        }
        pieces.push(Piece { start: segment.start, end, target: segment.target, weight });
    }
    let mut points: Vec<(u32, u32)> = Vec::new();
    if *weights != Weights::Uniform {
        points.extend(
            calls.iter().map(|call| (call.0, scaled(call.1))).filter(|p| u64::from(p.1) > SCALE / 64),
        );
        points.sort_by_key(|point| std::cmp::Reverse(point.1));
        points.truncate(8);
    }
    Weighted { pieces, points }
}

const SCALE: u64 = 1 << 16;

fn weight(name: &str, weights: &Weights) -> u64 {
    match weights {
        Weights::Uniform => 1,
        Weights::Typical => TYPICAL_MIX.iter().find(|(call, _)| *call == name).map_or(1, |(_, count)| *count),
        Weights::Counts(counts) => counts.get(name).copied().unwrap_or(0).clamp(1, 1 << 40),
    }
}

struct Line {
    segments: Vec<Segment>,
}

impl Line {
    fn add(&mut self, policy: &Policy, arch: &ArchPolicy, from: u32, enosys: bool) {
        let mut next = from;
        for call in &arch.calls {
            if call.number > next {
                self.push(next, Target::Decision(arch.default));
            }
            self.push(call.number, Target::Decision(call.decision));
            next = call.number.saturating_add(1);
        }
        self.push(next, Target::Decision(arch.default));
        // Nothing above the newest named number has a decision of its own.
        if let Some(above) = ceiling(policy, arch, enosys).and_then(|newest| newest.checked_add(1)) {
            self.push(above, Target::Fixed(ABOVE_CEILING.raw()));
        }
    }

    fn push(&mut self, start: u32, target: Target) {
        match self.segments.last_mut() {
            Some(last) if last.start == start => last.target = target,
            Some(last) if last.target == target => {}
            _ => self.segments.push(Segment { start, target }),
        }
        // An overwritten segment may have become equal to the one before.
        if let [.., a, b] = self.segments[..]
            && a.target == b.target
        {
            self.segments.pop();
        }
    }
}
