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

use spo_model::{Diagnostic, FieldPath};

use super::{
    Changed, Load, Lsm, Module, Order, Refusal, Tools, Unload,
    templates::{self, Template, Templates},
};
use crate::artefact::Origin;

/// Where modules of ours stand among others: above a distribution's (100), below an administrator's (400).
pub(super) const PRIORITY: u32 = 350;

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
    templates: Templates,
}

/// Every module of a store with its priority.
type Installed = BTreeSet<(u32, String)>;

impl Semodule {
    /// The policy of a running kernel that shows itself below `sys`, on the host whose root is seen at `root`.
    pub fn live(sys: &Path, root: &Path, tools: Tools) -> Self {
        Self {
            root: root.to_owned(),
            alternate: None,
            sys: sys.to_owned(),
            tools,
            templates: Templates::default(),
        }
    }

    /// A policy store below an alternate root; no kernel is involved (`semodule -p ROOT -s STORE -N`).
    pub fn alternate(root: &Path, store: &str, tools: Tools) -> Self {
        let (root, alternate) = (root.to_owned(), Some(store.to_owned()));
        Self { root, alternate, sys: PathBuf::new(), tools, templates: Templates::default() }
    }

    /// The same with the templates of a directory in place of our own.
    #[must_use]
    pub fn with_templates(mut self, directory: &Path) -> Self {
        self.templates = Templates::Of(directory.to_owned());
        self
    }

    /// What it can do, and the modules of ours it holds.
    pub fn survey(&self) -> Module {
        if self.alternate.is_none() && !self.sys.join("fs/selinux/enforce").exists() {
            return Module::Unsupported("SELinux is not enabled in this kernel".to_owned());
        }
        if self.program().is_none() {
            return Module::Unavailable("semodule is not installed on this host".to_owned());
        }
        let modules = match self.installed() {
            Ok(modules) => modules,
            Err(refusal) => return Module::Unavailable(refusal.message),
        };
        match self.templates(&modules) {
            Ok(templates) => Module::Loads {
                names: modules.into_iter().filter(|(p, _)| *p == PRIORITY).map(|(_, name)| name).collect(),
                order: Order::BeforeFile,
                basis: templates::digest(&templates),
            },
            Err(reason) => Module::Unavailable(reason),
        }
    }

    /// Loads and unloads in as few transactions as possible.
    pub(super) fn change(&self, loads: &[Load<'_>], unloads: &[Unload<'_>]) -> Changed {
        let mut work = Transaction {
            semodule: self,
            loads,
            unloads,
            templates: Vec::new(),
            obsolete: Vec::new(),
            done: Changed {
                loads: loads.iter().map(|_| Ok(())).collect(),
                unloads: unloads.iter().map(|_| Ok(())).collect(),
            },
        };
        let installed = match self.installed() {
            Ok(installed) => installed,
            Err(refusal) => return work.all(&refusal),
        };
        let ours = |name: &str| installed.contains(&(PRIORITY, name.to_owned()));
        if let Err(refusal) = work.prepare(&installed) {
            return work.all(&refusal);
        }
        // What is gone already needs no removal, and would let the transaction fail.
        let unload: Vec<usize> = (0..unloads.len()).filter(|i| ours(unloads[*i].name)).collect();
        if !work.leave(&unload, &installed) {
            work.settle((0..loads.len()).collect(), unload);
        }
        let _ = fs::remove_dir_all(self.root.join(STAGING));
        work.done
    }

    /// The templates to install. The error is for people.
    fn templates(&self, installed: &Installed) -> Result<Vec<Template>, String> {
        let known =
            templates::known(&self.root).map_err(|e| format!("the list of templates cannot be read: {e}"))?;
        self.templates.read(|name| {
            installed.iter().any(|(priority, module)| {
                module == name && !(*priority == PRIORITY && known.contains(module))
            })
        })
    }

