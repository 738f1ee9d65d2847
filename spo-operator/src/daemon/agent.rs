//! The part of the agent that touches the host: one round from what the cache holds to what is on the node.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use spo_model::{daemon::StatusMode, kind::Kind, names::NamespaceName, status::ProfileState};
use spo_node::{
    ApplyError, Outcome, State,
    artefact::{APPARMOR_DIR, HostPath, SELINUX_DIR},
    host::Root,
    kernel::{Live, Selinuxd, Tools},
    observe::read_ledger,
};

use super::{
    plan::{Builder, ErrorReason, Subject, Verdict},
    settings::{Kinds, Settings},
};
use crate::cluster::watch::Cache;

/// Where the host's root is mounted in the agent's container.
pub const HOST_ROOT: &str = "/host";

/// How the agent works on its host.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the host's root is.
    pub root: PathBuf,
    /// The directory of the kubelet on the host.
    pub kubelet: PathBuf,
    /// Leave SELinux modules to the `selinuxd` behind this socket.
    pub selinuxd: Option<PathBuf>,
    /// The kinds that are put there.
    pub kinds: Kinds,
    /// The namespaces that are watched; `None` for all.
    pub namespaces: Option<Vec<NamespaceName>>,
}

/// The host, and what is known of the cluster.
pub struct Agent {
    /// What the cluster asks for.
    pub cache: Cache,
    options: Options,
    host: Root,
    kernel: Live,
    kubelet: String,
    builder: Builder,
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
    /// Whether something did not work that may work later.
    pub retry: bool,
    /// How long it took.
    pub took: Duration,
}

impl Agent {
    /// An agent that knows nothing yet.
    ///
    /// # Errors
    /// There is no such root, or the kubelet's directory is no path below it.
    pub fn new(options: Options, cache: Cache) -> Result<Self, OpenError> {
        let open = |source| OpenError::Root { path: options.root.clone(), source };
        let host = Root::open(&options.root).map_err(open)?;
        let kubelet = options.kubelet.to_string_lossy().trim_matches('/').to_owned();
        if kubelet.parse::<HostPath>().is_err() {
            return Err(OpenError::Kubelet(options.kubelet));
        }
        let mut kernel = kernel(&options.root);
        if let Some(socket) = &options.selinuxd {
            kernel = kernel.with_selinuxd(Selinuxd::new(socket, Duration::from_secs(60)));
        }
        Ok(Self { cache, options, host, kernel, kubelet, builder: Builder::default() })
    }

    /// Brings the node to what the cluster asks for. Takes as long as files and security modules take.
    pub fn round(&mut self) -> Round {
        let start = std::time::Instant::now();
        let settings = Settings::of(&self.cache);
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

    /// Leaves the node as it was before.
    ///
    /// # Errors
    /// As [`spo_node::uninstall()`].
    pub fn leave(&self) -> Result<spo_node::Report, ApplyError> {
        spo_node::uninstall(&self.host, &self.kernel)
    }

    fn install(&mut self, settings: &Settings) -> Result<Round, ApplyError> {
        let ledger = read_ledger(&self.host)?;
        let mut plan = self.builder.plan(&self.cache, self.options.kinds, settings, &ledger, &self.kubelet);
        drop(ledger);
        let namespaces = self.options.namespaces.as_deref();
        let watched = |key: &spo_model::names::ProfileKey| match (namespaces, &key.namespace) {
            (Some(namespaces), Some(namespace)) => namespaces.contains(namespace),
            _ => true,
        };
        let artefacts = std::mem::take(&mut plan.artefacts);
        let installed =
            spo_node::install(&self.host, &self.kernel, &artefacts, &|entry| plan.keeps(entry, watched));
        let kinds: Vec<Kind> = artefacts.iter().map(|artefact| artefact.kind).collect();
        self.builder.take_back(artefacts, &plan.verdicts);
        let report = installed?;
        let mut round = Round::default();
        for (outcome, kind) in report.outcomes.iter().zip(kinds) {
            match outcome.state {
                State::Written | State::Loaded => *round.updated.entry(kind).or_default() += 1,
                State::Failed => round.retry = true,
                State::Unchanged | State::Unsupported => {}
            }
        }
        for path in &report.removed {
            tracing::info!(%path, "removed");
            *round.removed.entry(kind_at(path)).or_default() += 1;
        }
        for (path, reason) in &report.stuck {
            tracing::warn!(%path, reason, "cannot be removed");
            round.retry = true;
        }
        let standings = plan.verdicts.into_iter().map(|(subject, verdict)| {
            let outcome = match verdict {
                Verdict::Place(index) => report.outcomes.get(index),
                _ => None,
            };
            standing(subject, verdict, outcome)
        });
        round.standings = standings.collect();
        Ok(round)
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
        Round { standings: standings.collect(), retry: true, ..Round::default() }
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
    /// The kubelet's directory is none.
    #[error("the kubelet's directory {} is no absolute path without `..`", .0.display())]
    Kubelet(PathBuf),
}

/// The kernel that belongs to a root: the running one for `/` and for where a container has its host's root, else
/// none. In a container the host's tools run in the host's mount namespace.
fn kernel(root: &Path) -> Live {
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
