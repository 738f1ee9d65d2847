//! `spoc run`: a command under a profile.
//!
//! ```text
//! spoc run ──starts──► spoc run, the inner one: drop privileges → name the AppArmor profile → filter → execve
//!    └── follows the audit log and tells what was denied, until the command has ended
//! ```
//!
//! The process that confines itself does nothing else, so neither the filter nor the dropped privileges touch the one
//! that watches.

use std::{
    ffi::{CString, OsString},
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::{fs::OFlags, process, thread as privileges};
use spo_model::{
    object::AnyObject,
    seccomp::{Arch, SeccompProfileSpec},
};
use spo_seccomp::{
    ArchExt as _, CompileOptions, Program,
    backend::load::{LoadOptions, load_and_exec},
    syscalls::Syscall,
};

use crate::{Result, input};

/// Run a command under a profile and tell what it was denied.
///
/// A seccomp profile is compiled here and loaded for the command alone; with an AppArmor profile, which `spoc install`
/// has to have loaded, the command is started confined by it. Both can be given. The extension `.json` means the JSON of
/// the OCI runtime specification. Under sudo the command runs as the user who called sudo, and no program it starts
/// gains privileges.
///
/// The exit status is the command's; 128 and the number of the signal if a signal ended it; 1 if it was not started.
#[derive(clap::Args)]
#[command(
    trailing_var_arg = true,
    after_help = "Examples:
  spoc run -p profile.yaml ls -l /
  spoc run -p restricted.yaml --base deploy/base-profiles -- curl https://example.com
  sudo spoc run -p seccomp.yaml -p apparmor.yaml -- nginx -g 'daemon off;'"
)]
pub(crate) struct Args {
    /// The profile; a second one of another kind may be given [default: profile.yaml in $TMPDIR or /tmp].
    #[arg(short, long, value_name = "FILE")]
    profile: Vec<String>,
    /// What the profile is of; told from the file if not given.
    #[arg(short = 't', long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Type>,
    /// Files and folders with profiles that this one builds on.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
    /// The command and its arguments.
    #[arg(required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Confine this process and become the command.
    #[arg(long, hide = true)]
    confine: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    /// A filter of system calls.
    Seccomp,
    /// A profile that the kernel has loaded.
    Apparmor,
}

