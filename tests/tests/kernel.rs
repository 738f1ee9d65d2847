//! Profiles in real kernels: seccomp in this one through `runc`, AppArmor and SELinux in guests.
//!
//! Every profile goes the way a user sends it: a manifest, `spoc install` or `spoc convert`, and then processes under it.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};
use spo_tests::{
    binary,
    guest::{self, Security},
    installed, skip, workspace,
};

fn example(name: &str) -> String {
    workspace().join("examples/guide").join(name).display().to_string()
}

fn spoc(arguments: &[&str]) -> Output {
    Command::new(binary("spo-cli", "spoc")).current_dir(workspace()).args(arguments).output().expect("runs")
}

/// The seccomp section that `spoc convert` makes of a profile.
fn seccomp(profile: &str, bases: &[&str]) -> Value {
    let mut arguments = vec!["convert", profile];
    bases.iter().for_each(|base| arguments.extend(["--base", base]));
    let output = spoc(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A container of a static busybox that runs a script under a seccomp section.
fn container(seccomp: &Value, script: &str) -> (bool, String) {
    let bundle = tempfile::tempdir().expect("a directory");
    let bin = bundle.path().join("rootfs/bin");
    for dir in ["bin", "proc", "dev", "tmp"] {
        fs::create_dir_all(bundle.path().join("rootfs").join(dir)).expect("makes");
    }
    fs::copy("/bin/busybox", bin.join("busybox")).expect("copies");
    for applet in ["sh", "mkdir", "echo"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("links");
    }
    let spec = Command::new("runc").args(["spec"]).current_dir(bundle.path()).status().expect("runs");
    assert!(spec.success());
    let path = bundle.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    config["root"]["readonly"] = json!(false);
    config["linux"]["seccomp"] = seccomp.clone();
    fs::write(&path, config.to_string()).expect("writes");
    let folder = bundle.path().file_name().expect("a name").to_string_lossy().replace('.', "");
    let output = Command::new("runc")
        .args(["run", "--bundle"])
        .arg(bundle.path())
        .arg(format!("spo-test{folder}"))
        .output()
        .expect("runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn seccomp_profiles_under_runc() {
    if !installed("runc", &["runc", "busybox"]) {
        return;
    }
    let (runs, said) = container(&json!({ "defaultAction": "SCMP_ACT_ALLOW" }), "echo started");
    if !runs {
        return skip("runc", &format!("no container can be started here: {}", said.trim()));
    }
    let guide = example("02-seccomp.yaml");
    // The lint and the runtime agree that nothing starts under the guide's profile.
    let check = spoc(&["check", &guide]);
    let lints = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(lints.contains("runtime-floor") && lints.contains("execve"), "{lints}");
    let (started, said) = container(&seccomp(&guide, &[]), "echo started");
    assert!(!started && !said.contains("started"), "{said}");

    // The same names on top of runc's base profile, and the few calls that busybox itself makes.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("based.yaml");
    let text = fs::read_to_string(&guide)
        .expect("there")
        .replace("v1beta1", "v1")
        .replace("  defaultAction", "  baseProfileName: runc-v1.4.0\n  defaultAction");
    let calls =
        ["arch_prctl", "getuid", "rt_sigaction", "getpid", "getppid", "wait4", "clone", "fork", "vfork"];
    let more: String = calls.iter().map(|name| format!("    - {name}\n")).collect();
    fs::write(&path, text + &more).expect("writes");
    let based = path.display().to_string();
    let profile = seccomp(&based, &["deploy/base-profiles"]);
    let (started, said) = container(&profile, "echo started; mkdir /tmp/x || echo refused; exit 0");
    assert!(started && said.contains("started\n"), "{said}");
    assert!(
        said.contains("refused") && said.contains("Operation not permitted"),
        "mkdir is not allowed: {said}"
    );
}

/// The tools that every guest needs, and whether a guest can be booted at all.
fn guest_tools(tier: &str, tools: &[&str]) -> bool {
    let all: Vec<&str> = ["linux.uml", "busybox"].iter().chain(tools).copied().collect();
    installed(tier, &all) && {
        let root = fs::read_to_string("/proc/self/status").is_ok_and(|s| s.contains("\nUid:\t0\t"));
        root || {
            skip(tier, "the guest reads the host's files as root");
            false
        }
    }
}

#[test]
fn apparmor_profiles_in_a_guest() {
    if !guest_tools("apparmor-guest", &["apparmor_parser"]) {
        return;
    }
    let share = tempfile::tempdir().expect("a directory");
    let spoc = binary("spo-cli", "spoc");
    fs::copy(example("04-apparmor.yaml"), share.path().join("guide.yaml")).expect("copies");
    let manifest = |name: &str, mode: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: AppArmorProfile\nmetadata:\n  name: {name}\n  \
             namespace: production\nspec:\n  mode: {mode}\n  abstract:\n    executable:\n      allowedExecutables:\n      \
             - /opt/busybox\n    filesystem:\n      readOnlyPaths:\n      - /data/public\n      - /opt/busybox\n      \
             readWritePaths:\n      - /data/out/*\n"
        )
    };
    fs::write(share.path().join("abstract.yaml"), manifest("abstract", "Enforce")).expect("writes");
    fs::write(share.path().join("complain.yaml"), manifest("complain", "Complain")).expect("writes");
    let script = include_str!("../guest/apparmor.sh").replace("SPOC", &format!("/host{}", spoc.display()));
    guest::run(Security::AppArmor, share.path(), &script).expect("boots").assert(24);
}

#[test]
fn full_and_read_only_file_systems_in_a_guest() {
    if !guest_tools("disk-guest", &[]) {
        return;
    }
    let share = tempfile::tempdir().expect("a directory");
    let spoc = binary("spo-cli", "spoc");
    fs::copy(example("02-seccomp.yaml"), share.path().join("guide.yaml")).expect("copies");
    let script = include_str!("../guest/disk.sh").replace("SPOC", &format!("/host{}", spoc.display()));
    guest::run(Security::AppArmor, share.path(), &script).expect("boots").assert(11);
}

#[test]
fn selinux_profiles_in_a_guest() {
    if !guest_tools("selinux-guest", &["semodule", "secilc"]) {
        return;
    }
    let share = tempfile::tempdir().expect("a directory");
    let spoc = binary("spo-cli", "spoc");
    fs::copy(example("05-selinux.yaml"), share.path().join("guide.yaml")).expect("copies");
    fs::write(share.path().join("more.yaml"), MORE_SELINUX).expect("writes");
    fs::write(share.path().join("resting.yaml"), RESTING_SELINUX).expect("writes");
    fs::write(share.path().join("base.cil"), spo_selinux_cil::templates::minimal_base()).expect("writes");
    fs::write(share.path().join("guest.cil"), include_str!("../guest/selinux.cil")).expect("writes");
    // The first policy of the guest; from then on semodule loads.
    let compiled = Command::new("secilc")
        .current_dir(share.path())
        .args(["-o", "first.bin", "-f", "/dev/null", "base.cil", "guest.cil"])
        .output()
        .expect("runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let script = include_str!("../guest/selinux.sh").replace("SPOC", &format!("/host{}", spoc.display()));
    guest::run(Security::Selinux, share.path(), &script).expect("boots").assert(20);
}

/// Cases 15, 16 and 31 to 33 of the existing operator's acceptance suite: raw policy, a template that is not the default,
/// a permissive profile, one that is switched off.
const MORE_SELINUX: &str = r"
apiVersion: security-profiles-operator.x-k8s.io/v1
kind: RawSelinuxProfile
metadata: { name: raw, namespace: production }
spec:
  policy: |
    (blockinherit container)
    (allow process self (tcp_socket (bind listen accept)))
    (allow process http_port_t (tcp_socket (name_bind)))
    (allow process node_t (tcp_socket (node_bind)))
---
apiVersion: security-profiles-operator.x-k8s.io/v1
kind: SelinuxProfile
metadata: { name: networked, namespace: production }
spec:
  inherit: [{ kind: System, name: container }, { kind: System, name: net_container }]
---
apiVersion: security-profiles-operator.x-k8s.io/v1
kind: SelinuxProfile
metadata: { name: lenient, namespace: production }
spec:
  mode: Permissive
  inherit: [{ kind: System, name: container }]
";

const RESTING_SELINUX: &str = r"
apiVersion: security-profiles-operator.x-k8s.io/v1
kind: SelinuxProfile
metadata: { name: resting, namespace: production }
spec:
  state: Disabled
  inherit: [{ kind: System, name: container }]
";
