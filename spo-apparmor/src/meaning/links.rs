//! Hard links: which name may be linked to which target.
//!
//! The kernel decides a link in three steps (`aa_path_link` of `security/apparmor/file.c`): the new name must have
//! `l`; the name followed by a NUL byte and the target must be an allowed pair; and where the pair says so, what the
//! name may be used for must be a subset of what the target may be used for. A rule with `l` and no target makes
//! pairs with every target, always with the subset test; a `link` rule makes the pairs that it names, with the test
//! only where it says `subset`. A deny takes away pairs, never the `l` of the name alone.
//!
//! The automata of `apparmor_parser` (3.0.8) hold exactly these pairs, but for one thing: they ask for the subset test
//! only for the task's own files. We apply it to all, as the manual says, and so never call a link allowed that is not.

use std::collections::{HashMap, VecDeque};

use super::{Compiled, Decision, Entry, ExecOutcome, Side, Subject, Verdict, compile::LINK_ANYWHERE};
use crate::{
    aare::Aare,
    dfa::{Budget, DEAD, Dfa, START, TooComplex, samples_of, way_to},
    tree::{Access, FilePerms},
};

/// The pairs of names and targets of a profile, see [`Compiled::links`].
#[derive(Clone, Debug)]
pub struct Links<'a> {
    compiled: &'a Compiled,
    dfa: Dfa,
    /// The entries of the profile that are about links; their index is the number of their glob in the automaton.
    entries: Vec<&'a Entry>,
    decisions: Vec<[PairDecision; 2]>,
}

/// The answer to a question about a link.
#[derive(Clone, Debug)]
pub struct LinkAnswer<'a> {
    /// Whether the link may be made.
    pub verdict: Verdict,
    /// The rules about this pair of name and target.
    pub rules: Vec<&'a Entry>,
    /// Whether the permissions of the name must be a subset of those of the target.
    pub subset: bool,
    /// What the name may be used for and the target may not, where that is tested and the cause of the refusal.
    ///
    /// `x` is among them when both may be executed, but not in the same way.
    pub exceeds: FilePerms,
}

/// A link that only one of two profiles allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDifference {
    /// Who allows it.
    pub side: Side,
    /// Whose file the target is.
    pub subject: Subject,
    /// The name of the link, of a shortest pair.
    pub link: String,
    /// The target.
    pub target: String,
}

/// What is decided about a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PairDecision {
    pub(super) allow: bool,
    pub(super) deny: bool,
    subset: bool,
}

impl Compiled {
    /// Compiles the pairs of names and targets.
    ///
    /// # Errors
    /// When their automaton would outgrow the budget.
    ///
    /// ```
    /// use spo_apparmor::{NoIncludes, load, meaning::{Compiled, Subject, Verdict}};
    ///
    /// let text = "profile p {\n  link /a/* -> /data/**,\n  /b rl,\n  /data/x r,\n}\n";
    /// let unit = load(text, &NoIncludes, Default::default());
    /// let compiled = Compiled::new(&unit.profiles[0], Default::default()).unwrap();
    /// let links = compiled.links(Default::default()).unwrap();
    /// let may = |name, target| links.query(name, target, Subject::Owner).verdict;
    /// assert_eq!(may("/a/1", "/data/y"), Verdict::Allowed);
    /// assert_eq!(may("/a/1", "/etc/shadow"), Verdict::NotAllowed);
    /// // "/b" may be read, so its target must be readable, too.
    /// assert_eq!(may("/b", "/data/x"), Verdict::Allowed);
    /// assert_eq!(may("/b", "/etc/shadow"), Verdict::NotAllowed);
    /// ```
    pub fn links(&self, budget: Budget) -> Result<Links<'_>, TooComplex> {
        let entries: Vec<&Entry> =
            self.entries.iter().filter(|e| e.perms.contains(FilePerms::LINK)).collect();
        let pairs: Vec<Aare> = entries
            .iter()
            .map(|entry| {
                let glob = |text: &str| Aare::parse(text).unwrap_or_else(|_| Aare::nothing());
                let target = entry.link_target.as_deref().unwrap_or(LINK_ANYWHERE);
                glob(&entry.path).then_nul(&glob(target))
            })
            .collect();
        let dfa = Dfa::build(&pairs.iter().collect::<Vec<_>>(), budget)?;
        let decisions = dfa
            .sets()
            .iter()
            .map(|set| {
                let of_set = || set.iter().map(|i| entries[*i as usize]);
                [decide(of_set(), 0), decide(of_set(), 1)]
            })
            .collect();
        Ok(Links { compiled: self, dfa, entries, decisions })
    }
}

