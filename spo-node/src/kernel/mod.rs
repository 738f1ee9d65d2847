//! The security modules of a host: what takes AppArmor profiles and SELinux modules into the kernel.
//!
//! seccomp has no part in this: a container runtime reads its files when it starts a container.
//!
//! The planner sees a [`Survey`]; the applier hands over [`Change`]s in one batch per order. A module that takes
//! artefacts from memory gets them *before* their files are put into place, so what it refuses never replaces what
//! was there.

mod apparmor;
mod command;
mod confined;
mod live;
mod selinuxd;
mod semodule;
mod templates;

#[cfg(test)]
pub(crate) mod fake;

use std::collections::BTreeSet;

use spo_model::{Diagnostic, FieldPath, Span, kind::Kind};

pub use apparmor::AppArmor;
pub use command::Tools;
pub use live::Live;
pub use selinuxd::Selinuxd;
pub use semodule::Semodule;

use crate::artefact::Origin;

/// A Linux security module whose profiles live in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lsm {
    /// AppArmor.
    AppArmor,
    /// SELinux.
    Selinux,
}

impl Lsm {
    /// The module that profiles of a kind are for; `None` for those that are files only.
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::AppArmorProfile => Some(Self::AppArmor),
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => Some(Self::Selinux),
            _ => None,
        }
    }
}

/// The security modules of a host.
pub trait Kernel {
    /// What the modules are able to do and what they hold now. Only those in `wanted` need a look.
    fn survey(&self, wanted: &BTreeSet<Lsm>) -> Survey;

    /// Loads and unloads. The outcome has one entry per load and one per unload, in their order. What processes would be
    /// unconfined without is not unloaded.
    fn change(&self, change: &Change<'_>) -> Changed;
}

/// What the security modules of a host can do and hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// AppArmor.
    pub apparmor: Module,
    /// SELinux.
    pub selinux: Module,
}

impl Survey {
    /// What the module for a kind can do; kinds without one are files only.
    pub fn module(&self, kind: Kind) -> &Module {
        Lsm::of(kind).map_or(&Module::Files, |lsm| self.lsm(lsm))
    }

    /// What a module can do.
    pub fn lsm(&self, lsm: Lsm) -> &Module {
        match lsm {
            Lsm::AppArmor => &self.apparmor,
            Lsm::Selinux => &self.selinux,
        }
    }
}

/// What a security module can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Module {
    /// Nothing is loaded here; the files are all there is. A directory that stands for a host is so.
    #[default]
    Files,
    /// The host does not have this module, with the reason. Its artefacts are not put there.
    Unsupported(String),
    /// The host has it and it cannot be used now, with the reason. Whoever relies on it must hear of that.
    Unavailable(String),
    /// Artefacts are loaded.
    Loads {
        /// The names that are loaded now, whoever loaded them.
        names: BTreeSet<String>,
        /// When it takes them.
        order: Order,
        /// What a load is good for: with another one, everything has to be loaded again. For AppArmor this boot of
        /// the kernel, for SELinux a hash of the templates that modules are built on.
        basis: String,
    },
}

impl Module {
    pub(crate) fn holds(&self, name: &str) -> bool {
        matches!(self, Self::Loads { names, .. } if names.contains(name))
    }

    pub(crate) fn basis(&self) -> &str {
        match self {
            Self::Loads { basis, .. } => basis,
            _ => "",
        }
    }

    pub(crate) fn order(&self) -> Option<Order> {
        match self {
            Self::Loads { order, .. } => Some(*order),
            _ => None,
        }
    }
}

/// When a module takes an artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From memory, before the file is put into place: what is refused changes nothing.
    BeforeFile,
    /// It watches the files: they come first, and it is asked what became of them.
    AfterFile,
}

/// One batch of changes.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// What to load.
    pub loads: Vec<Load<'a>>,
    /// What to unload.
    pub unloads: Vec<Unload<'a>>,
}

/// An artefact to load.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The module.
    pub lsm: Lsm,
    /// Its name there.
    pub name: &'a str,
    /// The text.
    pub bytes: &'a [u8],
    /// Which of its lines its author wrote, if any.
    pub origin: Option<&'a Origin>,
}

impl Load<'_> {
    /// A finding about the text of the artefact, told as one about the profile: a line that the author wrote is
    /// counted as in the field it came from, another one is shown.
    fn place(&self, finding: Diagnostic) -> Diagnostic {
        let Some(span) = finding.span else { return finding };
        let text = String::from_utf8_lossy(self.bytes);
        let line = text.lines().nth(span.line.saturating_sub(1) as usize).unwrap_or_default().trim();
        let shown: String = line.chars().take(160).collect();
        let Some(origin) = self.origin.filter(|origin| span.line > origin.lines_before) else {
            let message =
                format!("{} (line {} of what was generated: `{shown}`)", finding.message, span.line);
            return Diagnostic { path: FieldPath::of("spec"), message, span: None, ..finding };
        };
        let before: usize = text.split_inclusive('\n').take(origin.lines_before as usize).map(str::len).sum();
        let span = Span {
            start: span.start.saturating_sub(before),
            end: span.end.saturating_sub(before),
            line: span.line - origin.lines_before,
            ..span
        };
        let message = format!("{} (line {}, column {}: `{shown}`)", finding.message, span.line, span.column);
        Diagnostic { path: origin.path.clone(), message, span: Some(span), ..finding }
    }
}

/// A name to unload.
#[derive(Clone, Copy, Debug)]
pub struct Unload<'a> {
    /// The module.
    pub lsm: Lsm,
    /// The name.
    pub name: &'a str,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Changed {
    /// One per load, in their order.
    pub loads: Vec<Result<(), Refusal>>,
    /// One per unload, in their order.
    pub unloads: Vec<Result<(), Refusal>>,
}

/// Why a security module did not take an artefact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason in one line.
    pub message: String,
    /// What the module's compiler said, with places in the text of the artefact.
    pub diagnostics: Vec<Diagnostic>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), diagnostics: Vec::new() }
    }
}

/// A host without a kernel of its own: a directory that stands for one.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilesOnly;

impl Kernel for FilesOnly {
    fn survey(&self, _: &BTreeSet<Lsm>) -> Survey {
        Survey::default()
    }

    /// Is never asked for anything, since no module of its [`Survey`] loads.
    fn change(&self, change: &Change<'_>) -> Changed {
        let nothing = || Err(Refusal::new("this host loads nothing"));
        Changed {
            loads: change.loads.iter().map(|_| nothing()).collect(),
            unloads: change.unloads.iter().map(|_| nothing()).collect(),
        }
    }
}
