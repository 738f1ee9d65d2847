//! The network namespace that a cluster lives in, and the processes in it.

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A network namespace with one device, and the long-running processes in it, by name.
pub struct Network {
    name: String,
    logs: PathBuf,
    processes: BTreeMap<String, Child>,
    /// How each was started.
    lines: BTreeMap<String, Vec<String>>,
}

impl Network {
    /// Makes a namespace; what an earlier one of that name left behind is ended.
    pub(super) fn new(name: &str, logs: &Path) -> Result<Self, Box<dyn Error>> {
        let this = Self {
            name: name.to_owned(),
            logs: logs.to_owned(),
            processes: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        this.delete();
        run(Command::new("ip").args(["netns", "add", name]))?;
        run(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]))?;
        // Answers to guests leave by another device than the one that has the address.
        let settings = ["ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=0"];
        run(this.command("sysctl").arg("-qw").args(settings.map(|setting| format!("net.ipv4.{setting}"))))?;
        Ok(this)
    }

    /// The name of the namespace.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the device one more address.
    pub(super) fn add_address(&self, address: &str) -> Result<(), Box<dyn Error>> {
        run(Command::new("ip").args([
            "-n",
            &self.name,
            "addr",
            "replace",
            &format!("{address}/32"),
            "dev",
            "lo",
        ]))
    }

    /// Lets processes of the namespace send to addresses that nobody has, which kube-proxy then replaces.
    pub(super) fn add_services(&self, range: &str, source: &str) -> Result<(), Box<dyn Error>> {
        run(Command::new("ip").args(["-n", &self.name, "route", "add", range, "dev", "lo", "src", source]))
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // Not `ip netns exec`, which mounts a /sys without the control groups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Starts a process in the namespace that goes on; what it says goes into a file of its name.
    pub(super) fn spawn(&mut self, name: &str, command: Command) -> Result<(), Box<dyn Error>> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        self.lines.insert(name.to_owned(), line);
        self.restart(name)
    }

    /// Starts a process again, as it was started before.
    pub(super) fn restart(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        self.kill(name);
        let line = self.lines.get(name).ok_or_else(|| format!("{name} was never started"))?;
        let (program, arguments) = line.split_first().ok_or("no program")?;
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.logs.join(format!("{name}.log")))?;
        let child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.processes.insert(name.to_owned(), child);
        Ok(())
    }

    /// The process of a name, if it runs.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.processes.get(name).map(Child::id)
    }

    /// Ends a process as a crash does.
    pub(super) fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.processes.remove(name) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Takes a device away.
    pub(super) fn remove_device(&self, device: &str) {
        let _ = Command::new("ip").args(["-n", &self.name, "link", "del", device]).output();
    }

    /// Ends everything in the namespace, and the namespace.
    pub(super) fn end(&mut self) {
        for (_, mut child) in std::mem::take(&mut self.processes) {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.delete();
    }

    fn delete(&self) {
        if !Path::new("/run/netns").join(&self.name).exists() {
            return;
        }
        if let Ok(output) = Command::new("ip").args(["netns", "pids", &self.name]).output() {
            for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs a command that has to succeed.
pub(super) fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let output = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
