//! Where the rules of a policy stand in text.

use std::collections::BTreeMap;

use spo_model::{
    FieldPath, Span,
    seccomp::{SeccompProfileSpec, SyscallName},
};

use crate::Origin;

/// A profile that takes part in a policy, with the places of its rules where it was read from text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    label: String,
    default: Option<Span>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    span: Option<Span>,
    names: BTreeMap<SyscallName, Span>,
}

impl Source {
    /// A profile by its label alone, for example a file name.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// A profile with the places of its rules; `place` gives the place of a field such as `spec.syscalls[3].names[0]`.
    ///
    /// With a document of `spo_model::manifest` that is `|path| Some(document.span_of(path))`.
    pub fn located(
        label: impl Into<String>,
        profile: &SeccompProfileSpec,
        place: impl Fn(&FieldPath) -> Option<Span>,
    ) -> Self {
        let rules = profile.rules().iter().enumerate().map(|(index, rule)| {
            let path = Origin { profile: 0, rule: index }.path();
            let names = rule.names.iter().enumerate();
            Rule {
                span: place(&path),
                names: names
                    .filter_map(|(i, name)| Some((name.clone(), place(&path.key("names").index(i))?)))
                    .collect(),
            }
        });
        let default = place(&FieldPath::of("spec.defaultAction"));
        Self { label: label.into(), default, rules: rules.collect() }
    }

    /// What the profile is called, empty where nothing was said.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The place of a rule: of the syscall's name in it, or of the rule where it does not name the syscall (a rule for
    /// `socket` also counts for `socketcall`).
    pub fn rule(&self, rule: usize, name: Option<&str>) -> Option<Span> {
        let rule = self.rules.get(rule)?;
        name.and_then(|name| rule.names.get(name)).copied().or(rule.span)
    }

    /// The place of the default action.
    pub fn default_action(&self) -> Option<Span> {
        self.default
    }
}
