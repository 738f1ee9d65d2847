//! `spoc` as a user runs it, on the guide's manifests.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn spoc(arguments: &[&str]) -> Output {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    Command::new(env!("CARGO_BIN_EXE_spoc")).current_dir(workspace).args(arguments).output().expect("runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("writes");
    path.display().to_string()
}

const SECCOMP: &str = "examples/guide/02-seccomp.yaml";
const APPARMOR: &str = "examples/guide/04-apparmor.yaml";
const SELINUX: &str = "examples/guide/05-selinux.yaml";
const BASED: &str = "examples/guide/06-base-local.yaml";

#[test]
fn the_guide_has_no_errors_and_some_warnings() {
    let output = spoc(&["check", "examples/guide", "deploy/base-profiles"]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert_eq!(code(&spoc(&["check", "--deny", "warnings", SECCOMP])), Some(1));
}

#[test]
fn check_reads_standard_input_and_patterns() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_spoc"))
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("a pipe").write_all(b"kind: [").expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("(standard input):"), "{}", stderr(&output));
    assert_eq!(code(&spoc(&["check", "examples/guide/0[47]-*.yaml"])), Some(0));
    let nothing = spoc(&["check", "nothing/*.yaml"]);
    assert!(stderr(&nothing).contains("nothing/*.yaml: no file matches"), "{}", stderr(&nothing));
}

#[test]
fn findings_are_framed_with_their_source_line() {
    let dir = folder();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SECCOMP)).expect("there");
    let path = file(
        &dir,
        "wrong.yaml",
        &text.replace("- openat", "- opnat").replace("spec:", "spec:\n  listenerPth: x"),
    );
    let output = spoc(&["check", &path]);
    assert_eq!(code(&output), Some(1));
    insta::assert_snapshot!("framed", stderr(&output).replace(dir.path().to_str().expect("text"), "DIR"));
}

#[test]
fn check_speaks_the_formats_of_other_tools() {
    let dir = folder();
    let path =
        file(&dir, "a,b.yaml", "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\n");
    let list: Value =
        serde_json::from_str(&stdout(&spoc(&["check", "--output", "json", &path]))).expect("JSON");
    assert_eq!((&list[0]["code"], &list[0]["severity"]), (&"required".into(), &"error".into()));
    let sarif: Value =
        serde_json::from_str(&stdout(&spoc(&["check", "--output", "sarif", &path]))).expect("JSON");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&sarif["version"], &result["ruleId"]), (&"2.1.0".into(), &"required".into()));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 1);
    let github = stdout(&spoc(&["check", "--output", "github", &path]));
    assert!(
        github.starts_with("::error file=") && github.contains("a%2Cb.yaml,line=1,col=1,title=required::"),
        "{github}"
    );
}