impl<'a> Links<'a> {
    /// May a link of this name to this target be made?
    pub fn query(&self, name: &str, target: &str, subject: Subject) -> LinkAnswer<'a> {
        let half = subject.half();
        let set = self.dfa.set_index(&[name.as_bytes(), b"\0", target.as_bytes()].concat());
        let pair = self.decisions[set][half];
        let of_name = self.compiled.decide(name.as_bytes(), subject);
        let of_target = self.compiled.decide(target.as_bytes(), subject);
        let exceeds = if pair.allow && pair.subset { exceeds(of_name, of_target) } else { FilePerms::NONE };
        let verdict = if pair.deny {
            Verdict::Denied
        } else if pair.allow && of_name.allow.contains(FilePerms::LINK) && exceeds.is_empty() {
            Verdict::Allowed
        } else {
            Verdict::NotAllowed
        };
        let rules = self.dfa.sets()[set]
            .iter()
            .map(|i| self.entries[*i as usize])
            .filter(|e| e.in_half(half))
            .collect();
        LinkAnswer { verdict, rules, subset: pair.subset, exceeds }
    }

    /// The rules about links.
    pub(super) fn entries(&self) -> &[&'a Entry] {
        &self.entries
    }

    /// Per set of pairs that some link reaches: the indices of its entries, what is decided, and a shortest link.
    pub(super) fn sets(&self) -> impl Iterator<Item = (&[u32], &[PairDecision; 2], String)> {
        let shortest = self.dfa.shortest();
        self.dfa.sets().iter().zip(&self.decisions).zip(shortest).filter_map(|((set, decision), word)| {
            let word = word?;
            Some((&**set, decision, String::from_utf8_lossy(&word).replace('\0', " -> ")))
        })
    }

    fn tests_subsets(&self) -> bool {
        self.decisions.iter().flatten().any(|d| d.subset)
    }
}

/// What is decided about a pair by the rules that match it, for one owner half.
pub(super) fn decide<'e>(entries: impl Iterator<Item = &'e Entry> + Clone, half: usize) -> PairDecision {
    // The pair and the subset test are two bits of the automaton, each with its own winner.
    let bit = |about: fn(&Entry) -> bool| {
        let mut best = (i64::MIN, false, false);
        for entry in entries.clone().filter(|e| e.in_half(half) && about(e)) {
            let rank = match entry.access {
                Access::Deny => 3,
                Access::Allow => 1,
                Access::Prompt => 0,
            };
            let score = 4 * i64::from(entry.priority) + rank;
            if score > best.0 {
                best = (score, false, false);
            }
            if score == best.0 {
                best.1 |= entry.access == Access::Allow;
                best.2 |= entry.access == Access::Deny;
            }
        }
        (best.1 && !best.2, best.2)
    };
    let (allow, deny) = bit(|_| true);
    let (subset, _) = bit(|e| e.link_subset);
    PairDecision { allow, deny, subset }
}

/// What a name may be used for and its target may not; the link itself does not count.
fn exceeds(name: &Decision, target: &Decision) -> FilePerms {
    let wanted = name.allow.without(FilePerms::LINK);
    let mut more = wanted.without(target.allow);
    if let (Some(x), Some(y)) = (&name.exec, &target.exec)
        && wanted.contains(FilePerms::EXEC)
        && !same_way(x, y)
    {
        more = more | FilePerms::EXEC;
    }
    more
}

