//! The security modules of a real host.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    AppArmor, Change, Changed, FilesOnly, Kernel, Lsm, Module, Refusal, Selinuxd, Semodule, Survey, Tools,
};

/// The security modules of a real host, or of the policy stores below an alternate root.
#[derive(Clone, Debug)]
pub struct Live {
    apparmor: Option<AppArmor>,
    selinux: Option<Selinux>,
}

#[derive(Clone, Debug)]
enum Selinux {
    Semodule(Semodule),
    Selinuxd(Selinuxd),
}

impl Live {
    /// The running kernel, on the host whose root is seen at `root` (`/`, or where a container has it mounted).
    pub fn new(root: &Path, tools: &Tools) -> Self {
        let sys = Path::new("/sys");
        Self {
            apparmor: Some(AppArmor::new(sys, root, tools.clone())),
            selinux: Some(Selinux::Semodule(Semodule::live(sys, root, tools.clone()))),
        }
    }

    /// A root that is not this host's: AppArmor is files only, SELinux too unless a policy store is there.
    pub fn alternate(root: &Path, tools: &Tools) -> Self {
        let config = fs::read_to_string(root.join("etc/selinux/config")).unwrap_or_default();
        let named = config.lines().find_map(|line| line.trim().strip_prefix("SELINUXTYPE=")).map(str::trim);
        let store = named.filter(|name| root.join("var/lib/selinux").join(name).join("active").is_dir());
        let semodule = |store| Selinux::Semodule(Semodule::alternate(root, store, tools.clone()));
        let selinux = store.map(semodule);
        Self { apparmor: None, selinux }
    }

    /// The kernel that belongs to a root: the running one for `/`, else as [`Self::alternate`].
    pub fn of(root: &Path) -> Self {
        let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let tools = Tools::default();
        if real == Path::new("/") { Self::new(&real, &tools) } else { Self::alternate(&real, &tools) }
    }

    /// The same with the SELinux templates of a directory (`*.cil`, each a module) in place of our own. A `selinuxd`
    /// brings its own.
    #[must_use]
    pub fn with_templates(mut self, directory: &Path) -> Self {
        if let Some(Selinux::Semodule(semodule)) = self.selinux {
            self.selinux = Some(Selinux::Semodule(semodule.with_templates(directory)));
        }
        self
    }

    /// The same with `selinuxd` instead of `semodule`.
    #[must_use]
    pub fn with_selinuxd(mut self, selinuxd: Selinuxd) -> Self {
        self.selinux = Some(Selinux::Selinuxd(selinuxd));
        self
    }
}

impl Kernel for Live {
    fn survey(&self, wanted: &BTreeSet<Lsm>) -> Survey {
        let apparmor = self.apparmor.as_ref().filter(|_| wanted.contains(&Lsm::AppArmor));
        let selinux = self.selinux.as_ref().filter(|_| wanted.contains(&Lsm::Selinux));
        Survey {
            apparmor: apparmor.map_or(Module::Files, AppArmor::survey),
            selinux: selinux.map_or(Module::Files, |selinux| match selinux {
                Selinux::Semodule(semodule) => semodule.survey(),
                Selinux::Selinuxd(selinuxd) => selinuxd.survey(),
            }),
        }
    }

    fn change(&self, change: &Change<'_>) -> Changed {
        let mut changed = FilesOnly.change(change);
        let of = |lsm| (0..change.loads.len()).filter(move |i| change.loads[*i].lsm == lsm);
        let off = |lsm| (0..change.unloads.len()).filter(move |i| change.unloads[*i].lsm == lsm);
        if let Some(apparmor) = &self.apparmor {
            let names: Vec<&str> = off(Lsm::AppArmor).map(|i| change.unloads[i].name).collect();
            put(&mut changed.unloads, off(Lsm::AppArmor), apparmor.unload(&names));
            let loads: Vec<_> = of(Lsm::AppArmor).map(|i| change.loads[i]).collect();
            put(&mut changed.loads, of(Lsm::AppArmor), apparmor.load(&loads));
        }
        if let Some(selinux) = &self.selinux {
            let loads: Vec<_> = of(Lsm::Selinux).map(|i| change.loads[i]).collect();
            let unloads: Vec<_> = off(Lsm::Selinux).map(|i| change.unloads[i]).collect();
            if loads.is_empty() && unloads.is_empty() {
                return changed;
            }
            let done = match selinux {
                Selinux::Semodule(semodule) => semodule.change(&loads, &unloads),
                Selinux::Selinuxd(selinuxd) => selinuxd.change(&loads, &unloads),
            };
            put(&mut changed.loads, of(Lsm::Selinux), done.loads);
            put(&mut changed.unloads, off(Lsm::Selinux), done.unloads);
        }
        changed
    }
}

fn put(
    all: &mut [Result<(), Refusal>],
    places: impl Iterator<Item = usize>,
    results: Vec<Result<(), Refusal>>,
) {
    for (place, result) in places.zip(results) {
        all[place] = result;
    }
}
