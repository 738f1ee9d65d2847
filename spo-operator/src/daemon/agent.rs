//! The part of the agent that touches the host: one round from what the cache holds to what is on the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use spo_model::{
    daemon::StatusMode,
    kind::Kind,
    names::{NamespaceName, ProfileKey},
    status::ProfileState,
};
use spo_node::{
    ApplyError, Outcome, State,
    artefact::{APPARMOR_DIR, HostPath, SELINUX_DIR},
    host::{Host as _, Root},
    kernel::{Live, Lsm, Selinuxd, Tools},
    ledger::Entry,
    memory::Memory,
};

use super::{
    confine::release,
    kept::Kept,
    leave::Watched,
    plan::{Builder, Subject, Verdict},
    process::{LOOK, RETRY},
    refusal::ErrorReason,
    settings::{self, Kinds, Settings},
};
use crate::{cluster::watch::Cache, kubelet_dir, render::own};

/// Where the host's root is mounted in the agent's container.
pub const HOST_ROOT: &str = "/host";

/// How the agent works on its host.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the host's root is.
    pub root: PathBuf,
    /// The directory of the kubelet on hosts that do not say ([`kubelet_dir`]).
    pub kubelet: PathBuf,
    /// Leave SELinux modules to the `selinuxd` behind this socket.
    pub selinuxd: Option<PathBuf>,
    /// The directory of the SELinux templates, if they are not the operator's own.
    pub selinux_templates: Option<PathBuf>,
    /// The kinds that are put there.
    pub kinds: Kinds,
    /// The namespaces that are watched; `None` for all.
    pub namespaces: Option<Vec<NamespaceName>>,
    /// The name of the SecurityProfilesOperatorDaemon that the agent belongs to.
    pub spod: String,
}

/// The host, and what is known of the cluster.
pub struct Agent {
    /// What the cluster asks for.
    pub cache: Cache<Kept>,
    options: Options,
    host: Root,
    kernel: Live,
    kubelet: String,
    builder: Builder,
    memory: Memory,
    /// What could not be removed in the last round, and why.
    stuck: Vec<(HostPath, String)>,
    /// What its SecurityProfilesOperatorDaemon said last; `None` if it was never there.
    settings: Option<Settings>,
}

/// Where a profile stands on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The profile.
    pub subject: Subject,
    /// Where it stands.
    pub state: ProfileState,
    /// Why, for people.
    pub message: Option<String>,
    /// Why in one word, if it is an error.
    pub reason: Option<ErrorReason>,
}

/// What a round did.
#[derive(Debug, Default)]
pub struct Round {
    /// Every profile.
    pub standings: Vec<Standing>,
    /// How the node is to report; `None` leaves that as it is.
    pub mode: Option<StatusMode>,
    /// How many artefacts of a kind were written or loaded.
    pub updated: BTreeMap<Kind, u64>,
    /// How many artefacts of a kind were removed.
    pub removed: BTreeMap<Kind, u64>,
    /// What did not work and may work later: paths, and the host itself as an empty one.
    pub retry: BTreeSet<String>,
    /// Whether nothing could be done at all.
    pub failed: bool,
    /// How long it took.
    pub took: Duration,
}

impl Agent {
    /// An agent that knows nothing yet.
    ///
    /// # Errors
    /// There is no such root, or the kubelet's directory is no path below it.
    pub fn new(options: Options, cache: Cache<Kept>) -> Result<Self, OpenError> {
        let open = |source| OpenError::Root { path: options.root.clone(), source };
        let host = Root::open(&options.root).map_err(open)?;
        let kubelet = kubelet_dir::of(&host, &options.kubelet)?;
        let mut kernel = kernel(&options.root);
        if let Some(socket) = &options.selinuxd {
            kernel = kernel.with_selinuxd(Selinuxd::new(socket, Duration::from_secs(60)));
        }
        if let Some(directory) = &options.selinux_templates {
            kernel = kernel.with_templates(directory);
        }
        Ok(Self {
            cache,
            options,
            host,
            kernel,
            kubelet,
            builder: Builder::default(),
            memory: Memory::new(RETRY, LOOK),
            stuck: Vec::new(),
            settings: None,
        })
    }

