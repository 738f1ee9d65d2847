//! A directory of manifests in the place of an API server: profiles for hosts without a cluster.
//!
//! ```text
//! files ──load──► entries ──compile──► artefacts ──install──► report ──print──► table or JSON
//! ```
//!
//! A manifest that cannot be read or used never takes away what an earlier version of it brought: the artefacts
//! that came from it stay until it is repaired or deleted. What the settings forbid goes, and with settings that cannot
//! be understood nothing is changed at all.
//!
//! With the root `/` profiles are loaded into the kernel as well; another root stands for a host and gets the files,
//! and its SELinux modules if it holds a policy store.

mod load;
mod report;
mod watch;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use spo_model::{
    Diagnostic, Severity,
    kind::Kind,
    manifest::{Content, Limits},
    names::ProfileKey,
    object::AnyObject,
    status::ProfileState,
};
use spo_node::{
    ApplyError,
    artefact::Artefact,
    compile::Library,
    desired::Desired,
    host::Root,
    kernel::{Live, Selinuxd},
    ledger::Entry,
    restrictions::Restrictions,
};

use crate::daemon::refusal::is_not_allowed;

pub use load::LoadError;
pub use report::{Line, LineState, Report};
pub use watch::{WatchError, watch};

use load::{Manifest, load};

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directories of manifests; their subdirectories count too.
    pub manifests: Vec<PathBuf>,
    /// The directory that stands for the host's root.
    pub root: PathBuf,
    /// The socket of the `selinuxd` that takes SELinux modules, if it is not `semodule`.
    pub selinuxd: Option<PathBuf>,
    /// How much one manifest may demand.
    pub limits: Limits,
}

impl Options {
    /// Manifests from one directory onto the host below another, with the default limits.
    pub fn new(manifests: &Path, root: &Path) -> Self {
        Self {
            manifests: vec![manifests.to_owned()],
            root: root.to_owned(),
            selinuxd: None,
            limits: Limits::default(),
        }
    }
}

/// Why nothing could be done at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The manifests cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The root cannot be opened.
    #[error("cannot open the root {}: {source}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The settings say something that cannot be understood.
    #[error("the SecurityProfilesOperatorDaemon: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<Diagnostic>),
}

/// Reads the manifests and brings the host to what they say.
///
/// # Errors
/// [`RunError`] if nothing could be done at all. What is wrong with single profiles is in the report.
pub fn run_once(options: &Options) -> Result<Report, RunError> {
    let manifests = load(&options.manifests, &options.limits)?;
    std::fs::create_dir_all(&options.root)
        .map_err(|source| RunError::Root { path: options.root.clone(), source })?;
    let host =
        Root::open(&options.root).map_err(|source| RunError::Root { path: options.root.clone(), source })?;

    let inputs = Inputs::of(&manifests)?;
    let mut lines = Vec::new();
    let mut artefacts = Vec::new();
    let mut seen = HashMap::new();
    for manifest in &manifests {
        read_lines(manifest, &inputs, &mut seen, &mut lines, &mut artefacts);
    }
    let owners: Vec<usize> = artefacts.iter().map(|(line, _)| *line).collect();
    let artefacts: Vec<Artefact> = artefacts.into_iter().map(|(_, artefact)| artefact).collect();
    let broken = Broken::of(&lines);
    let mut kernel = Live::of(&options.root);
    if let Some(socket) = &options.selinuxd {
        kernel = kernel.with_selinuxd(Selinuxd::new(socket, Duration::from_secs(60)));
    }
    let installed = spo_node::install(&host, &kernel, &artefacts, &|entry| broken.may_have_brought(entry))?;
    for (line, outcome) in owners.iter().zip(&installed.outcomes) {
        let manifest = manifests.iter().find(|manifest| manifest.name == lines[*line].manifest);
        if let Some(manifest) = manifest {
            lines[*line].add(manifest, outcome.diagnostics.clone());
        }
        lines[*line].settle(outcome);
    }
    Ok(Report { lines, removed: installed.removed, stuck: installed.stuck })
}

/// What all manifests together say about each profile.
struct Inputs {
    /// The profiles that others build on. One that is not valid is no base for anything.
    library: Library,
    /// What the settings allow; the first SecurityProfilesOperatorDaemon counts.
    allowed: Restrictions,
}

