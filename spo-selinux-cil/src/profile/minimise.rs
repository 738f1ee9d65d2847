//! The templates that fit a set of accesses best, and what of a template is not used.

use std::collections::BTreeSet;

use super::risk;
use crate::{
    base::{Base, Profile},
    policy::{Access, Why},
    render::BASE_TEMPLATE,
};

/// A way to grant a set of accesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Templates to inherit besides `container`, sorted.
    pub templates: Vec<String>,
    /// What is left for own rules, sorted.
    pub rest: Vec<Access>,
    /// What the templates grant beyond what is wanted.
    pub excess: usize,
}

/// The cheapest way to grant what is wanted with the templates of a base.
///
/// A template pays when the rules it saves outweigh what it grants beyond them, weighted by [`risk`]; templates are
/// taken greedily, the best first, as is usual for weighted set cover. What `container` gives is always there.
pub fn cover(base: &Base, wanted: &BTreeSet<Access>) -> Cover {
    let mut granted = accesses(base, BASE_TEMPLATE);
    let mut rest: BTreeSet<Access> = wanted.difference(&granted).cloned().collect();
    let mut candidates: Vec<(String, BTreeSet<Access>)> = base
        .templates()
        .filter(|t| *t != BASE_TEMPLATE)
        .map(|t| (t.to_owned(), accesses(base, t).difference(&granted).cloned().collect()))
        .collect();
    let mut templates = Vec::new();
    loop {
        let gain = |set: &BTreeSet<Access>| {
            let saved: i64 = set.intersection(&rest).count() as i64 * 2;
            let excess: i64 = set
                .iter()
                .filter(|a| !wanted.contains(a) && !granted.contains(a))
                .map(|a| i64::from(risk(a)))
                .sum();
            saved - excess
        };
        let best = candidates
            .iter()
            .enumerate()
            .map(|(i, (_, set))| (gain(set), i))
            .max_by_key(|b| (b.0, usize::MAX - b.1));
        match best {
            Some((gain, i)) if gain > 0 => {
                let (name, set) = candidates.swap_remove(i);
                candidates.sort();
                rest = rest.difference(&set).cloned().collect();
                granted.extend(set);
                templates.push(name);
            }
            _ => break,
        }
    }
    templates.sort();
    let bare = accesses(base, BASE_TEMPLATE);
    let excess = granted.iter().filter(|a| !wanted.contains(a) && !bare.contains(a)).count();
    Cover { templates, rest: rest.into_iter().collect(), excess }
}

/// What a profile is granted by its templates and never used, sorted.
pub fn unused(profile: &Profile<'_>, used: &BTreeSet<Access>) -> Vec<Access> {
    let by_template = |w: &Why| matches!(w, Why::Template(t) if t != BASE_TEMPLATE);
    let grants = profile.effective();
    let of_templates = grants.into_iter().filter(|(a, why)| why.iter().all(by_template) && !used.contains(a));
    of_templates.map(|(a, _)| a).collect()
}

fn accesses(base: &Base, template: &str) -> BTreeSet<Access> {
    let Some(&probe) = base.probes.get(template) else { return BTreeSet::new() };
    let templates = vec![template.to_owned()];
    let profile = Profile { base, name: String::new(), probes: vec![probe], templates, rules: Vec::new() };
    let unconditional = |w: &Vec<Why>| w.iter().any(|w| !matches!(w, Why::Conditional(..)));
    profile.inherited().into_iter().filter(|(_, w)| unconditional(w)).map(|(a, _)| a).collect()
}