    /// The arguments that every transaction begins with.
    fn transaction(&self) -> Vec<OsString> {
        let offline = self.alternate.is_some().then(|| "-N".into());
        offline.into_iter().chain(["-X".into(), PRIORITY.to_string().into()]).collect()
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
    fn installed(&self) -> Result<Installed, Refusal> {
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
    fn stage(&self, templates: &[Template], loads: &[Load<'_>]) -> io::Result<()> {
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
        templates.iter().try_for_each(|template| write(&template.name, &template.text))?;
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
    /// The modules of the templates to install.
    templates: Vec<Template>,
    /// The modules of templates that are not wanted any more.
    obsolete: Vec<String>,
    done: Changed,
}

impl Transaction<'_> {
    /// Everything failed for one reason.
    fn all(mut self, refusal: &Refusal) -> Changed {
        self.done.loads.iter_mut().chain(&mut self.done.unloads).for_each(|r| *r = Err(refusal.clone()));
        self.done
    }

    /// Writes what the transactions read, and notes which modules are of templates before any is in the store.
    fn prepare(&mut self, installed: &Installed) -> Result<(), Refusal> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Refusal::new(format!("{what}: {error}"))
        };
        let root = &self.semodule.root;
        let wanted = match self.loads {
            [] => Vec::new(),
            _ => self.semodule.templates(installed).map_err(Refusal::new)?,
        };
        if let Some(taken) = wanted.iter().find(|t| self.loads.iter().any(|load| load.name == t.name)) {
            return Err(Refusal::new(format!(
                "the template {:?} has the name of a profile's module",
                taken.name
            )));
        }
        self.semodule
            .stage(&wanted, self.loads)
            .map_err(failed("the modules cannot be written for semodule"))?;
        if self.loads.is_empty() {
            return Ok(());
        }
        let mut known = templates::known(root).map_err(failed("the list of templates cannot be read"))?;
        let wanted_names: BTreeSet<String> = wanted.iter().map(|template| template.name.clone()).collect();
        let is_there = |name: &&String| installed.contains(&(PRIORITY, (*name).clone()));
        self.obsolete = known.difference(&wanted_names).filter(is_there).cloned().collect();
        self.templates = wanted;
        known.extend(wanted_names);
        templates::note(root, &known).map_err(failed("the list of templates cannot be written"))
    }

    /// Unloads the last modules of ours together with the templates, which nobody needs any more. Returns whether that
    /// was what there was to do, and is done.
    fn leave(&mut self, unloads: &[usize], installed: &Installed) -> bool {
        let root = &self.semodule.root;
        let Ok(known) = templates::known(root) else { return false };
        let goes = |name: &String| unloads.iter().any(|i| self.unloads[*i].name == name);
        let mut ours = installed.iter().filter(|(priority, _)| *priority == PRIORITY).map(|(_, name)| name);
        if !self.loads.is_empty()
            || unloads.is_empty()
            || !ours.all(|name| known.contains(name) || goes(name))
        {
            return false;
        }
        let is_there = |name: &&String| installed.contains(&(PRIORITY, (*name).clone()));
        self.obsolete = known.iter().filter(is_there).cloned().collect();
        // Refused where a module of somebody else builds on them, for one; then they stay.
        let done = self.commit(&[], unloads).is_ok();
        self.obsolete.clear();
        if done {
            // A note too many does no harm.
            let _ = templates::note(root, &BTreeSet::new());
        }
        done
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
            } else if let Some(template) =
                self.templates.iter().find(|template| !loads.is_empty() && blamed(&template.name))
            {
                let written = Origin { path: FieldPath::root(), lines_before: 0 };
                let text = Load {
                    lsm: Lsm::Selinux,
                    name: &template.name,
                    bytes: &template.text,
                    origin: Some(&written),
                };
                let reason = format!("the template {}: {}", template.name, refusal(&stderr, &text).message);
                // What is unloaded does not need it.
                loads.drain(..).for_each(|i| self.done.loads[i] = Err(Refusal::new(reason.clone())));
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

    fn commit(&mut self, loads: &[usize], unloads: &[usize]) -> Result<(), Refusal> {
        let mut arguments = self.semodule.transaction();
        if !loads.is_empty() {
            arguments
                .extend(self.templates.iter().flat_map(|t| ["-i".into(), self.semodule.staged(&t.name)]));
        }
        // Modules that are loaded may need them until others take their place.
        let obsolete = !loads.is_empty() || self.templates.is_empty();
        if obsolete {
            arguments.extend(self.obsolete.iter().flat_map(|name| ["-r".into(), name.into()]));
        }
        for index in loads {
            arguments.extend(["-i".into(), self.semodule.staged(self.loads[*index].name)]);
        }
        for index in unloads {
            arguments.extend(["-r".into(), self.unloads[*index].name.into()]);
        }
        self.semodule.run(&arguments)?;
        if obsolete {
            self.obsolete.clear();
        }
        Ok(())
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