impl Inputs {
    fn of(manifests: &[Manifest]) -> Result<Self, RunError> {
        let mut library = Library::default();
        let mut allowed = None;
        // Settings that cannot be understood must not let through what they were to hold back.
        for manifest in manifests {
            if let Err(problem) = &manifest.entries
                && manifest.text.contains(SETTINGS.as_str())
            {
                return Err(RunError::Settings(vec![problem.clone()]));
            }
        }
        for entry in manifests.iter().flat_map(|m| m.entries.iter().flatten()) {
            let is_settings = entry.kind.parse() == Ok(SETTINGS);
            let unreadable = entry.has_errors() || !matches!(entry.content, Content::Object(_));
            if is_settings && allowed.is_none() && unreadable {
                let errors = entry.diagnostics.iter().filter(|problem| is_error(problem));
                return Err(RunError::Settings(errors.cloned().collect()));
            }
            let Content::Object(decoded) = &entry.content else { continue };
            if let AnyObject::SecurityProfilesOperatorDaemon(settings) = &decoded.object
                && allowed.is_none()
            {
                allowed = Some(Restrictions::of(&settings.spec).map_err(RunError::Settings)?);
            }
            if !entry.has_errors() {
                library.add(&decoded.object);
            }
        }
        Ok(Self { library, allowed: allowed.unwrap_or_default() })
    }
}

const SETTINGS: Kind = Kind::SecurityProfilesOperatorDaemon;

type Seen = HashMap<(Kind, ProfileKey), String>;

fn read_lines(
    manifest: &Manifest,
    inputs: &Inputs,
    seen: &mut Seen,
    lines: &mut Vec<Line>,
    artefacts: &mut Vec<(usize, Artefact)>,
) {
    let entries = match &manifest.entries {
        Ok(entries) => entries,
        Err(problem) => {
            lines.push(Line::unreadable(manifest, problem.clone()));
            return;
        }
    };
    for entry in entries {
        let mut line = Line::of(manifest, entry);
        let Content::Object(decoded) = &entry.content else {
            lines.push(line);
            continue;
        };
        let object = &decoded.object;
        if entry.has_errors() || !object.kind().is_profile() {
            lines.push(line);
            continue;
        }
        if let Some(key) = object.key() {
            let place = format!("{}:{}", manifest.name, entry.span.line);
            if let Some(first) = seen.insert((object.kind(), key.clone()), place) {
                line.refuse(format!("the same profile is in {first} already"));
                seen.insert((object.kind(), key), first);
                lines.push(line);
                continue;
            }
        }
        if let Some(artefact) = build(object, inputs, manifest, &mut line) {
            artefacts.push((lines.len(), artefact));
        }
        lines.push(line);
    }
}

/// The artefact of a profile; `None` if it has none, with the reason in its line.
fn build(object: &AnyObject, inputs: &Inputs, manifest: &Manifest, line: &mut Line) -> Option<Artefact> {
    match Desired::of(object, &inputs.library, &inputs.allowed)? {
        Desired::Artefact(mut artefact, diagnostics) => {
            line.add(manifest, diagnostics);
            artefact.source.clone_from(&manifest.source);
            line.artefact = Some(artefact.path.to_string());
            Some(*artefact)
        }
        Desired::Nothing(ProfileState::Partial) => {
            line.state = LineState::Partial;
            None
        }
        Desired::Nothing(_) => {
            line.state = LineState::Disabled;
            None
        }
        Desired::Refused(problems) => {
            line.state = LineState::Error;
            line.forbidden = is_not_allowed(&problems);
            line.add(manifest, problems);
            None
        }
    }
}

/// The manifests and documents from which this run could not get what they may have brought before.
#[derive(Default)]
struct Broken {
    files: HashSet<String>,
    documents: HashSet<(String, String, Option<String>, String)>,
}

