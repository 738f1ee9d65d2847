//! Two profiles compared as languages.

use std::collections::BTreeSet;

use super::{Compiled, Decision, Grants, LinkDifference, Subject, links::link_differences};
use crate::{
    dfa::{Budget, TooComplex, walk_pairs},
    tree::FilePerms,
};

/// How the second profile stands to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Both grant the same.
    Equal,
    /// The second grants less.
    Stricter,
    /// The second grants more.
    Looser,
    /// Each grants something that the other does not.
    Incomparable,
}

/// Which of the two profiles alone has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

/// A permission that one profile gives for a path and the other does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    /// The permission.
    pub perm: FilePerms,
    /// Whose files.
    pub subject: Subject,
    /// Who gives it.
    pub side: Side,
    /// A shortest path.
    pub witness: String,
    /// For `x` that both allow: that the program runs in another way.
    pub exec_differs: bool,
}

/// A grant besides files that only one profile has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassDifference {
    /// Who has it.
    pub side: Side,
    /// The grant in words.
    pub grant: String,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The verdict over everything.
    pub relation: Relation,
    /// One witness per permission, subject and side.
    pub files: Vec<FileDifference>,
    /// The links that only one of them allows, one pair per subject and side.
    pub links: Vec<LinkDifference>,
    /// The grants that differ.
    pub classes: Vec<ClassDifference>,
}

/// Compares two profiles; what only the log shows (audit, quiet denies) does not count.
///
/// # Errors
/// When the product of the automata outgrows the budget.
///
/// ```
/// use spo_apparmor::{NoIncludes, load, meaning::{Compiled, Grants, Relation, diff}};
///
/// let read = |text| {
///     let unit = load(text, &NoIncludes, Default::default());
///     (Compiled::new(&unit.profiles[0], Default::default()).unwrap(), Grants::of(&unit.profiles[0]))
/// };
/// let (old, new) = (read("profile p {\n  /a/* r,\n}\n"), read("profile p {\n  /a/b r,\n}\n"));
/// let result = diff((&old.0, &old.1), (&new.0, &new.1), Default::default()).unwrap();
/// assert_eq!(result.relation, Relation::Stricter);
/// assert_eq!(result.files[0].witness, "/a/a");
/// ```
pub fn diff(
    first: (&Compiled, &Grants),
    second: (&Compiled, &Grants),
    budget: Budget,
) -> Result<Difference, TooComplex> {
    let (a, b) = (first.0, second.0);
    let mut files: Vec<FileDifference> = Vec::new();
    let mut seen: BTreeSet<(FilePerms, Subject, Side, bool)> = BTreeSet::new();
    walk_pairs(&a.dfa, &b.dfa, budget, |set_a, set_b, path| {
        for subject in Subject::BOTH {
            let (x, y) = (&a.decisions[set_a][subject.half()], &b.decisions[set_b][subject.half()]);
            let mut note = |perm, side, exec_differs| {
                if seen.insert((perm, subject, side, exec_differs)) {
                    let witness = String::from_utf8_lossy(path).into_owned();
                    files.push(FileDifference { perm, subject, side, witness, exec_differs });
                }
            };
            x.allow.without(y.allow).iter().for_each(|perm| note(perm, Side::First, false));
            y.allow.without(x.allow).iter().for_each(|perm| note(perm, Side::Second, false));
            if exec_differs(x, y) {
                note(FilePerms::EXEC, Side::First, true);
                note(FilePerms::EXEC, Side::Second, true);
            }
        }
        true
    })?;
    let links = link_differences(a, b, budget)?;
    let classes = class_differences(first.1, second.1);
    let one_has = |side| {
        files.iter().any(|d| d.side == side)
            || links.iter().any(|d| d.side == side)
            || classes.iter().any(|d| d.side == side)
    };
    let (less, more) = (one_has(Side::First), one_has(Side::Second));
    let relation = match (less, more) {
        (false, false) => Relation::Equal,
        (true, false) => Relation::Stricter,
        (false, true) => Relation::Looser,
        (true, true) => Relation::Incomparable,
    };
    Ok(Difference { relation, files, links, classes })
}

fn exec_differs(x: &Decision, y: &Decision) -> bool {
    x.exec.is_some() && y.exec.is_some() && x.exec != y.exec
}

fn class_differences(first: &Grants, second: &Grants) -> Vec<ClassDifference> {
    let mut list = Vec::new();
    for (side, own, other) in [(Side::First, first, second), (Side::Second, second, first)] {
        for grant in &own.allowed {
            if !other.allowed.iter().any(|g| g.covers(grant)) {
                list.push(ClassDifference { side, grant: grant.to_string() });
            }
        }
        // A part that the other one carves out and this one does not is granted here only.
        for carved in &other.carved {
            let granted = own.allowed.iter().any(|g| g.covers(carved) || carved.covers(g));
            if granted && !own.carved.iter().any(|c| c.covers(carved)) {
                list.push(ClassDifference { side, grant: carved.to_string() });
            }
        }
    }
    list
}
