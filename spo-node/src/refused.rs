//! What security modules refused, so that they are not asked the same again and again: for SELinux each answer is a
//! transaction that rebuilds the whole policy, and every change of another profile starts a round.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    apply::Report,
    artefact::{Artefact, HostPath},
    content::Sha256,
    kernel::{Refusal, Survey},
};

/// Artefacts that a security module refused, and when each is worth another try.
#[derive(Debug)]
pub(crate) struct Refused {
    first: Duration,
    most: Duration,
    artefacts: BTreeMap<HostPath, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    sha256: Sha256,
    basis: String,
    refusal: Refusal,
    failures: u32,
    again: Instant,
}

impl Refused {
    /// Nothing so far. After the first refusal a module is left alone for `first`, after each further one of the same
    /// bytes twice as long, up to `most`.
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, artefacts: BTreeMap::new() }
    }

    /// Why an artefact with these bytes is not worth a try now; `None` if it is. On another basis, such as other
    /// templates, the answer may be another one.
    pub(crate) fn why_not(
        &self,
        artefact: &Artefact,
        sha256: Sha256,
        survey: &Survey,
        now: Instant,
    ) -> Option<Refusal> {
        let attempt = self.artefacts.get(&artefact.path)?;
        let same = attempt.sha256 == sha256 && attempt.basis == survey.module(artefact.kind).basis();
        (same && now < attempt.again).then(|| attempt.refusal.clone())
    }

    /// Takes note of what became of the artefacts.
    pub(crate) fn note(&mut self, desired: &[Artefact], survey: &Survey, report: &Report, now: Instant) {
        let still_fail: std::collections::BTreeSet<&HostPath> = report
            .outcomes
            .iter()
            .filter(|outcome| outcome.state == crate::State::Failed)
            .map(|outcome| &outcome.path)
            .collect();
        self.artefacts.retain(|path, _| still_fail.contains(path));
        for (artefact, refusal) in report.refused.iter().map(|(index, r)| (&desired[*index], r)) {
            let (sha256, basis) = (artefact.bytes.sha256(), survey.module(artefact.kind).basis().to_owned());
            let before = self.artefacts.get(&artefact.path);
            let before = before.filter(|before| (&before.sha256, &before.basis) == (&sha256, &basis));
            let failures = before.map_or(0, |before| before.failures);
            let wait = self.first.saturating_mul(1 << failures.min(16)).min(self.most);
            let attempt = Attempt {
                sha256,
                basis,
                refusal: refusal.clone(),
                failures: failures.saturating_add(1),
                again: now + wait,
            };
            self.artefacts.insert(artefact.path.clone(), attempt);
        }
    }
}