impl Broken {
    fn of(lines: &[Line]) -> Self {
        let mut broken = Self::default();
        for line in lines.iter().filter(|line| line.state == LineState::Error && !line.forbidden) {
            if line.kind.is_empty() || line.name.is_empty() {
                broken.files.insert(line.source.clone());
            } else {
                let kind =
                    line.kind.parse().map_or_else(|_| line.kind.clone(), |kind: Kind| kind.to_string());
                broken.documents.insert((
                    line.source.clone(),
                    kind,
                    line.namespace.clone(),
                    line.name.clone(),
                ));
            }
        }
        broken
    }

    fn may_have_brought(&self, entry: &Entry) -> bool {
        let namespace = entry.key.namespace.as_ref().map(ToString::to_string);
        let document = (entry.source.clone(), entry.kind.to_string(), namespace, entry.key.name.to_string());
        self.files.contains(&entry.source) || self.documents.contains(&document)
    }
}

/// Whether a finding stops a profile.
fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTER: &str = "var/lib/kubelet/seccomp/operator/ns/a.json";

    /// A folder of manifests and a folder that stands for a host.
    struct Bench {
        manifests: tempfile::TempDir,
        host: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = || tempfile::tempdir().expect("a folder");
            let bench = Self { manifests: folder(), host: folder() };
            bench.write("a.yaml", &profile("read, mount"));
            assert!(bench.run().expect("runs").lines.iter().all(|line| line.state != LineState::Error));
            assert!(bench.has_filter());
            bench
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.manifests.path().join(name), text).expect("writes");
        }

        fn run(&self) -> Result<Report, RunError> {
            run_once(&Options::new(self.manifests.path(), self.host.path()))
        }

        fn has_filter(&self) -> bool {
            self.host.path().join(FILTER).exists()
        }
    }

    fn profile(calls: &str) -> String {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\n\
             metadata: {{name: a, namespace: ns}}\n\
             spec: {{defaultAction: SCMP_ACT_ERRNO, syscalls: [{{action: SCMP_ACT_ALLOW, names: [{calls}]}}]}}\n"
        )
    }

    fn settings(spec: &str) -> String {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SecurityProfilesOperatorDaemon\n\
             metadata: {{name: spod}}\nspec: {spec}\n"
        )
    }

    #[test]
    fn what_is_forbidden_goes() {
        let bench = Bench::new();
        bench.write("spod.yaml", &settings("{security: {allowedSyscalls: [read]}}"));
        let report = bench.run().expect("runs");
        assert_eq!((report.lines[0].state, report.removed.len()), (LineState::Error, 1));
        assert!(!bench.has_filter());
        // What is merely wrong stays, also under these settings.
        bench.write("a.yaml", &profile("read"));
        bench.run().expect("runs");
        bench.write("a.yaml", &profile("raed"));
        assert_eq!(bench.run().expect("runs").lines[0].state, LineState::Error);
        assert!(bench.has_filter());
    }

    #[test]
    fn settings_that_cannot_be_understood_stop_everything() {
        let bench = Bench::new();
        let strict = settings("{security: {allowedSyscalls: [read]}}");
        bench.write("b.yaml", &profile("read, bpf").replace("name: a", "name: b"));
        for broken in [
            settings("{security: {allowedSyscalls: 7}}"),
            settings("[]"),
            settings("{security: {allowedSyscalls: [NOT A NAME]}}"),
            strict.replace("/v1\n", "/v7\n"),
            format!("{strict}  broken: [\n"),
        ] {
            bench.write("spod.yaml", &broken);
            let error = bench.run().expect_err("refuses");
            assert!(
                matches!(&error, RunError::Settings(problems) if !problems.is_empty()),
                "{broken}: {error}"
            );
            assert!(!bench.host.path().join(FILTER.replace("a.json", "b.json")).exists(), "{broken}");
            assert!(bench.has_filter(), "{broken}");
        }
    }

    #[test]
    fn a_folder_is_the_same_by_whatever_path() {
        let bench = Bench::new();
        bench.write("a.yaml", "{");
        std::fs::create_dir(bench.manifests.path().join("sub")).expect("makes");
        let round_about = bench.manifests.path().join("sub/..");
        let report = run_once(&Options::new(&round_about, bench.host.path())).expect("runs");
        assert_eq!(report.removed, []);
        assert!(bench.has_filter(), "a broken manifest takes nothing away");
    }
}