/// The word at the `file:line:column` of an explanation.
fn named_place(explanation: &str) -> String {
    let place = explanation.lines().next().and_then(|line| line.split(" at ").nth(1)).expect("a place");
    let place = place.split(' ').next().unwrap_or_default();
    let [file, line, column] = place.split(':').collect::<Vec<_>>()[..] else {
        panic!("{place} is no place")
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let text = fs::read_to_string(workspace.join(file)).expect("the file is there");
    let [line, column] = [line, column].map(|n| n.parse::<usize>().expect("a number"));
    let rest: String = text.lines().nth(line - 1).expect("a line").chars().skip(column - 1).collect();
    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn explain_names_the_rule() {
    let output = spoc(&["explain", SECCOMP, "openat"]);
    assert_eq!(code(&output), Some(0));
    assert!(
        stdout(&output).contains("ALLOW")
            && stdout(&output).contains("spec.syscalls[0] of production/restricted-workload")
    );
    assert_eq!(named_place(&stdout(&output)), "openat");
    let output = spoc(&["explain", SECCOMP, "execve"]);
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("ERRNO(1)"), "{}", stdout(&output));
    let output = spoc(&["explain", BASED, "execve", "--base", "deploy/base-profiles"]);
    assert!(stdout(&output).contains("of runc-v1.4.0"), "{}", stdout(&output));
    assert!(stdout(&output).contains("deploy/base-profiles/runc-v1.4.0.yaml:"), "{}", stdout(&output));
    assert_eq!(named_place(&stdout(&output)), "execve");
    assert!(stderr(&spoc(&["explain", SECCOMP, "opnat"])).contains("did you mean \"openat\"?"));

    let output = spoc(&["explain", APPARMOR, "--path", "/bin/bash", "x"]);
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("denied by a rule") && stdout(&output).contains("/bin/bash rx"));
    assert_eq!(code(&spoc(&["explain", APPARMOR, "--path", "/etc/nginx/nginx.conf", "r"])), Some(0));
    assert_eq!(code(&spoc(&["explain", APPARMOR, "--path", "/etc/shadow", "r"])), Some(1));

    let output = spoc(&["explain", SELINUX, "--selinux", "http_port_t", "tcp_socket", "name_bind"]);
    assert_eq!(code(&output), Some(0), "{}", stdout(&output));
    assert_eq!(
        code(&spoc(&["explain", SELINUX, "--selinux", "ssh_port_t", "tcp_socket", "name_bind"])),
        Some(1)
    );

    let wrong = spoc(&["explain", APPARMOR, "openat"]);
    assert!(
        stderr(&wrong).contains("is a AppArmorProfile; give a path")
            || stderr(&wrong).contains("give a path")
    );
}

#[test]
fn diff_gives_a_verdict_a_witness_and_a_status() {
    let dir = folder();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SECCOMP)).expect("there");
    let less = file(&dir, "less.yaml", &text.replace("    - openat\n", ""));
    let same = spoc(&["diff", SECCOMP, SECCOMP]);
    assert_eq!((code(&same), stdout(&same).contains("is equal")), (Some(0), true));
    let stricter = spoc(&["diff", SECCOMP, &less]);
    assert_eq!(code(&stricter), Some(1));
    assert!(
        stdout(&stricter).contains("openat: ALLOW -> ERRNO(1)") && stdout(&stricter).contains("is stricter")
    );
    assert_eq!(code(&spoc(&["diff", "--allow", "stricter", SECCOMP, &less])), Some(0));
    assert_eq!(code(&spoc(&["diff", "--allow", "stricter", &less, SECCOMP])), Some(1));
    let json: Value =
        serde_json::from_str(&stdout(&spoc(&["diff", "--output", "json", &less, SECCOMP]))).expect("JSON");
    assert_eq!(json["verdict"], "looser");
    let kinds = spoc(&["diff", SECCOMP, SELINUX]);
    assert!(stderr(&kinds).contains("cannot compare a SeccompProfile with a SelinuxProfile"));
    assert_eq!(code(&spoc(&["diff", APPARMOR, APPARMOR])), Some(0));
    assert_eq!(code(&spoc(&["diff", SELINUX, SELINUX])), Some(0));
}

#[test]
fn convert_writes_what_the_node_reads() {
    let output = spoc(&["convert", SECCOMP]);
    let text = stdout(&output);
    assert!(
        text.starts_with("{\n  \"defaultAction\": \"SCMP_ACT_ERRNO\",\n  \"architectures\": ["),
        "{text}"
    );
    assert!(!text.ends_with('\n'), "as users of the existing command know it");
    let dir = folder();
    let target = dir.path().join("out.json");
    spoc(&["convert", SECCOMP, "-o", target.to_str().expect("text")]);
    assert_eq!(fs::read_to_string(&target).expect("there"), text);
    assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o600);
    let named = stdout(&spoc(&["convert", "--program-name", "/usr/sbin/nginx", APPARMOR]));
    assert!(named.contains("profile /usr/sbin/nginx"), "{named}");
    assert!(stdout(&spoc(&["convert", SELINUX])).starts_with("(block nginx-selinux"));
    let missing = spoc(&["convert", BASED]);
    assert_eq!(code(&missing), Some(1));
    assert!(stderr(&missing).contains("\"runc-v1.4.0\" does not exist"), "{}", stderr(&missing));
    assert_eq!(code(&spoc(&["convert", BASED, "--base", "deploy/base-profiles"])), Some(0));
}