    /// Brings the node to what the cluster asks for. Takes as long as files and security modules take.
    pub fn round(&mut self) -> Round {
        let start = Instant::now();
        let spod = &self.options.spod;
        // Deleting the settings is no way around them: the last ones count until others come, or the agent leaves.
        self.settings = Settings::of(&self.cache, spod).or_else(|| self.settings.take());
        let settings = self.settings.clone().unwrap_or_else(|| Settings::missing(spod));
        let mut round = match self.install(&settings) {
            Ok(round) => round,
            Err(error) => {
                tracing::error!(%error, "the node cannot be changed");
                self.all_failed(&settings, &error)
            }
        };
        (round.mode, round.took) = (settings.mode, start.elapsed());
        round
    }

    /// What the watches told of the SecurityProfilesOperatorDaemon that the agent belongs to.
    pub fn watched(&self) -> Watched {
        match settings::own(&self.cache, &self.options.spod) {
            Some(_) => Watched::There,
            None if self.settings.is_some() => Watched::Gone,
            None => Watched::Never,
        }
    }

    /// Leaves the node as it was before, but for the two folders that are mounted into the agent's container: they are
    /// empty.
    ///
    /// # Errors
    /// As [`spo_node::uninstall()`].
    pub fn leave(&self) -> Result<spo_node::Report, ApplyError> {
        // The agent's own filter, which no ledger knows: root put it there before the agent came. It first, so that the
        // folder can go where that is possible. The next agent's init container puts it there again.
        let filter: HostPath = format!("{}/seccomp/{}", self.kubelet, own::LOCALHOST).parse()?;
        let removed = self.host.remove(&filter);
        // Of a kind that is switched off an agent has neither the mounts nor the host's tools: what looks like gone is not.
        let why_not = |entry: &Entry| {
            let off = self.options.kinds.off(entry.kind).filter(|_| Lsm::of(entry.kind).is_some());
            off.map(|why| {
                format!(
                    "{why}, so this agent cannot remove it; delete profiles before their kind is switched off"
                )
            })
        };
        let mut report = spo_node::uninstall_but(&self.host, &self.kernel, &why_not)?;
        if report.stuck.is_empty() {
            release(&self.kernel);
        }
        if let Err(error) = removed {
            report.stuck.push((filter, error.to_string()));
        }
        Ok(report)
    }

    fn install(&mut self, settings: &Settings) -> Result<Round, ApplyError> {
        let ledger = self.memory.ledger(&self.host)?;
        let mut plan = self.builder.plan(&self.cache, self.options.kinds, settings, ledger, &self.kubelet);
        let namespaces = self.options.namespaces.as_deref();
        let watched = |key: &ProfileKey| match (namespaces, &key.namespace) {
            (Some(namespaces), Some(namespace)) => namespaces.contains(namespace),
            _ => true,
        };
        let artefacts = std::mem::take(&mut plan.artefacts);
        let installed = spo_node::install_again(
            &self.host,
            &self.kernel,
            &artefacts,
            &|entry| plan.keeps(entry, watched),
            &mut self.memory,
            Instant::now(),
        );
        let kinds: Vec<Kind> = artefacts.iter().map(|artefact| artefact.kind).collect();
        self.builder.take_back(artefacts, &plan.verdicts);
        let report = installed?;
        let mut round = Round::default();
        for (outcome, kind) in report.outcomes.iter().zip(kinds) {
            match outcome.state {
                State::Written | State::Loaded => *round.updated.entry(kind).or_default() += 1,
                State::Failed => {
                    round.retry.insert(outcome.path.to_string());
                }
                State::Unchanged | State::Unsupported => {}
            }
        }
        for path in &report.removed {
            tracing::info!(%path, "removed");
            *round.removed.entry(kind_at(path)).or_default() += 1;
            // The folder of a namespace goes with its last profile; one that stays is no harm.
            if let Some((folder, _)) = path.as_str().rsplit_once('/')
                && folder.contains("/operator/")
            {
                let _ = self.host.remove_empty_dir(folder);
            }
        }
        for (path, reason) in &report.stuck {
            // A process may run under a profile for weeks.
            if !self.stuck.iter().any(|(before, why)| (before, why) == (path, reason)) {
                tracing::warn!(%path, reason, "cannot be removed");
            }
            round.retry.insert(path.to_string());
        }
        let stuck = self.stuck_profiles(&report.stuck);
        let standings = plan.verdicts.into_iter().map(|(subject, verdict)| {
            let (outcome, note) = match verdict {
                Verdict::Place(index) => (report.outcomes.get(index), plan.notes.get(index)),
                _ => (None, None),
            };
            let mut standing = standing(subject, verdict, outcome);
            if standing.state == ProfileState::Installed {
                standing.message = note.cloned().flatten().map(|note| note.to_string());
            }
            if let Some(reason) = stuck.get(&(standing.subject.kind(), standing.subject.key.clone())) {
                let told = standing.message.iter().map(String::as_str).chain([*reason]);
                standing.message = Some(told.collect::<Vec<_>>().join("; "));
            }
            standing
        });
        round.standings = standings.collect();
        self.stuck = report.stuck;
        Ok(round)
    }

