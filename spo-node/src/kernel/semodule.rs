//! SELinux: the host's `semodule`, one transaction for everything that changes.
//!
//! A transaction rebuilds the whole policy, which takes seconds on a distribution's, and either all of it happens or
//! nothing. So all changes go into one; if it fails, the module that the error names is taken out and the rest is
//! tried again, and where it names none the batch is halved (`semodule(8)`, libsemanage's direct store).

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use spo_model::Diagnostic;

use super::{Changed, Load, Module, Order, Refusal, Tools, Unload};

/// Where modules of ours stand among others: above a distribution's (100), below an administrator's (400).
pub(super) const PRIORITY: u32 = 350;

/// The module with the blocks that profiles inherit.
const TEMPLATES: &str = "spo_templates";

/// A module of container-selinux's own templates; where it is installed, its blocks are used.
const STOCK_TEMPLATES: &str = "base_container";

/// The directory of the files that a transaction reads, relative to the root.
const STAGING: &str = "var/lib/security-profiles-operator/semodule";

/// The `semodule` of a host.
#[derive(Clone, Debug)]
pub struct Semodule {
    root: PathBuf,
    /// The name of the policy store below `root`, if it is not the one `semodule` finds by itself.
    alternate: Option<String>,
    sys: PathBuf,
    tools: Tools,
}

impl Semodule {
    /// The policy of a running kernel that shows itself below `sys`, on the host whose root is seen at `root`.
    pub fn live(sys: &Path, root: &Path, tools: Tools) -> Self {
        Self { root: root.to_owned(), alternate: None, sys: sys.to_owned(), tools }
    }

    /// A policy store below an alternate root; no kernel is involved (`semodule -p ROOT -s STORE -N`).
    pub fn alternate(root: &Path, store: &str, tools: Tools) -> Self {
        Self { root: root.to_owned(), alternate: Some(store.to_owned()), sys: PathBuf::new(), tools }
    }

    /// What it can do, and the modules of ours it holds.
    pub fn survey(&self) -> Module {
        if self.alternate.is_none() && !self.sys.join("fs/selinux/enforce").exists() {
            return Module::Unsupported("SELinux is not enabled in this kernel".to_owned());
        }
        if self.program().is_none() {
            return Module::Unavailable("semodule is not installed on this host".to_owned());
        }
        match self.installed() {
            Ok(modules) => Module::Loads {
                names: modules
                    .into_iter()
                    .filter_map(|(priority, name)| (priority == PRIORITY).then_some(name))
                    .collect(),
                order: Order::BeforeFile,
            },
            Err(refusal) => Module::Unavailable(refusal.message),
        }
    }

    /// Loads and unloads in as few transactions as possible.
    pub(super) fn change(&self, loads: &[Load<'_>], unloads: &[Unload<'_>]) -> Changed {
        let mut work = Transaction {
            semodule: self,
            loads,
            unloads,
            done: Changed {
                loads: loads.iter().map(|_| Ok(())).collect(),
                unloads: unloads.iter().map(|_| Ok(())).collect(),
            },
        };
        let installed = match self.installed() {
            Ok(installed) => installed,
            Err(refusal) => return work.all(&refusal),
        };
        let ours = |name: &str| installed.iter().any(|(p, n)| *p == PRIORITY && n == name);
        if let Err(error) = self.stage(loads, &installed) {
            return work.all(&Refusal::new(format!("the modules cannot be written for semodule: {error}")));
        }
        // What is gone already needs no removal, and would let the transaction fail.
        let unload: Vec<usize> = (0..unloads.len()).filter(|i| ours(unloads[*i].name)).collect();
        work.settle((0..loads.len()).collect(), unload);
        let _ = fs::remove_dir_all(self.root.join(STAGING));
        work.done
    }

    fn program(&self) -> Option<PathBuf> {
        // With an alternate root the tool is this host's own.
        let root = if self.alternate.is_some() { Path::new("/") } else { &self.root };
        self.tools.find(root, "semodule")
    }

    fn run(&self, arguments: &[OsString]) -> Result<Vec<u8>, Refusal> {
        let program = self.program().ok_or_else(|| Refusal::new("semodule is gone"))?;
        let mut all: Vec<OsString> = Vec::new();
        if let Some(store) = &self.alternate {
            all.extend(["-p".into(), self.root.clone().into_os_string(), "-s".into(), store.into()]);
        }
        all.extend_from_slice(arguments);
        let output = self
            .tools
            .run(&program, &all, &[])
            .map_err(|e| Refusal::new(format!("{} cannot be run: {e}", program.display())))?;
        if output.success { Ok(output.stdout) } else { Err(Refusal::new(output.stderr)) }
    }