#[test]
fn convert_goes_to_any_version_and_back() {
    let v1 = stdout(&spoc(&["convert", "--to", "v1", APPARMOR]));
    assert!(v1.contains("kind: AppArmorProfile") && v1.contains("  policy: |"), "{v1}");
    assert!(!v1.contains("annotations"), "{v1}");
    let dir = folder();
    let path = file(&dir, "v1.yaml", &v1);
    assert!(stdout(&spoc(&["convert", "--to", "v1alpha1", &path])).contains("x-k8s.io/v1alpha1"));
    let wrong = spoc(&["convert", "--to", "v1beta1", &path]);
    assert!(stderr(&wrong).contains("only in v1 and v1alpha1"), "{}", stderr(&wrong));
}

#[test]
fn merge_unites_and_check_compares() {
    let dir = folder();
    let profile = |calls: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\nmetadata: {{name: x}}\n\
             spec: {{defaultAction: SCMP_ACT_ERRNO, syscalls: [{{action: SCMP_ACT_ALLOW, names: [{calls}]}}]}}\n"
        )
    };
    let (a, b) = (file(&dir, "a.yaml", &profile("read")), file(&dir, "b.yaml", &profile("write")));
    let target = dir.path().join("merged.yaml").display().to_string();
    assert_eq!(code(&spoc(&["merge", &a, &b, "-o", &target])), Some(0));
    let merged = fs::read_to_string(&target).expect("there");
    assert!(merged.contains("- read") && merged.contains("- write"), "{merged}");
    assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o600);
    let check = spoc(&["merge", "--check", &a, &b]);
    assert_eq!((code(&check), stdout(&check).as_str()), (Some(1), ""));
    assert!(stderr(&check).contains("- write"));
    assert_eq!(code(&spoc(&["merge", "--check", &target, &a, &b])), Some(0));
    let kinds = spoc(&["merge", &a, SELINUX]);
    assert!(stderr(&kinds).contains("cannot merge a SeccompProfile with a SelinuxProfile"));
}

#[test]
fn base_prints_the_effective_profile_with_origins() {
    let output = spoc(&["base", BASED, "deploy/base-profiles"]);
    let text = stdout(&output);
    assert!(text.starts_with("# Effective profile of production/app-with-network → runc-v1.4.0\n"), "{text}");
    assert!(text.contains("comes from runc-v1.4.0 spec.syscalls[0]") && text.contains("- execve"), "{text}");
    let json: Value =
        serde_json::from_str(&stdout(&spoc(&["base", "--output", "json", BASED, "deploy/base-profiles"])))
            .expect("JSON");
    assert_eq!(json["chain"], serde_json::json!(["production/app-with-network", "runc-v1.4.0"]));
}

#[test]
fn a_base_of_another_namespace_has_to_be_shared() {
    let profile = |name: &str, metadata: &str, call: &str, more: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\nmetadata: {{name: {name}, \
             {metadata}}}\nspec:\n  defaultAction: SCMP_ACT_ERRNO\n{more}  syscalls:\n  - action: SCMP_ACT_ALLOW\n    \
             names: [{call}]\n"
        )
    };
    let user = profile("web", "namespace: shop", "read", "  baseProfileName: bases/floor\n");
    let with = |label: &str| {
        let dir = folder();
        let floor = profile("floor", &format!("namespace: bases{label}"), "mount", "");
        let path = file(&dir, "all.yaml", &format!("{user}---\n{floor}"));
        (dir, path)
    };
    let (_dir, hidden) = with("");
    let check = spoc(&["check", &hidden]);
    assert_eq!(code(&check), Some(1), "{}", stdout(&check));
    let said = stdout(&check) + &stderr(&check);
    assert!(said.contains("bases/floor is not there or not shared"), "{said}");
    let (_dir, shared) = with(", labels: {spo.x-k8s.io/share-base: \"true\"}");
    let check = spoc(&["check", &shared]);
    assert_eq!(code(&check), Some(0), "{}", stdout(&check) + &stderr(&check));
}