/// What a command is put under.
#[derive(Default)]
struct Confinement {
    filter: Option<(Program, u32)>,
    apparmor: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.confine {
        return Err(become_command(args)?.into());
    }
    // Everything that can be wrong with the profiles is said here, before anything is started.
    let copies = Copies::of(&args.profile)?;
    read(args, &copies.names)?;
    find(&args.command[0])?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--confine"]);
    for profile in &copies.names {
        command.args(["--profile", profile]);
    }
    for base in &args.base {
        command.args(["--base", base]);
    }
    let mut log = AuditLog::open();
    let mut child = command.arg("--").args(&args.command).spawn()?;
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let status = thread::scope(|scope| {
        let follower = log.as_mut().map(|log| scope.spawn(|| log.follow(pid, &ended)));
        let status = child.wait();
        ended.store(true, Ordering::Release);
        // A log that cannot be followed any more takes nothing from the command's status.
        let _ = follower.map(thread::ScopedJoinHandle::join);
        status
    })?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// The files of the profiles; what comes from standard input is copied for the inner process.
struct Copies {
    names: Vec<String>,
    _file: Option<tempfile::NamedTempFile>,
}

impl Copies {
    fn of(profiles: &[String]) -> Result<Self> {
        let mut names = profiles.to_vec();
        if names.is_empty() {
            names.push(input::default_file());
        }
        let mut copy = None;
        for name in names.iter_mut().filter(|name| *name == "-") {
            let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
            io::copy(&mut io::stdin().lock().take(64 << 20), &mut file)?;
            file.flush()?;
            *name = file.path().display().to_string();
            copy = Some(file);
        }
        Ok(Self { names, _file: copy })
    }
}

fn read(args: &Args, profiles: &[String]) -> Result<Confinement> {
    let mut all = Confinement::default();
    for name in profiles {
        let kind = if Path::new(name).extension().is_some_and(|e| e == "json") {
            let source = input::read(Path::new(name))?;
            let spec = spo_seccomp::import::runtime_spec(&source.text).map_err(|e| format!("{name}: {e}"))?;
            all.set_filter(name, &spec)?;
            Type::Seccomp
        } else {
            let (source, object) = input::one(name)?;
            match object {
                AnyObject::SeccompProfile(profile) => {
                    let bases = input::sources(&args.base)?;
                    let library = input::library(bases.iter().chain([&source]));
                    let found = spo_node::compile::effective(&profile, &library)
                        .map_err(|problems| input::shown(&source, &problems))?;
                    all.set_filter(name, &found.effective.profile)?;
                    Type::Seccomp
                }
                AnyObject::AppArmorProfile(profile) => {
                    let loaded = profile.metadata.name.as_ref().map_or("", |n| n.as_str()).to_owned();
                    if all.apparmor.replace(loaded).is_some() {
                        return Err(format!("{name}: there is an AppArmor profile already").into());
                    }
                    Type::Apparmor
                }
                other => {
                    let help = "give a SeccompProfile or an AppArmorProfile";
                    return Err(
                        format!("{name}: a command cannot be run under a {}; {help}", other.kind()).into()
                    );
                }
            }
        };
        if args.kind.is_some_and(|wanted| wanted != kind) {
            return Err(format!("{name}: the profile is not of the type that --type says").into());
        }
    }
    if let Some(name) = &all.apparmor {
        attribute(name)?;
    }
    Ok(all)
}

impl Confinement {
    fn set_filter(&mut self, name: &str, spec: &SeccompProfileSpec) -> Result<()> {
        let policy = spo_seccomp::Policy::from_profile(spec, &spo_seccomp::Options::new(Arch::host()))
            .map_err(|e| format!("{name}: {e}"))?;
        let options = CompileOptions::default().enosys_ceiling(true);
        let program = spo_seccomp::compile(&policy, &[], &options).map_err(|e| format!("{name}: {e}"))?;
        if self.filter.replace((program, spo_seccomp::flags(spec))).is_some() {
            return Err(format!("{name}: there is a seccomp profile already").into());
        }
        Ok(())
    }
}

/// Where the AppArmor profile of the next `execve` is written, if the kernel has the profile.
fn attribute(name: &str) -> Result<PathBuf> {
    let profiles = "/sys/kernel/security/apparmor/profiles";
    match fs::read_to_string(profiles) {
        Ok(text) => {
            let loaded =
                text.lines().filter_map(|line| line.rsplit_once(" (")).any(|(loaded, _)| loaded == name);
            if !loaded {
                let help = "load it with `sudo spoc install PROFILE`";
                return Err(format!("the AppArmor profile {name:?} is not loaded; {help}").into());
            }
        }
        // Only root may list the profiles; then the kernel says at the exec whether it has this one.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(_) => return Err("this kernel has no AppArmor, so nothing can be run under its profiles".into()),
    }
    let new = PathBuf::from("/proc/self/attr/apparmor/exec");
    Ok(if new.exists() { new } else { PathBuf::from("/proc/self/attr/exec") })
}

/// Confines this process and executes the command; comes back only with an error.
fn become_command(args: &Args) -> Result<String> {
    let confinement = read(args, &args.profile)?;
    let path = find(&args.command[0])?;
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    drop_privileges(&mut environment)?;
    if let Some(name) = &confinement.apparmor {
        fs::write(attribute(name)?, format!("exec {name}"))
            .map_err(|e| format!("the kernel does not take AppArmor profile {name:?}: {e}"))?;
    }
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| "an argument holds a NUL");
    let program = text(path.as_os_str().as_bytes())?;
    let argv = args.command.iter().map(|a| text(a.as_bytes())).collect::<std::result::Result<Vec<_>, _>>()?;
    let envp = environment
        .iter()
        .map(|(key, value)| text(&[key.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let filter = confinement.filter.as_ref();
    let error = load_and_exec(
        filter.map(|(program, flags)| (program, LoadOptions::new(*flags))),
        &program,
        &argv,
        &envp,
    );
    let shown = path.display();
    Ok(match error.raw_os_error() {
        Some(1 | 38) if filter.is_some() => format!(
            "{shown} cannot be started: {error}; the profile probably denies execve, see `spoc explain PROFILE execve`"
        ),
        _ => format!("{shown} cannot be started: {error}"),
    })
}

/// The program that a command means.
fn find(command: &OsString) -> Result<PathBuf> {
    let given = Path::new(command);
    let shown = given.display();
    if given.components().count() > 1 {
        return if given.exists() {
            Ok(given.to_owned())
        } else {
            Err(format!("{shown}: no such program").into())
        };
    }
    find_program(given).ok_or_else(|| format!("{shown}: no such program in PATH").into())
}

/// The program of a name in `PATH`.
pub(crate) fn find_program(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let runs = |path: &PathBuf| fs::metadata(path).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0);
    std::env::split_paths(&path).map(|folder| folder.join(name.as_ref())).find(runs)
}

/// Under sudo: become the user who called it, with that user's environment.
fn drop_privileges(environment: &mut Vec<(OsString, OsString)>) -> Result<()> {
    let get = |name: &str| {
        environment
            .iter()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| value.to_str())
            .map(str::to_owned)
    };
    let (Some(uid), Some(gid), Some(user)) = (get("SUDO_UID"), get("SUDO_GID"), get("SUDO_USER")) else {
        return Ok(());
    };
    if !process::geteuid().is_root() {
        return Ok(());
    }
    let number = |name: &str, text: &str| {
        text.parse::<u32>().ok().filter(|n| *n != u32::MAX).ok_or(format!("{name} is no number: {text:?}"))
    };
    let (uid, gid) = (number("SUDO_UID", &uid)?, number("SUDO_GID", &gid)?);
    let home = home_of(uid);
    environment.retain(|(key, _)| !key.as_bytes().starts_with(b"SUDO_") && key != "HOME" && key != "USER");
    environment.push(("USER".into(), user.into()));
    environment.extend(home.map(|home| ("HOME".into(), home.into())));
    let (uid, gid) = (process::Uid::from_raw(uid), process::Gid::from_raw(gid));
    // Only this thread exists, so what is set for it is set for the process.
    privileges::set_thread_groups(&[gid])
        .and_then(|()| privileges::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| privileges::set_thread_res_uid(uid, uid, uid))
        .map_err(|e| format!("privileges cannot be dropped, so the command is not started: {e}").into())
}

/// The home directory of a user (`passwd(5)`).
fn home_of(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        let found = fields.len() >= 7 && fields[2].parse() == Ok(uid);
        found.then(|| fields[5].to_owned())
    })
}

