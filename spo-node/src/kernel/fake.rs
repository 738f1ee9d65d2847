//! A kernel whose security modules are sets of texts, and whose steps fail as a test says.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{Change, Changed, Kernel, Load, Lsm, Module, Order, Refusal, Survey};

/// What two security modules hold, by module and name.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) held: RefCell<BTreeMap<(Lsm, String), String>>,
    pub(crate) boot: String,
    /// What the modules of SELinux are built on.
    pub(crate) templates: String,
    /// Why AppArmor is not there.
    pub(crate) no_apparmor: Option<&'static str>,
    /// Why SELinux cannot be used now.
    pub(crate) selinux_away: Option<&'static str>,
    /// How often something was to be changed.
    pub(crate) batches: RefCell<usize>,
    pub(crate) order: Option<Order>,
    /// The name that processes run under.
    pub(crate) used: Option<&'static str>,
    /// A file, and whether it was there each time something was to be changed.
    pub(crate) looks_for: Option<PathBuf>,
    pub(crate) seen: RefCell<Vec<bool>>,
}

impl Fake {
    pub(crate) fn text(&self, lsm: Lsm, name: &str) -> Option<String> {
        self.held.borrow().get(&(lsm, name.to_owned())).cloned()
    }

    /// A text with the word `bad` is no policy.
    fn load(&self, load: &Load<'_>) -> Result<(), Refusal> {
        let text = String::from_utf8_lossy(load.bytes).into_owned();
        if text.contains("bad") {
            return Err(Refusal::new("bad policy"));
        }
        self.held.borrow_mut().insert((load.lsm, load.name.to_owned()), text);
        Ok(())
    }
}

impl Kernel for Fake {
    fn survey(&self, _: &BTreeSet<Lsm>) -> Survey {
        let order = self.order.unwrap_or(Order::BeforeFile);
        let module = |lsm| Module::Loads {
            names: self.held.borrow().keys().filter(|(l, _)| *l == lsm).map(|(_, n)| n.clone()).collect(),
            order,
            basis: if lsm == Lsm::AppArmor { self.boot.clone() } else { self.templates.clone() },
        };
        let apparmor = match self.no_apparmor {
            Some(reason) => Module::Unsupported(reason.to_owned()),
            None => module(Lsm::AppArmor),
        };
        let selinux = match self.selinux_away {
            Some(reason) => Module::Unavailable(reason.to_owned()),
            None => module(Lsm::Selinux),
        };
        Survey { apparmor, selinux }
    }

    fn change(&self, change: &Change<'_>) -> Changed {
        *self.batches.borrow_mut() += 1;
        self.seen.borrow_mut().extend(self.looks_for.iter().map(|path| path.exists()));
        let unloads = change.unloads.iter().map(|unload| {
            if self.used == Some(unload.name) {
                return Err(Refusal::new("kept: process 7 runs under it"));
            }
            self.held.borrow_mut().remove(&(unload.lsm, unload.name.to_owned()));
            Ok(())
        });
        let unloads = unloads.collect();
        Changed { loads: change.loads.iter().map(|load| self.load(load)).collect(), unloads }
    }
}