    /// The profiles whose artefacts cannot be removed, and why. Those that are gone from the cluster are in the log alone:
    /// nobody is left who could be told.
    fn stuck_profiles<'r>(
        &mut self,
        paths: &'r [(HostPath, String)],
    ) -> BTreeMap<(Kind, ProfileKey), &'r str> {
        if paths.is_empty() {
            return BTreeMap::new();
        }
        let Ok(ledger) = self.memory.ledger(&self.host) else { return BTreeMap::new() };
        let of = |(path, reason): &'r (HostPath, String)| {
            let entry = ledger.entries.get(path)?;
            Some(((entry.kind, entry.key.clone()), reason.as_str()))
        };
        paths.iter().filter_map(of).collect()
    }

    /// Nothing could be done: what would be there says why it is not.
    fn all_failed(&mut self, settings: &Settings, error: &ApplyError) -> Round {
        let mut plan =
            self.builder.plan(&self.cache, self.options.kinds, settings, &Default::default(), &self.kubelet);
        let artefacts = std::mem::take(&mut plan.artefacts);
        self.builder.take_back(artefacts, &plan.verdicts);
        let standings = plan.verdicts.into_iter().map(|(subject, verdict)| match verdict {
            Verdict::Place(_) => failed(subject, error.to_string(), ErrorReason::Install),
            other => standing(subject, other, None),
        });
        let retry = BTreeSet::from([String::new()]);
        Round { standings: standings.collect(), retry, failed: true, ..Round::default() }
    }
}

/// Why an agent cannot work on a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The root cannot be opened.
    #[error("cannot open the host's root {}: {source}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kubelet's directory is not known.
    #[error(transparent)]
    Kubelet(#[from] kubelet_dir::Error),
}

/// The kernel that belongs to a root: the running one for `/` and for where a container has its host's root, else
/// none. In a container the host's tools run in the host's mount namespace.
pub(super) fn kernel(root: &Path) -> Live {
    if root == Path::new(HOST_ROOT) {
        let enter = ["/proc/self/exe", "host-exec", "--"].map(Into::into).to_vec();
        return Live::new(root, &Tools { enter, ..Tools::default() });
    }
    Live::of(root)
}

fn kind_at(path: &HostPath) -> Kind {
    let below = |directory: &str| path.as_str().starts_with(directory);
    match () {
        () if below(APPARMOR_DIR) => Kind::AppArmorProfile,
        () if below(SELINUX_DIR) => Kind::SelinuxProfile,
        () => Kind::SeccompProfile,
    }
}

fn standing(subject: Subject, verdict: Verdict, outcome: Option<&Outcome>) -> Standing {
    let mut standing = match (verdict, outcome) {
        (Verdict::Nothing(state, why), _) => {
            Standing { subject, state, message: why.map(str::to_owned), reason: None }
        }
        (Verdict::Refused(refusal), _) => failed(subject, refusal.message, refusal.reason),
        (Verdict::Place(_), None) => failed(subject, "nothing was tried".to_owned(), ErrorReason::Install),
        (Verdict::Place(_), Some(outcome)) => match (outcome.state, &outcome.problem) {
            (State::Unsupported, problem) => {
                Standing { subject, state: ProfileState::Unsupported, message: problem.clone(), reason: None }
            }
            (_, None) => Standing { subject, state: ProfileState::Installed, message: None, reason: None },
            (_, Some(problem)) => {
                let found = outcome.diagnostics.iter().map(ToString::to_string);
                let text: Vec<String> = std::iter::once(problem.clone()).chain(found).collect();
                failed(subject, text.join("; "), ErrorReason::Install)
            }
        },
    };
    if standing.subject.deleting {
        standing.state = ProfileState::Terminating;
    }
    standing
}

fn failed(subject: Subject, message: String, reason: ErrorReason) -> Standing {
    Standing { subject, state: ProfileState::Error, message: Some(message), reason: Some(reason) }
}

#[cfg(test)]
mod tests;