#[test]
fn install_and_remove_below_a_folder() {
    let node = folder();
    let root = node.path().to_str().expect("text");
    let installed = spoc(&["install", "--root", root, SECCOMP, APPARMOR]);
    assert_eq!(code(&installed), Some(0), "{}", stderr(&installed));
    let path: PathBuf =
        node.path().join("var/lib/kubelet/seccomp/operator/production/restricted-workload.json");
    assert!(path.exists());
    assert_eq!(code(&spoc(&["remove", "--root", root, SECCOMP])), Some(0));
    assert!(!path.exists() && node.path().join("etc/apparmor.d/spo.production.nginx-apparmor").exists());
    let again = spoc(&["remove", "--root", root, SECCOMP]);
    assert!(stderr(&again).contains("none of these profiles was installed"), "{}", stderr(&again));
}

#[test]
fn schemas_crds_completions_manuals_and_the_version() {
    let schema: Value =
        serde_json::from_str(&stdout(&spoc(&["schema", "SeccompProfile", "--to", "v1beta1"]))).expect("JSON");
    assert_eq!(schema["properties"]["spec"]["properties"]["disabled"]["type"], "boolean");
    assert_eq!(stdout(&spoc(&["crds"])).matches("kind: CustomResourceDefinition").count(), 9);
    assert!(stdout(&spoc(&["completions", "bash"])).contains("_spoc()"));
    let dir = folder();
    spoc(&["man", dir.path().to_str().expect("text")]);
    assert!(dir.path().join("spoc-explain.1").exists());
    let version: Value = serde_json::from_str(&stdout(&spoc(&["version", "--json"]))).expect("JSON");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn help_and_exit_statuses() {
    for command in [
        "check",
        "explain",
        "diff",
        "convert",
        "merge",
        "base",
        "graph",
        "fmt",
        "run",
        "install",
        "remove",
        "schema",
        "crds",
        "version",
        "completions",
        "man",
    ] {
        let help = spoc(&[command, "--help"]);
        assert_eq!(code(&help), Some(0), "{command}");
        insta::assert_snapshot!(format!("help-{command}"), stdout(&help));
    }
    insta::assert_snapshot!("help", stdout(&spoc(&["--help"])));
    assert_eq!(code(&spoc(&["nonsense"])), Some(3));
    assert_eq!(code(&spoc(&["check", "--nonsense"])), Some(1));
    assert_eq!(code(&spoc(&["check", "nothing.yaml"])), Some(1));
    assert_eq!(code(&spoc(&["--version"])), Some(0));
}

const NO_MKDIR: &str = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\n\
    metadata: {name: no-mkdir}\nspec:\n  defaultAction: SCMP_ACT_ALLOW\n  syscalls:\n  \
    - {action: SCMP_ACT_ERRNO, names: [mkdir, mkdirat]}\n";

#[test]
fn run_confines_the_command_and_gives_its_status() {
    let dir = folder();
    let profile = file(&dir, "p.yaml", NO_MKDIR);
    let made = dir.path().join("made");
    let script = format!("mkdir {}; echo mkdir=$?; exit 7", made.display());
    let output = spoc(&["run", "-p", &profile, "--", "sh", "-c", &script]);
    assert_eq!(code(&output), Some(7), "{}", stderr(&output));
    assert_eq!(stdout(&output), "mkdir=1\n");
    assert!(!made.exists());
    let status =
        spoc(&["run", "--profile", &profile, "grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"]);
    // `proc_pid_status(5)`: 2 is SECCOMP_MODE_FILTER.
    assert_eq!(stdout(&status), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    let killed = spoc(&["x", "-p", &profile, "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(code(&killed), Some(128 + 9));
}

#[test]
fn run_reads_runtime_json_and_names_what_stops_the_start() {
    let dir = folder();
    let json = dir.path().join("p.json").display().to_string();
    spoc(&["convert", &file(&dir, "p.yaml", NO_MKDIR), "-o", &json]);
    let target = dir.path().join("made").display().to_string();
    assert_eq!(code(&spoc(&["run", "-p", &json, "mkdir", &target])), Some(1));
    // The guide's profile does not allow execve, so nothing can be started under it.
    let output = spoc(&["run", "-p", SECCOMP, "true"]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("the profile probably denies execve"), "{}", stderr(&output));
    let output = spoc(&["run", "-p", &json, "no-such-program-anywhere"]);
    assert!(stderr(&output).contains("no such program in PATH"), "{}", stderr(&output));
    let output = spoc(&["run", "-p", SELINUX, "true"]);
    assert!(stderr(&output).contains("cannot be run under a SelinuxProfile"), "{}", stderr(&output));
}

#[test]
fn run_gives_up_privileges_under_sudo() {
    if !rustix_root() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: sudo: the test does not run as root");
        return;
    }
    let dir = folder();
    let profile = file(&dir, "p.yaml", NO_MKDIR);
    let output = Command::new(env!("CARGO_BIN_EXE_spoc"))
        .args(["run", "-p", &profile, "--", "sh", "-c", "id -u; id -G; env | grep -c ^SUDO_; echo $USER"])
        .envs([("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")])
        .output()
        .expect("runs");
    assert_eq!(stdout(&output), "65534\n65534\n0\nnobody\n", "{}", stderr(&output));
}

fn rustix_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("there");
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}

#[test]
fn graphs_of_filters_and_chains() {
    let dir = folder();
    let dot = stdout(&spoc(&["graph", &file(&dir, "p.yaml", NO_MKDIR)]));
    assert!(dot.starts_with("digraph filter {") && dot.contains("label=\"ERRNO(1)\""), "{dot}");
    let chain = stdout(&spoc(&["graph", "--of", "chain", BASED, "--base", "deploy/base-profiles"]));
    assert!(chain.contains("production/app-with-network") && chain.contains("n0 -> n1"), "{chain}");
    let svg = stdout(&spoc(&["graph", SELINUX, "--output", "svg"]));
    assert!(svg.contains("<svg") && svg.contains("nginx-selinux"), "{svg}");
    let nothing = spoc(&["graph", APPARMOR]);
    assert!(stderr(&nothing).contains("nothing to draw of a"), "{}", stderr(&nothing));
}

#[test]
fn fmt_changes_layout_and_nothing_else() {
    let dir = folder();
    let manifest = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: AppArmorProfile\nmetadata:\n  \
        name: web   # the name\nspec:\n  policy: |\n    profile web {\n        /etc/hosts r, # hosts\n\n\n   \
        \x20# more\n    /etc/passwd r,\n    }\n  mode: Enforce\n";
    let path = file(&dir, "web.yaml", manifest);
    let check = spoc(&["fmt", "--check", &path]);
    assert_eq!((code(&check), stdout(&check)), (Some(1), format!("would format {path}\n")));
    assert_eq!(fs::read_to_string(&path).expect("there"), manifest);
    assert_eq!(code(&spoc(&["fmt", &path])), Some(0));
    let want = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: AppArmorProfile\nmetadata:\n  \
        name: web   # the name\nspec:\n  policy: |\n    profile web {\n      /etc/hosts r, # hosts\n\n      # more\n   \
        \x20  /etc/passwd r,\n    }\n  mode: Enforce\n";
    assert_eq!(fs::read_to_string(&path).expect("there"), want);
    assert_eq!(code(&spoc(&["fmt", "--check", &path])), Some(0), "formatting twice changes nothing");
    let cil = file(&dir, "a.cil", "(block a (type b) ; why\n(allow b self (file (read))))");
    assert_eq!(code(&spoc(&["fmt", &cil])), Some(0));
    let text = fs::read_to_string(&cil).expect("there");
    assert!(text.starts_with("(block a\n    (type b)") && text.contains("; why"), "{text}");
    let broken = file(&dir, "b.cil", "(block");
    assert!(stderr(&spoc(&["fmt", &broken])).contains("b.cil"), "the file is named");
}

/// What `oci-cli.md` says of `merge`, word for word.
#[test]
fn merge_as_the_specification_says() {
    let dir = folder();
    let apparmor = |spec: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: AppArmorProfile\nmetadata: {{name: x}}\n\
             spec: {{abstract: {spec}}}\n"
        )
    };
    // "globs of the first file absorb matching paths; read+write on one path becomes rw; lists sorted"
    let a = file(
        &dir,
        "a.yaml",
        &apparmor("{filesystem: {readOnlyPaths: ['/etc/**', /var/z], writeOnlyPaths: [/run/x]}}"),
    );
    let b = file(
        &dir,
        "b.yaml",
        &apparmor(
            "{filesystem: {readOnlyPaths: [/etc/hosts, /run/x, /a]}, capability: {allowedCapabilities: [net_raw]}}",
        ),
    );
    let merged = stdout(&spoc(&["merge", &a, &b, "-o", "-"]));
    let merged: Value = serde_json::to_value(
        serde_saphyr::from_str::<std::collections::BTreeMap<String, Value>>(&merged).expect("YAML"),
    )
    .expect("JSON");
    let files = &merged["spec"]["abstract"]["filesystem"];
    assert_eq!(files["readOnlyPaths"], serde_json::json!(["/a", "/etc/**", "/var/z"]));
    assert_eq!(files["readWritePaths"], serde_json::json!(["/run/x"]));
    assert_eq!(
        merged["spec"]["abstract"]["capability"]["allowedCapabilities"],
        serde_json::json!(["net_raw"])
    );
    // "same → exit 0; else the merged YAML on stderr, exit 1", and nothing is written
    assert_eq!(code(&spoc(&["merge", "-c", &a, &a])), Some(0));
    let check = spoc(&["m", "--check", &a, &b]);
    assert_eq!((code(&check), stdout(&check).as_str()), (Some(1), ""));
    assert!(stderr(&check).contains("kind: AppArmorProfile"));
    // "SELinux: union of allow, inherit of the first only"
    let selinux = |inherit: &str, allow: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SelinuxProfile\nmetadata: {{name: x}}\n\
             spec: {{inherit: [{{name: {inherit}}}], allow: {allow}}}\n"
        )
    };
    let a = file(&dir, "sa.yaml", &selinux("container", "{var_log_t: {dir: [search]}}"));
    let b =
        file(&dir, "sb.yaml", &selinux("net_container", "{var_log_t: {dir: [open, search], file: [read]}}"));
    let text = stdout(&spoc(&["merge", &a, &b, "-o", "-"]));
    assert!(
        !text.contains("net_container") && text.contains("- search\n") && text.contains("- open\n"),
        "{text}"
    );
    // "all must be one kind (else error naming both)"
    let kinds = spoc(&["merge", &a, SECCOMP]);
    assert_eq!(code(&kinds), Some(1));
    assert!(stderr(&kinds).contains("SelinuxProfile") && stderr(&kinds).contains("SeccompProfile"));
}

