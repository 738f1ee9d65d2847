//! What a process that works on one host again and again remembers between two times.

use std::time::Duration;

use crate::{
    apply::ApplyError,
    artefact::HostPath,
    host::{Host, Stamp},
    ledger::{LEDGER, Ledger},
    observe::read_ledger,
    refused::Refused,
};

/// What is remembered of a host: its ledger, as long as the file looks as it did, and what its security modules refused.
///
/// Nothing of it is needed: who has forgotten it looks and asks again.
#[derive(Debug)]
pub struct Memory {
    pub(crate) refused: Refused,
    ledger: Ledger,
    /// How the file looked that holds the ledger; `None` if nothing is remembered.
    stamp: Option<Stamp>,
}

impl Memory {
    /// Of nothing. After its first refusal a security module is left alone for `first`, after each further one of the same
    /// bytes twice as long, up to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { refused: Refused::new(first, most), ledger: Ledger::default(), stamp: None }
    }

    /// The ledger of the host, read again only if its file looks different.
    ///
    /// # Errors
    /// As [`read_ledger`].
    pub fn ledger(&mut self, host: &dyn Host) -> Result<&Ledger, ApplyError> {
        let path: HostPath = LEDGER.parse()?;
        // Before it is read: what changes meanwhile is seen the next time.
        let stamp = host.stamp(&path).map_err(ApplyError::ReadLedger)?;
        if stamp.is_none() || stamp != self.stamp {
            self.stamp = None;
            self.ledger = read_ledger(host)?;
            self.stamp = stamp;
        }
        Ok(&self.ledger)
    }

    /// The same, to work with; it is not remembered until it comes back.
    pub(crate) fn take(&mut self, host: &dyn Host) -> Result<(Ledger, Option<Stamp>), ApplyError> {
        self.ledger(host)?;
        Ok((std::mem::take(&mut self.ledger), self.stamp.take()))
    }

    /// Remembers a ledger, and how the file looks that holds it.
    pub(crate) fn put(&mut self, ledger: Ledger, stamp: Option<Stamp>) {
        (self.ledger, self.stamp) = (ledger, stamp);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Instant};

    use spo_model::{kind::Kind, names::ProfileKey};

    use super::*;
    use crate::{
        artefact::Artefact,
        host::{Root, faulty::Faulty},
        install_again,
        kernel::FilesOnly,
    };

    fn filter(name: &str, text: &str) -> Artefact {
        let key = ProfileKey::new(Some("ns"), name).expect("a key");
        Artefact::new(Kind::SeccompProfile, key, text.as_bytes().to_vec()).expect("an artefact")
    }

    fn memory() -> Memory {
        Memory::new(Duration::from_secs(5), Duration::from_secs(5))
    }

    fn install(host: &dyn Host, memory: &mut Memory, desired: &[Artefact]) -> bool {
        let report = install_again(host, &FilesOnly, desired, &|_| false, memory, Instant::now());
        report.is_ok_and(|report| report.changed())
    }

    /// What is remembered is what is there: after changes, after none, and after what another process did.
    #[test]
    fn what_is_remembered_is_what_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Root::open(dir.path()).expect("a root");
        let (mut one, mut other) = (memory(), memory());
        let [a, b] = ["a", "b"].map(|name| filter(name, "1"));
        let steps: [(bool, &[Artefact], bool); 8] = [
            (true, &[a.clone(), b.clone()], true),
            (true, &[a.clone(), b.clone()], false),
            (false, std::slice::from_ref(&b), true),
            (true, &[a.clone(), b.clone()], true),
            (false, &[filter("a", "2"), b.clone()], true),
            (true, &[filter("a", "2"), b.clone()], false),
            (true, &[], true),
            (false, &[], false),
        ];
        for (step, (first, desired, changes)) in steps.into_iter().enumerate() {
            let memory = if first { &mut one } else { &mut other };
            assert_eq!(install(&host, memory, desired), changes, "step {step}");
            let there = read_ledger(&host).expect("reads");
            assert!(memory.stamp.is_some() && memory.ledger == there, "step {step}");
            assert_eq!(there.entries.len(), desired.len(), "step {step}");
        }
        std::fs::remove_file(dir.path().join(LEDGER)).expect("removes");
        assert!(one.ledger(&host).expect("reads").entries.is_empty());
        std::fs::write(dir.path().join(LEDGER), "{").expect("writes");
        assert!(one.ledger(&host).is_err());
        assert!(one.ledger(&host).is_err(), "it is not forgotten that it cannot be read");
    }

    /// Whatever step fails, what is remembered afterwards is what is there.
    #[test]
    fn nothing_wrong_is_remembered_after_a_failure() {
        for step in 0.. {
            let dir = tempfile::tempdir().expect("a directory");
            let host = Root::open(dir.path()).expect("a root");
            let mut memory = memory();
            install(&host, &mut memory, &[filter("a", "1"), filter("b", "1")]);
            let faulty = Faulty { host: &host, steps: Cell::new(0), fails_at: step, dies: false };
            install(&faulty, &mut memory, &[filter("b", "2"), filter("c", "1")]);
            let there = read_ledger(&host).expect("reads");
            assert_eq!(*memory.ledger(&host).expect("reads"), there, "step {step}");
            install(&host, &mut memory, &[filter("b", "2"), filter("c", "1")]);
            assert!(!install(&host, &mut memory, &[filter("b", "2"), filter("c", "1")]), "step {step}");
            if faulty.steps.get() <= step {
                assert!(step > 10, "{step}");
                break;
            }
        }
    }
}
