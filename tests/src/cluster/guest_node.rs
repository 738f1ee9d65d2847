//! A node with a kernel of its own: user-mode Linux with AppArmor or SELinux.
//!
//! Its root is an ext4 file of the guest's own; programs are this machine's, seen through hostfs. The node's folder is
//! its `/share`.

use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    API, CONTROL_PLANE,
    network::{Network, run},
    settings::{self, Modules, Places},
};
use crate::guest::Security;

/// A node in a guest.
pub struct GuestNode {
    pub(super) number: usize,
    folder: PathBuf,
}

/// What a guest node needs to be installed, besides what the cluster needs.
pub const GUEST_PROGRAMS: &[&str] =
    &["linux.uml", "busybox", "mke2fs", "containerd", "runc", "apparmor_parser", "semodule", "secilc"];

impl GuestNode {
    /// Boots it; it becomes ready later.
    pub(super) fn start(
        number: usize,
        security: Security,
        (certificate, key): &(String, String),
        network: &mut Network,
        dir: &Path,
        commands: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let this = Self { number, folder: dir.join(format!("guest-{number}")) };
        let share = &this.folder;
        fs::create_dir_all(share.join("cni"))?;
        run(Command::new("cp").arg("-r").arg(dir.join("mirrors")).arg(share))?;
        fs::copy(dir.join("ca.crt"), share.join("ca.crt"))?;
        fs::write(share.join("node.crt"), certificate)?;
        fs::write(share.join("node.key"), key)?;
        let inside = |name: &str| Path::new("/share").join(name);
        let places = Places {
            mirrors: inside("mirrors"),
            cni: inside("cni"),
            addresses: "/run/addresses".into(),
            authority: inside("ca.crt"),
            certificate: inside("node.crt"),
            key: inside("node.key"),
        };
        let modules = match security {
            Security::AppArmor => Modules::AppArmor,
            Security::Selinux => Modules::Selinux,
        };
        fs::write(share.join("containerd.toml"), settings::containerd(&places, modules))?;
        fs::write(share.join("cni/10-pods.conflist"), settings::pod_network(&places, number).to_string())?;
        let kubelet = settings::kubelet(&places, &this.address(), Path::new("/"), 40);
        fs::write(share.join("kubelet.json"), kubelet.to_string())?;
        let kubeconfig = settings::kubeconfig(&format!("https://{API}:443"), &places);
        fs::write(share.join("kubeconfig"), kubeconfig.to_string())?;
        fs::write(
            share.join("env"),
            format!(
                "NODE={} ADDRESS={} GATEWAY={CONTROL_PLANE} KUBELET=/host{}/kubelet\n",
                this.name(),
                this.address(),
                commands.display()
            ),
        )?;
        if security == Security::Selinux {
            this.write_policy()?;
        }
        this.make_root()?;
        this.connect(network)?;
        let parameter = match security {
            Security::AppArmor => "security=apparmor",
            Security::Selinux => "security=selinux enforcing=1",
        };
        // In a process namespace, since the traced children of a killed guest would stay.
        let mut guest = Command::new("unshare");
        guest
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "env"])
            .arg(format!("TMPDIR={}", memory_folder(share).display()))
            .arg(format!("HOME={}", share.display()))
            .args(["linux.uml", "mem=1200M", "root=/dev/ubda", "rw", "init=/init"])
            .arg(format!("umid={}", this.name()))
            .arg(format!("uml_dir={}/", share.display()))
            .arg(format!("ubd0={}", share.join("root.ext4").display()))
            .arg(format!("eth0=tuntap,{},52:54:00:00:00:{number:02x}", this.tap()))
            .arg(format!("share={}", share.display()))
            .args([
                "con=null",
                "con0=null,fd:1",
                "con1=null",
                "console=tty0",
                "panic=-1",
                "quiet",
                "loglevel=4",
            ])
            .args(parameter.split(' '));
        network.spawn(&format!("guest-{number}"), guest)?;
        Ok(this)
    }

    /// `node-9`, ….
    pub fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// Where its init keeps what the kernel logs.
    pub(super) fn kernel_log(&self) -> PathBuf {
        self.folder.join("dmesg")
    }

    /// Switches it off.
    pub(super) fn end(self, network: &mut Network) {
        network.kill(&format!("guest-{}", self.number));
        network.remove_device(&self.tap());
    }

    fn address(&self) -> String {
        format!("10.89.0.{}", self.number)
    }

    fn tap(&self) -> String {
        format!("tap{}", self.number)
    }

    /// The first policy, and the modules from which `semodule` makes every later one.
    fn write_policy(&self) -> Result<(), Box<dyn Error>> {
        fs::write(self.folder.join("base.cil"), spo_selinux_cil::templates::minimal_base())?;
        fs::write(self.folder.join("node.cil"), include_str!("../../guest/node.cil"))?;
        run(Command::new("secilc").current_dir(&self.folder).args([
            "-o",
            "first.bin",
            "-f",
            "/dev/null",
            "base.cil",
            "node.cil",
        ]))
    }

    /// An ext4 file with what a root needs before anything is mounted.
    fn make_root(&self) -> Result<(), Box<dyn Error>> {
        let root = self.folder.join("root");
        for folder in [
            "bin",
            "sbin",
            "usr",
            "lib",
            "lib64",
            "etc/apparmor.d",
            "etc/kubernetes/manifests",
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "root",
            "share",
            "host",
            "opt",
            "var/lib/kubelet",
            "var/lib/containerd",
            "var/log",
        ] {
            fs::create_dir_all(root.join(folder))?;
        }
        std::os::unix::fs::symlink("../run", root.join("var/run"))?;
        fs::copy("/bin/busybox", root.join("bin/busybox"))?;
        let init = root.join("init");
        fs::write(&init, include_str!("../../guest/node-init"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(&root)
            .arg(self.folder.join("root.ext4"))
            .arg("1500M"))
    }

    /// A cable between the guest and the cluster.
    fn connect(&self, network: &Network) -> Result<(), Box<dyn Error>> {
        let ip = |arguments: &[&str]| run(Command::new("ip").args(["-n", network.name()]).args(arguments));
        let (tap, address) = (self.tap(), self.address());
        ip(&["tuntap", "add", &tap, "mode", "tap"])?;
        ip(&["link", "set", &tap, "up"])?;
        ip(&["route", "add", &format!("{address}/32"), "dev", &tap, "src", CONTROL_PLANE])?;
        let pods = format!("10.88.{}.0/24", self.number);
        ip(&["route", "add", &pods, "via", &address, "dev", &tap, "onlink"])
    }
}

/// Where the guest's memory may be a file.
fn memory_folder(share: &Path) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { share.to_owned() }
}