/// Whether a program is executed by its link as it is by its target, or with a scrubbed environment.
fn same_way(link: &ExecOutcome, target: &ExecOutcome) -> bool {
    let scrubs = |e: &ExecOutcome| e.exec.scrub || e.exec.kind == crate::tree::ExecKind::Inherit;
    let same = (link.exec.kind, link.exec.fallback, &link.target)
        == (target.exec.kind, target.exec.fallback, &target.target);
    same && (scrubs(link) || !scrubs(target))
}

/// The links that only one of two profiles allows, with a shortest pair per side and subject.
///
/// # Errors
/// When the product of the automata outgrows the budget.
pub(super) fn link_differences(
    a: &Compiled,
    b: &Compiled,
    budget: Budget,
) -> Result<Vec<LinkDifference>, TooComplex> {
    let mut found: Vec<LinkDifference> = Vec::new();
    let any = |c: &Compiled| c.entries.iter().any(|e| e.perms.contains(FilePerms::LINK));
    if !any(a) && !any(b) {
        return Ok(found);
    }
    let sides = [a.links(budget)?, b.links(budget)?];
    // What name and target may be used for matters only where subsets are tested.
    let subsets = sides.iter().any(Links::tests_subsets);
    let first = if subsets { START } else { DEAD };
    let bytes = samples_of(&[&sides[0].dfa, &sides[1].dfa, &a.dfa, &b.dfa]);
    let start = State { pairs: [START, START], names: None, files: [first, first] };
    let mut back: HashMap<State, Option<(State, u8)>> = HashMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        if let Some(names) = state.names {
            for subject in Subject::BOTH {
                let [x, y] = [0, 1].map(|i| sides[i].allowed_at(state, i, names[i], subject));
                let side = if x { Side::First } else { Side::Second };
                if x != y && !found.iter().any(|d| d.side == side && d.subject == subject) {
                    let (link, target) = word_of(&back, state);
                    found.push(LinkDifference { side, subject, link, target });
                }
            }
        }
        for &byte in &bytes {
            let pairs = [0, 1].map(|i| sides[i].dfa.step(state.pairs[i], byte));
            if pairs == [DEAD, DEAD] {
                continue;
            }
            let files = [a.dfa.step(state.files[0], byte), b.dfa.step(state.files[1], byte)];
            let next = match state.names {
                None if byte == 0 => {
                    let names = [a.dfa.accept_of(state.files[0]), b.dfa.accept_of(state.files[1])];
                    State { pairs, names: Some(names), files: [first, first] }
                }
                names => State { pairs, names, files },
            };
            back.entry(next).or_insert_with(|| {
                queue.push_back(next);
                Some((state, byte))
            });
        }
        if back.len() > budget.states.saturating_mul(10) {
            return Err(TooComplex { states: back.len() });
        }
    }
    found.sort_by_key(|d| (d.side, d.subject));
    Ok(found)
}

/// Where a text "name NUL target" leads in the automata of two profiles.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    pairs: [u32; 2],
    /// The decisions about the name, once it is complete.
    names: Option<[usize; 2]>,
    /// The automata of files, at the name and then at the target.
    files: [u32; 2],
}

impl Links<'_> {
    fn allowed_at(&self, state: State, side: usize, name: usize, subject: Subject) -> bool {
        let pair = self.decisions[self.dfa.accept_of(state.pairs[side])][subject.half()];
        if !pair.allow || !pair.subset {
            return pair.allow;
        }
        let decision = |set: usize| &self.compiled.decisions[set][subject.half()];
        exceeds(decision(name), decision(self.compiled.dfa.accept_of(state.files[side]))).is_empty()
    }
}

fn word_of(back: &HashMap<State, Option<(State, u8)>>, state: State) -> (String, String) {
    let text = String::from_utf8_lossy(&way_to(back, state)).into_owned();
    text.split_once('\0').map_or((text.clone(), String::new()), |(l, t)| (l.to_owned(), t.to_owned()))
}
