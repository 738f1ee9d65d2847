//! One node: a mount namespace with a kubelet and a containerd in it.

use std::{
    error::Error,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    network::{Network, run},
    settings::{self, Modules, Places},
};

/// The folders that every node has of its own.
const OWN: &[&str] = &[
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/lib/security-profiles-operator",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/run/netns",
];

/// A real node.
pub struct Node {
    pub(super) number: usize,
    folder: PathBuf,
    namespace: String,
}

impl Node {
    /// Starts it; it becomes ready later.
    pub(super) fn start(
        number: usize,
        network: &mut Network,
        dir: &Path,
        commands: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let this = Self {
            number,
            folder: dir.join(format!("node-{number}-root")),
            namespace: format!("{}-node-{number}", network.name()),
        };
        fs::create_dir_all(&this.folder)?;
        // A device that the kubelet knows: it has no ephemeral storage to offer otherwise.
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=3g", &this.namespace]).arg(&this.folder))?;
        this.make_groups()?;
        let name = this.name();
        let mut host = Command::new("unshare");
        host.args(["--mount", "--propagation", "private", "sleep", "infinity"]);
        network.spawn(&this.process("host"), host)?;
        this.wait_for_namespace(network)?;
        for own in OWN {
            let there = this.path(own);
            fs::create_dir_all(&there)?;
            fs::create_dir_all(own)?;
            run(this.enter(network)?.arg("mount").arg("--bind").arg(&there).arg(own))?;
            run(this.enter(network)?.args(["mount", "--make-rshared", own]))?;
        }
        this.configure(dir)?;
        let pid = network.pid(&this.process("host")).ok_or("the node has no namespace")?;
        let inside = |program: &Path| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--mount=/proc/{pid}/ns/mnt")).arg("--").arg(program);
            command
        };
        let mut containerd = inside(Path::new("containerd"));
        containerd.arg("--config").arg(this.folder.join("containerd.toml"));
        network.spawn(&this.process("containerd"), containerd)?;
        let mut kubelet = inside(&commands.join("kubelet"));
        kubelet
            .arg("--config")
            .arg(this.folder.join("kubelet.json"))
            .arg("--kubeconfig")
            .arg(dir.join(format!("{name}.kubeconfig")))
            .arg("--cert-dir")
            .arg(this.folder.join("pki"))
            .args(["--hostname-override", &name, "--node-ip", &this.address()]);
        let socket = this.path("/run/containerd/containerd.sock");
        let start = Instant::now();
        while !socket.exists() && start.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_millis(20));
        }
        network.spawn(&this.process("kubelet"), kubelet)?;
        Ok(this)
    }

    /// `node-1`, ….
    pub fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// Where this machine sees a path of the node.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// Stops the kubelet and containerd as a machine without power does, or starts them again.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn switch(&mut self, network: &mut Network, on: bool) -> Result<(), Box<dyn Error>> {
        for process in ["kubelet", "containerd"].map(|process| self.process(process)) {
            if on {
                network.restart(&process)?;
            } else {
                network.kill(&process);
            }
        }
        Ok(())
    }

    /// Every process of the node, with the words it was started with.
    pub fn processes(&self, network: &Network) -> Vec<(u32, String)> {
        let space = network.pid(&self.process("host")).and_then(mount_namespace);
        let mut all = processes_of_groups(&self.namespace);
        all.extend(space.iter().flat_map(processes_in));
        all.sort_unstable();
        all.dedup();
        let words = |pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let text = |pid| String::from_utf8_lossy(&words(pid)).replace('\0', " ").trim().to_owned();
        all.into_iter().map(|pid| (pid, text(pid))).collect()
    }

    /// Sends a signal to those processes of the node whose words contain a text, and says how many there are. `STOP` for
    /// all of them is a machine that hangs, `CONT` its awakening.
    ///
    /// # Errors
    /// There is no `kill`.
    pub fn signal(&self, network: &Network, signal: &str, words: &str) -> Result<usize, Box<dyn Error>> {
        let mut all = self.processes(network);
        all.retain(|(_, line)| line.contains(words));
        for (pid, _) in &all {
            Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).output()?;
        }
        Ok(all.len())
    }

    /// A command that will run in the node.
    ///
    /// # Errors
    /// The node has ended.
    pub fn enter(&self, network: &Network) -> Result<Command, Box<dyn Error>> {
        let pid = network.pid(&self.process("host")).ok_or("the node has ended")?;
        let mut command = network.command("nsenter");
        command.arg(format!("--mount=/proc/{pid}/ns/mnt")).arg("--");
        Ok(command)
    }

    /// The processes of its pods.
    pub fn pod_processes(&self) -> Vec<u32> {
        processes_of_groups(&self.namespace)
    }

    /// Ends it with all that it runs.
    pub(super) fn end(self, network: &mut Network) {
        for process in ["kubelet", "containerd"] {
            network.kill(&self.process(process));
        }
        // Containers are in the node's control groups, their shims in its mount namespace.
        let space = network.pid(&self.process("host")).and_then(mount_namespace);
        for _ in 0..50 {
            let mut left = processes_of_groups(&self.namespace);
            left.extend(space.iter().flat_map(processes_in));
            left.retain(|pid| Some(*pid) != network.pid(&self.process("host")));
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
            }
            thread::sleep(Duration::from_millis(20));
        }
        network.kill(&self.process("host"));
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
        let mut groups = groups(&self.namespace);
        groups.sort_by_key(|group| std::cmp::Reverse(group.components().count()));
        for group in groups {
            let _ = fs::remove_dir(group);
        }
    }

    fn address(&self) -> String {
        format!("10.89.0.{}", self.number)
    }

    fn process(&self, what: &str) -> String {
        format!("{what}-{}", self.number)
    }

    fn wait_for_namespace(&self, network: &Network) -> Result<(), Box<dyn Error>> {
        let ours = mount_namespace(std::process::id());
        for _ in 0..250 {
            let pid = network.pid(&self.process("host")).ok_or("the node has ended")?;
            if mount_namespace(pid).is_some_and(|theirs| Some(theirs) != ours) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("the node gets no mount namespace".into())
    }

    /// The node's control group in every hierarchy (version 1), or the one that there is (version 2).
    fn make_groups(&self) -> Result<(), Box<dyn Error>> {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            return Ok(fs::create_dir_all(root.join(&self.namespace))?);
        }
        for entry in fs::read_dir(root)? {
            let hierarchy = entry?.path();
            if hierarchy.is_symlink() || !hierarchy.is_dir() {
                continue;
            }
            let group = hierarchy.join(&self.namespace);
            fs::create_dir_all(&group)?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read(hierarchy.join(file)) {
                    fs::write(group.join(file), value)?;
                }
            }
        }
        Ok(())
    }

    fn configure(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        let name = self.name();
        let places = Places {
            mirrors: dir.join("mirrors"),
            cni: self.folder.join("cni"),
            addresses: self.folder.join("ipam"),
            authority: dir.join("ca.crt"),
            certificate: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
        };
        fs::create_dir_all(&places.cni)?;
        let pods = settings::pod_network(&places, self.number);
        fs::write(places.cni.join("10-pods.conflist"), pods.to_string())?;
        fs::write(self.folder.join("containerd.toml"), settings::containerd(&places, Modules::None))?;
        let group = Path::new("/").join(&self.namespace);
        let kubelet = settings::kubelet(&places, &self.address(), &group, 8);
        Ok(fs::write(self.folder.join("kubelet.json"), kubelet.to_string())?)
    }
}

fn mount_namespace(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|space| space.ino())
}

fn processes_in(space: &u64) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| mount_namespace(*pid).as_ref() == Some(space))
        .collect()
}

/// Every control group of a node, in every hierarchy.
fn groups(name: &str) -> Vec<PathBuf> {
    fn walk(folder: PathBuf, found: &mut Vec<PathBuf>) {
        let inner = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for inner in inner.filter(|path| path.is_dir()) {
            walk(inner, found);
        }
        found.push(folder);
    }
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = Vec::new();
    for top in hierarchies.chain([root.to_owned()]).map(|hierarchy| hierarchy.join(name)) {
        if top.is_dir() {
            walk(top, &mut found);
        }
    }
    found
}

fn processes_of_groups(name: &str) -> Vec<u32> {
    let mut found: Vec<u32> = groups(name)
        .iter()
        .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
        .flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
