//! AppArmor: the host's `apparmor_parser` compiles, securityfs takes the result.
//!
//! Compiling and loading are two steps: `apparmor_parser -Q -K -S` gives the binary policy for this kernel and this
//! host's abstractions without touching the kernel; one `write(2)` to `apparmor/.replace` of securityfs loads it, one
//! to `.remove` unloads a name (`security/apparmor/apparmorfs.c`).

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};

use spo_model::{Diagnostic, Severity};

use super::{
    Load, Module, Order, Refusal, Tools,
    confined::{Users, users},
};

/// The AppArmor of a running kernel.
#[derive(Clone, Debug)]
pub struct AppArmor {
    sys: PathBuf,
    proc: PathBuf,
    root: PathBuf,
    tools: Tools,
    boot: String,
}

impl AppArmor {
    /// The AppArmor that shows itself below `sys` (`/sys` of the host), compiled for by the tools of the host whose
    /// root is seen at `root`. The processes of the host are those of `/proc`: a container has to see them.
    pub fn new(sys: &Path, root: &Path, tools: Tools) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            sys: sys.to_owned(),
            proc: "/proc".into(),
            root: root.to_owned(),
            tools,
            boot: boot.trim().to_owned(),
        }
    }

    /// What it can do, and the names it holds.
    pub fn survey(&self) -> Module {
        let enabled = fs::read_to_string(self.sys.join("module/apparmor/parameters/enabled"));
        if !enabled.is_ok_and(|text| text.starts_with('Y')) {
            return Module::Unsupported("AppArmor is not enabled in this kernel".to_owned());
        }
        if self.tools.find(&self.root, PARSER).is_none() {
            return Module::Unavailable(format!(
                "{PARSER} is not installed on this host; it compiles the profiles"
            ));
        }
        match fs::read_to_string(self.interface("profiles")) {
            // The kernel forgets with the next boot.
            Ok(text) => {
                Module::Loads { names: names(&text), order: Order::BeforeFile, basis: self.boot.clone() }
            }
            Err(error) => Module::Unavailable(format!(
                "{} cannot be read: {error}; is securityfs mounted?",
                self.interface("profiles").display()
            )),
        }
    }

    /// Loads profiles; each is compiled first, several at a time.
    pub(super) fn load(&self, loads: &[Load<'_>]) -> Vec<Result<(), Refusal>> {
        let Some(parser) = self.tools.find(&self.root, PARSER) else {
            return loads.iter().map(|_| Err(Refusal::new(format!("{PARSER} is gone")))).collect();
        };
        let workers = thread::available_parallelism().map_or(1, usize::from).min(loads.len().max(1));
        let compiled = compile_all(loads, workers, |load| self.compile(&parser, load));
        loads
            .iter()
            .zip(compiled)
            .map(|(load, blob)| {
                self.write(".replace", &blob?)
                    .map_err(|e| Refusal::new(format!("the kernel does not take the profile: {e}")))?;
                let there = fs::read_to_string(self.interface("profiles")).map(|text| names(&text));
                match there {
                    Ok(names) if !names.contains(load.name) => Err(Refusal::new(format!(
                        "the kernel took the profile, but does not list {:?} among its profiles",
                        load.name
                    ))),
                    _ => Ok(()),
                }
            })
            .collect()
    }

    /// Unloads names; one that is not loaded is fine. One that processes run under is not unloaded: nothing would confine
    /// them any more.
    pub(super) fn unload(&self, names: &[&str]) -> Vec<Result<(), Refusal>> {
        if names.is_empty() {
            return Vec::new();
        }
        let users = match users(&self.proc, names) {
            Ok(users) => users,
            Err(error) => {
                let why = format!("kept: it cannot be told whether processes run under it: {error}");
                return names.iter().map(|_| Err(Refusal::new(why.as_str()))).collect();
            }
        };
        let unload = |name: &&str| match users.get(name) {
            Some(users) => Err(Refusal::new(used(name, users))),
            None => self.remove(name),
        };
        names.iter().map(unload).collect()
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        match self.write(".remove", name.as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Refusal::new(format!("the kernel does not give up profile {name:?}: {error}"))),
        }
    }

    fn compile(&self, parser: &Path, load: &Load<'_>) -> Result<Vec<u8>, Refusal> {
        let arguments = ["--skip-kernel-load", "--skip-cache", "--stdout"].map(Into::into);
        let output = self
            .tools
            .run(parser, &arguments, load.bytes)
            .map_err(|e| Refusal::new(format!("{} cannot be run: {e}", parser.display())))?;
        if output.success && !output.stdout.is_empty() {
            return Ok(output.stdout);
        }
        Err(refusal(&output.stderr, load))
    }

    /// The interface takes one write per policy; a short one is an error.
    fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let written = fs::OpenOptions::new().write(true).open(self.interface(file))?.write(bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn interface(&self, file: &str) -> PathBuf {
        self.sys.join("kernel/security/apparmor").join(file)
    }
}