    /// Every module of the store with its priority.
    fn installed(&self) -> Result<BTreeSet<(u32, String)>, Refusal> {
        let listed = self.run(&["-lfull".into()])?;
        let listed = String::from_utf8_lossy(&listed);
        Ok(listed
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
            })
            .collect())
    }

    /// Writes the modules where the tool reads them; a module's name is that of its file.
    fn stage(&self, loads: &[Load<'_>], installed: &BTreeSet<(u32, String)>) -> io::Result<()> {
        let dir = self.root.join(STAGING);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(format!("{name}.cil"));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            io::Write::write_all(&mut file, bytes)
        };
        if !installed.iter().any(|(_, name)| name == STOCK_TEMPLATES) {
            write(TEMPLATES, spo_selinux_cil::templates::TEMPLATES.as_bytes())?;
        }
        loads.iter().try_for_each(|load| write(load.name, load.bytes))
    }

    /// The directory of the staged files as the tool sees it.
    fn staged(&self, name: &str) -> OsString {
        let root = if self.alternate.is_some() { self.root.as_path() } else { Path::new("/") };
        root.join(STAGING).join(format!("{name}.cil")).into_os_string()
    }
}

struct Transaction<'a> {
    semodule: &'a Semodule,
    loads: &'a [Load<'a>],
    unloads: &'a [Unload<'a>],
    done: Changed,
}

impl Transaction<'_> {
    /// Everything failed for one reason.
    fn all(mut self, refusal: &Refusal) -> Changed {
        self.done.loads.iter_mut().chain(&mut self.done.unloads).for_each(|r| *r = Err(refusal.clone()));
        self.done
    }

    /// Gets as much as possible of some loads and unloads (by index) done, and notes what fails.
    fn settle(&mut self, mut loads: Vec<usize>, mut unloads: Vec<usize>) {
        while !loads.is_empty() || !unloads.is_empty() {
            let Err(error) = self.commit(&loads, &unloads) else { return };
            let stderr = error.message;
            let named = spo_selinux_cil::compiler_output::read(&stderr);
            let blamed =
                |name: &str| named.iter().any(|f| f.place.as_ref().is_some_and(|p| p.module == name));
            let guilty_load = loads.iter().position(|i| blamed(self.loads[*i].name));
            let guilty_unload = unloads.iter().position(|i| blamed(self.unloads[*i].name));
            if let Some(at) = guilty_load {
                let index = loads.remove(at);
                self.done.loads[index] = Err(refusal(&stderr, &self.loads[index]));
            } else if let Some(at) = guilty_unload {
                let index = unloads.remove(at);
                self.done.unloads[index] = Err(Refusal::new(format!("semodule refuses: {}", brief(&stderr))));
            } else if loads.len() + unloads.len() == 1 {
                for index in loads.drain(..) {
                    self.done.loads[index] = Err(refusal(&stderr, &self.loads[index]));
                }
                for index in unloads.drain(..) {
                    self.done.unloads[index] =
                        Err(Refusal::new(format!("semodule refuses: {}", brief(&stderr))));
                }
            } else {
                // What is loaded may need what is unloaded to be gone, never the other way round.
                let half = (loads.len() + unloads.len()) / 2;
                let from_unloads = half.min(unloads.len());
                let later_unloads = unloads.split_off(from_unloads);
                let later_loads = loads.split_off(half - from_unloads);
                self.settle(std::mem::take(&mut loads), std::mem::take(&mut unloads));
                (loads, unloads) = (later_loads, later_unloads);
            }
        }
    }

    fn commit(&self, loads: &[usize], unloads: &[usize]) -> Result<(), Refusal> {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.semodule.alternate.is_some() {
            arguments.push("-N".into());
        }
        arguments.extend(["-X".into(), PRIORITY.to_string().into()]);
        let templates = self.semodule.root.join(STAGING).join(format!("{TEMPLATES}.cil"));
        if !loads.is_empty() && templates.exists() {
            arguments.extend(["-i".into(), self.semodule.staged(TEMPLATES)]);
        }
        for index in loads {
            arguments.extend(["-i".into(), self.semodule.staged(self.loads[*index].name)]);
        }
        for index in unloads {
            arguments.extend(["-r".into(), self.unloads[*index].name.into()]);
        }
        self.semodule.run(&arguments).map(drop)
    }
}

/// What semodule said about one module.
fn refusal(stderr: &str, load: &Load<'_>) -> Refusal {
    let text = String::from_utf8_lossy(load.bytes);
    let found: Vec<Diagnostic> = spo_selinux_cil::compiler_output::read(stderr)
        .iter()
        .filter_map(|found| {
            let place = found.place.as_ref().filter(|place| place.module == load.name)?;
            let mut finding = found.diagnostic(Some(&text));
            // The module is known; the line is told with its text.
            if let Some(rest) = finding.message.strip_prefix(&format!("{place}: ")) {
                finding.message = rest.to_owned();
            }
            Some(load.place(finding))
        })
        .collect();
    let reason = found.first().map_or_else(|| brief(stderr), |first| first.message.clone());
    Refusal { message: format!("semodule refuses the module: {reason}"), diagnostics: found }
}

/// What a tool said, as one line.
fn brief(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}