/// The log into which the kernel writes what it denies.
struct AuditLog {
    file: fs::File,
    rest: Vec<u8>,
}

impl AuditLog {
    /// The first log that can be read, from its end on.
    fn open() -> Option<Self> {
        let logs = ["/var/log/audit/audit.log", "/var/log/syslog", "/dev/kmsg"];
        let file = logs.iter().find_map(|path| {
            let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).ok()?;
            let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
            file.seek(SeekFrom::End(0)).ok().map(|_| file)
        })?;
        Some(Self { file, rest: Vec::new() })
    }

    /// Prints what concerns a process, until it has ended and the log has had time to say so.
    fn follow(&mut self, pid: u32, ended: &AtomicBool) {
        loop {
            let last = ended.load(Ordering::Acquire);
            if last {
                thread::sleep(Duration::from_millis(150));
            }
            self.print(pid);
            if last {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn print(&mut self, pid: u32) {
        let mut chunk = [0; 16 << 10];
        // A log that is written faster than it is read must not keep us here for ever.
        for _ in 0..MOST_CHUNKS {
            let Ok(size @ 1..) = self.file.read(&mut chunk) else { return };
            self.rest.extend_from_slice(&chunk[..size]);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if let Some(text) = denial(&String::from_utf8_lossy(&line), pid) {
                    eprintln!("{text}");
                }
            }
            // A line without end is no audit record.
            if self.rest.len() > 64 << 10 {
                self.rest.clear();
            }
        }
    }
}

/// The most chunks of a log that are read in one go.
const MOST_CHUNKS: usize = 256;

/// What a line of an audit log says about a process, for people.
fn denial(line: &str, pid: u32) -> Option<String> {
    let field = |name: &str| {
        let found = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.map(|value| value.trim_matches('"'))
    };
    if field("pid")?.parse() != Ok(pid) {
        return None;
    }
    if line.contains("apparmor=") {
        let part = |name| field(name).unwrap_or("?");
        let (what, operation) = (part("apparmor"), part("operation"));
        return Some(format!("AppArmor: {what} {operation} {} by profile {}", part("name"), part("profile")));
    }
    if let Some((_, rest)) = line.split_once("avc:  denied  { ") {
        let part = |name| field(name).unwrap_or("?");
        let permission = rest.split(" }").next().unwrap_or("?");
        let (from, to, class) = (part("scontext"), part("tcontext"), part("tclass"));
        return Some(format!("SELinux: denied {permission} for {from} on {to} ({class})"));
    }
    if line.contains("type=1326") || line.contains("type=SECCOMP") {
        let number: u32 = field("syscall")?.parse().ok()?;
        let token = u32::from_str_radix(field("arch")?, 16).ok()?;
        let arch = Arch::ALL.iter().find(|arch| arch.audit_token() == token);
        let name = arch.and_then(|arch| Syscall::by_number(*arch, number)).map_or("?", Syscall::name);
        return Some(format!("Seccomp: {name} ({number})"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_of_a_process_are_told() {
        let told = |line: &str| denial(line, 42);
        let seccomp = "audit: type=1326 audit(1.2:3): auid=0 uid=0 pid=42 comm=\"ls\" exe=\"/bin/ls\" sig=0 \
                       arch=c000003e syscall=217 compat=0 ip=0x7f code=0x50000";
        assert_eq!(told(seccomp).as_deref(), Some("Seccomp: getdents64 (217)"));
        assert_eq!(denial(seccomp, 43), None);
        let apparmor = "type=AVC msg=audit(1.2:3): apparmor=\"DENIED\" operation=\"open\" profile=\"web\" \
                        name=\"/etc/shadow\" pid=42 comm=\"cat\" requested_mask=\"r\"";
        assert_eq!(told(apparmor).as_deref(), Some("AppArmor: DENIED open /etc/shadow by profile web"));
        let selinux = "audit: type=1400 audit(1.2:3): avc:  denied  { search } for  pid=42 comm=\"sh\" \
                       scontext=a:b:c:s0 tcontext=d:e:f:s0 tclass=dir permissive=0";
        assert_eq!(told(selinux).as_deref(), Some("SELinux: denied search for a:b:c:s0 on d:e:f:s0 (dir)"));
        assert_eq!(told("pid=42 something else"), None);
    }
}