const PARSER: &str = "apparmor_parser";

fn used(name: &str, users: &Users) -> String {
    let Users { process, count } = users;
    let who = match count {
        1 => format!("process {process} runs"),
        _ => format!("process {process} and {} more run", count - 1),
    };
    format!(
        "kept: {who} under AppArmor profile {name:?} and would be unconfined without it; it goes when they end"
    )
}

/// Compiles profiles in some threads: one result for each, in their order, whatever becomes of a thread.
fn compile_all(
    loads: &[Load<'_>],
    workers: usize,
    compile: impl Fn(&Load<'_>) -> Result<Vec<u8>, Refusal> + Sync,
) -> Vec<Result<Vec<u8>, Refusal>> {
    let chunk = loads.len().div_ceil(workers.max(1)).max(1);
    thread::scope(|scope| {
        let compile = &compile;
        let tasks: Vec<_> = loads
            .chunks(chunk)
            .map(|part| (part.len(), scope.spawn(move || part.iter().map(compile).collect::<Vec<_>>())))
            .collect();
        let joined = tasks.into_iter().flat_map(|(count, task)| {
            let lost = |_| vec![Err(Refusal::new("compiling the profile came to an unexpected end")); count];
            task.join().unwrap_or_else(lost)
        });
        joined.collect()
    })
}

/// What the parser said about a text.
fn refusal(stderr: &str, load: &Load<'_>) -> Refusal {
    let text = String::from_utf8_lossy(load.bytes);
    let found: Vec<Diagnostic> = spo_apparmor::parser_output::read(stderr)
        .iter()
        .map(|found| load.place(found.to_diagnostic(&text, |_| false)))
        .collect();
    let error = found.iter().find(|d| d.severity == Severity::Error);
    let reason = error.map_or_else(|| stderr.trim().to_owned(), |error| error.message.clone());
    Refusal { message: format!("{PARSER} refuses the profile: {reason}"), diagnostics: found }
}

/// The names of `profiles` of securityfs: one line each, the mode in brackets behind it.
fn names(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.rsplit_once(" (")).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{artefact::Origin, kernel::Lsm};
    use spo_model::FieldPath;

    #[test]
    fn names_may_hold_blanks_and_brackets() {
        let text = "web (enforce)\n/usr/bin/man//filter (complain)\na (b) c (unconfined)\n";
        let want = ["/usr/bin/man//filter", "a (b) c", "web"].map(str::to_owned);
        assert_eq!(names(text), BTreeSet::from(want));
    }

    /// A binary policy must never be loaded in the place of another one.
    #[test]
    fn a_thread_that_panics_takes_nobody_elses_place() {
        let names: Vec<String> = (0..5).map(|i| format!("p{i}")).collect();
        let load = |name| Load { lsm: Lsm::AppArmor, name, bytes: b"", origin: None };
        let loads: Vec<Load<'_>> = names.iter().map(|name| load(name)).collect();
        let done = compile_all(&loads, 3, |load| {
            assert_ne!(load.name, "p1", "as a defect would");
            Ok(load.name.as_bytes().to_vec())
        });
        let done: Vec<Option<Vec<u8>>> = done.into_iter().map(Result::ok).collect();
        let of = |name: &str| Some(name.as_bytes().to_vec());
        assert_eq!(done, [None, None, of("p2"), of("p3"), of("p4")]);
    }

    /// A directory that looks like `/sys` with AppArmor, and the AppArmor of it; the tools are this host's.
    fn pretended(dir: &Path, profiles: &str) -> AppArmor {
        let module = dir.join("module/apparmor/parameters");
        let interface = dir.join("kernel/security/apparmor");
        fs::create_dir_all(&module).expect("makes");
        fs::create_dir_all(&interface).expect("makes");
        fs::write(module.join("enabled"), "Y\n").expect("writes");
        for (file, text) in [("profiles", profiles), (".replace", ""), (".remove", "")] {
            fs::write(interface.join(file), text).expect("writes");
        }
        fs::create_dir_all(dir.join("proc")).expect("makes");
        AppArmor { proc: dir.join("proc"), ..AppArmor::new(dir, Path::new("/"), Tools::default()) }
    }

    #[test]
    fn what_processes_run_under_is_not_unloaded() {
        let dir = tempfile::tempdir().expect("a directory");
        let apparmor = pretended(dir.path(), "web (enforce)\nidle (enforce)\n");
        let process = dir.path().join("proc/5000001");
        fs::create_dir_all(process.join("attr")).expect("makes");
        fs::write(process.join("attr/current"), "web//hat (enforce)\n").expect("writes");
        let done = apparmor.unload(&["web", "idle"]);
        let why = done[0].as_ref().expect_err("kept");
        assert!(why.message.contains("process 5000001 runs under AppArmor profile \"web\""), "{why}");
        assert_eq!(done[1], Ok(()));
        let removed = || fs::read(dir.path().join("kernel/security/apparmor/.remove")).expect("there");
        assert_eq!(removed(), b"idle");
        // As in a container that does not see the processes of its host.
        let blind = AppArmor { proc: dir.path().join("nothing"), ..apparmor.clone() };
        assert!(blind.unload(&["web"])[0].as_ref().is_err_and(|why| why.message.contains("cannot be told")));
        fs::remove_dir_all(process).expect("the process ends");
        assert_eq!((apparmor.unload(&["web"]), removed()), (vec![Ok(())], b"webe".to_vec()));
    }

    #[test]
    fn a_kernel_without_apparmor_is_unsupported_and_a_host_without_its_parser_is_broken() {
        let dir = tempfile::tempdir().expect("a directory");
        let apparmor = AppArmor::new(dir.path(), Path::new("/"), Tools::default());
        assert!(matches!(apparmor.survey(), Module::Unsupported(reason) if reason.contains("not enabled")));
        let apparmor = pretended(dir.path(), "");
        let nothing = Tools { path: Vec::new(), ..Tools::default() };
        let without = AppArmor { tools: nothing, ..apparmor };
        assert!(matches!(without.survey(), Module::Unavailable(reason) if reason.contains(PARSER)));
    }

    /// The real parser compiles; a folder takes the result in the place of the kernel.
    #[test]
    fn the_parser_compiles_and_its_complaint_leads_to_the_line() {
        if Tools::default().find(Path::new("/"), PARSER).is_none() {
            return crate::tests::skipped("apparmor", "apparmor_parser is not installed");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let apparmor = pretended(dir.path(), "good (enforce)\n");
        let origin = Origin { path: FieldPath::of("spec.policy"), lines_before: 1 };
        let load = |name, text: &'static str| Load {
            lsm: Lsm::AppArmor,
            name,
            bytes: text.as_bytes(),
            origin: Some(&origin),
        };
        let done = apparmor.load(&[
            load("good", "# ours\nprofile good {\n  /etc/hosts r,\n}\n"),
            load("wrong", "# ours\nprofile wrong {\n  /etc/hosts r,\n  capability nosuch,\n}\n"),
            load("other", "# ours\nprofile other {\n  /etc/hosts r,\n}\n"),
        ]);
        assert_eq!(done[0], Ok(()));
        let wrong = done[1].as_ref().expect_err("refused");
        assert_eq!(wrong.diagnostics[0].path, FieldPath::of("spec.policy"));
        let message = &wrong.diagnostics[0].message;
        assert!(message.contains("nosuch") && message.contains("line 3, column 14"), "{message}");
        let unseen = done[2].as_ref().expect_err("the folder lists no such profile");
        assert!(unseen.message.contains("does not list"), "{unseen}");
        let blob = fs::read(dir.path().join("kernel/security/apparmor/.replace")).expect("there");
        // `security/apparmor/include/policy_unpack.h`: a policy starts with the tagged name "version".
        assert!(blob.windows(7).any(|w| w == b"version"), "a binary policy");
        assert_eq!(apparmor.unload(&["good"]), [Ok(())]);
        let removed = fs::read(dir.path().join("kernel/security/apparmor/.remove")).expect("there");
        assert_eq!(removed, b"good");
    }
}