/// What `oci-cli.md` says of `convert` and `version`.
#[test]
fn convert_and_version_as_the_specification_says() {
    let dir = folder();
    // "spec as 2-space JSON (no trailing newline)"
    let json = stdout(&spoc(&["convert", &file(&dir, "p.yaml", NO_MKDIR)]));
    assert!(
        json.starts_with("{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"") && !json.ends_with('\n'),
        "{json}"
    );
    // "profile name = --program-name, else metadata.name with a notice that an unattached profile results"
    let named = spoc(&["c", "-p", "/usr/sbin/nginx", APPARMOR]);
    assert!(stdout(&named).contains("/usr/sbin/nginx"), "{}", stdout(&named));
    assert!(stderr(&spoc(&["convert", APPARMOR])).contains("attached to nothing"));
    // "Output mode 0600 when created"
    let target = dir.path().join("out.json");
    spoc(&["convert", "-o", target.to_str().expect("text"), SECCOMP]);
    assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o600);
    // "the input must be a CRD file (raw JSON is refused: no kind)"
    let raw = spoc(&["convert", target.to_str().expect("text")]);
    assert_eq!(code(&raw), Some(1));
    // version: on standard output with a newline; the names and their order
    let text = stdout(&spoc(&["v"]));
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
    let order = ["Version", "GitCommit", "GitTreeState", "BuildDate", "Compiler", "Platform"];
    let places: Vec<usize> = names
        .iter()
        .map(|name| order.iter().position(|known| known == name).expect("a known name"))
        .collect();
    assert!(places.is_sorted() && names.first() == Some(&"Version"), "{names:?}");
    let line = stdout(&spoc(&["--version"]));
    assert_eq!(line, format!("spoc version {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn install_takes_the_program_behind_the_profile() {
    let dir = folder();
    let spec = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: AppArmorProfile\nmetadata: {name: web}\n\
                spec: {abstract: {filesystem: {readOnlyPaths: [/etc/hosts]}}}\n";
    let profile = file(&dir, "web.yaml", spec);
    let root = dir.path().join("node");
    fs::create_dir(&root).expect("makes");
    let root = root.to_str().expect("text");
    let output = spoc(&["install", "--root", root, &profile, "/usr/sbin/web"]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let text = fs::read_to_string(format!("{root}/etc/apparmor.d/spo..web")).expect("there");
    assert!(text.contains("profile /usr/sbin/web ") || text.contains("\n/usr/sbin/web "), "{text}");
    let output = spoc(&["install", "--root", root, SECCOMP, "/usr/sbin/web"]);
    assert!(stderr(&output).contains("leave EXECUTABLE out"), "{}", stderr(&output));
    assert_eq!(code(&spoc(&["rm", "--root", root, &profile, "/usr/sbin/web"])), Some(0));
}

#[test]
fn raw_selinux_profiles_are_explained_and_compared_too() {
    let dir = folder();
    let raw = |rule: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: RawSelinuxProfile\nmetadata: {{name: web}}\n\
             spec:\n  policy: |\n    (blockinherit container)\n    {rule}\n"
        )
    };
    let one = file(&dir, "one.yaml", &raw("(allow process http_port_t (tcp_socket (name_bind)))"));
    let two =
        file(&dir, "two.yaml", &raw("(allow process http_port_t (tcp_socket (name_bind name_connect)))"));
    let yes = spoc(&["explain", &one, "--selinux", "http_port_t", "tcp_socket", "name_bind"]);
    assert_eq!(code(&yes), Some(0), "{}", stderr(&yes));
    let no = spoc(&["explain", &one, "--selinux", "redis_port_t", "tcp_socket", "name_bind"]);
    assert_eq!(code(&no), Some(1), "{}", stderr(&no));
    let diff = spoc(&["diff", &one, &two]);
    assert!(stdout(&diff).contains("+ http_port_t tcp_socket name_connect"), "{}", stdout(&diff));
    assert!(stdout(&diff).contains("is looser"), "{}", stdout(&diff));
}
