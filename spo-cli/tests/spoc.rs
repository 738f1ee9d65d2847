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
    assert_eq!(code(&spoc(&["check", "examples/guide/0[24]-*.yaml"])), Some(0));
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
    for command in
        ["check", "explain", "diff", "convert", "merge", "base", "install", "remove", "schema", "crds"]
    {
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
