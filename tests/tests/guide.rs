//! The guide on real nodes: `docs/guide.md` as it is written, and what it promises.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use spo_tests::{
    cluster::{Cluster, GUEST_PROGRAMS, Image, PROGRAMS},
    document::{Block, Section, sections},
    guest::Security,
    operator_image, workspace,
};

/// One cluster at a time: two would share two processors.
static ONE: Mutex<()> = Mutex::new(());

const NAMESPACE: &str = "security-profiles-operator";

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// The sections that are run on plain nodes, and those that need kernels with security modules.
const ON_NODES: [&str; 8] = ["1.", "2.", "3.", "6.", "7.", "8.", "9.", "10."];
const ON_GUESTS: [&str; 4] = ["1.", "4.", "5.", "10."];

/// Blocks that are repeated a few times: `kubectl run -i` shows nothing of a pod that has said everything before it is
/// attached.
const AGAIN: &str = "again";

/// Blocks of the other way of installing, which the test `faults` runs with the chart.
const HELM: &str = "helm";

struct Guide {
    sections: Vec<Section>,
    ran: RefCell<Vec<String>>,
}

impl Guide {
    fn read() -> Fallible<Self> {
        let text = fs::read_to_string(workspace().join("docs/guide.md"))?;
        Ok(Self { sections: sections(&text), ran: RefCell::default() })
    }

    /// Runs the blocks of a section as they are written; what they print has to be what is written.
    fn run(&self, cluster: &Cluster, number: &str) -> Fallible {
        let section = self.sections.iter().find(|section| number_of(section) == number);
        let section = section.ok_or_else(|| format!("the guide has no section {number}"))?;
        for block in section.blocks.iter().filter(|block| block.label != HELM) {
            let mut outcome = Ok(());
            for _ in 0..if block.label == AGAIN { 5 } else { 1 } {
                outcome = run_block(cluster, &section.heading, block);
                if outcome.is_ok() {
                    break;
                }
            }
            outcome?;
        }
        self.ran.borrow_mut().push(number.to_owned());
        Ok(())
    }
}

fn number_of(section: &Section) -> &str {
    section.heading.split(' ').next().unwrap_or_default()
}

/// No command of the guide is left out: each section is on a list that a test below has to work through, and every
/// label is one that is known here.
#[test]
fn every_command_is_run_somewhere() -> Fallible {
    let guide = Guide::read()?;
    assert!(guide.sections.iter().any(|section| section.blocks.iter().any(|block| block.label == HELM)));
    for section in &guide.sections {
        let number = number_of(section);
        assert!(ON_NODES.contains(&number) || ON_GUESTS.contains(&number), "{}", section.heading);
        for block in &section.blocks {
            assert!(
                ["", AGAIN, HELM].contains(&block.label.as_str()),
                "{}: {}",
                section.heading,
                block.label
            );
        }
    }
    Ok(())
}

fn run_block(cluster: &Cluster, heading: &str, block: &Block) -> Fallible {
    let start = Instant::now();
    let output = cluster.shell(&block.script, workspace())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{heading}$ {}{}({:.1?})", block.script, abridged(&said), start.elapsed());
    if !output.status.success() {
        let state = cluster.shell(
            "kubectl get pods,spod,seccompprofiles,nodes -A -o wide; \
             kubectl get events -A --sort-by=.lastTimestamp | tail -20 | cut -c1-250",
            workspace(),
        )?;
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        return Err(format!("{heading} fails:\n{}{said}\n{state}", block.script).into());
    }
    match block.missing(&said) {
        None => Ok(()),
        Some(line) => Err(format!("{heading} does not print {line:?}:\n{}{said}", block.script).into()),
    }
}

/// The first lines of what was printed: of a failure elsewhere, these are read first.
fn abridged(said: &str) -> String {
    const LINES: usize = 6;
    let mut text: String = said.lines().take(LINES).flat_map(|line| [line, "\n"]).collect();
    let rest = said.lines().count().saturating_sub(LINES);
    if rest > 0 {
        text += &format!("… {rest} more lines\n");
    }
    text
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Fallible<Value> {
    let mut all = arguments.to_vec();
    all.extend(["-o", "json"]);
    Ok(serde_json::from_str(&cluster.good(&all, "")?)?)
}

/// The time until a condition holds, which is asked for often.
fn timed(cluster: &Cluster, what: &str, test: impl FnMut() -> Fallible<bool>) -> Fallible<Duration> {
    let start = Instant::now();
    cluster.until(what, test)?;
    eprintln!("{what}: {:.1?}", start.elapsed());
    Ok(start.elapsed())
}

/// What the README says of a cluster is a part of the guide.
#[test]
fn the_readme_starts_as_the_guide_does() -> Fallible {
    let readme = fs::read_to_string(workspace().join("README.md"))?;
    let lines = |text: &str| -> Vec<String> {
        sections(text)
            .iter()
            .flat_map(|section| &section.blocks)
            .flat_map(|block| block.script.lines().map(str::to_owned))
            .filter(|line| line.starts_with("kubectl "))
            .collect()
    };
    let guide = fs::read_to_string(workspace().join("docs/guide.md"))?;
    let guide = lines(&guide);
    let mut rest = guide.iter();
    let short = lines(&readme);
    assert!(short.len() > 3, "{short:?}");
    for line in short {
        assert!(rest.any(|known| *known == line), "the guide has {line:?} not, or elsewhere");
    }
    Ok(())
}

/// Every command of the existing operator's guide is one of ours, or one of those that cannot be.
#[test]
fn no_command_of_the_existing_guide_is_missing() -> Fallible {
    let path = workspace().join("../shared/guide/guide.txt");
    let Ok(text) = fs::read_to_string(&path) else {
        spo_tests::skip("guide", &format!("{} does not exist", path.display()));
        return Ok(());
    };
    // Another operator's addresses and a download; names of files; recorders, which come later.
    let elsewhere = [
        "cert-manager",
        "wget ",
        "raw.githubusercontent.com",
        "restricted-workload-seccomp.yaml",
        "profile-recording.yaml",
        "nginx-test",
        "record-nginx-nginx",
        "label ns production spo.x-k8s.io/enable-recording=",
    ];
    let squeeze = |text: &str| text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let ours = squeeze(&fs::read_to_string(workspace().join("docs/guide.md"))?);
    let joined = text.replace("\\\n", " ");
    let commands: Vec<String> = joined
        .lines()
        .filter(|line| line.starts_with("kubectl ") || line.starts_with("helm "))
        .map(|line| {
            let line = squeeze(line);
            line.replace(
                "./security-profiles-operator-0.10.0.tgz",
                "./target/security-profiles-operator-0.1.0.tgz",
            )
        })
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        assert!(
            elsewhere.iter().any(|part| command.contains(part)) || ours.contains(&command),
            "docs/guide.md lacks {command:?}"
        );
    }
    Ok(())
}

#[test]
fn on_three_nodes() -> Fallible {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !Cluster::is_possible("guide", &[PROGRAMS, operator_image::PROGRAMS].concat()) {
        return Ok(());
    }
    let guide = Guide::read()?;
    let images = operator_image::images()?;
    let mut cluster = Cluster::start("spo-guide")?;
    images.iter().try_for_each(|image| cluster.push(image))?;
    cluster.add_nodes(3)?;

    guide.run(&cluster, "1.")?;
    timed(&cluster, "every pod of the operator is ready", || {
        let pods = json(&cluster, &["get", "pods", "-n", NAMESPACE])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        Ok(pods.len() == 9 && pods.iter().all(ready))
    })?;

    guide.run(&cluster, "2.")?;
    let path = "/var/lib/kubelet/seccomp/operator/production/restricted-workload.json";
    for node in cluster.nodes() {
        let file: Value = serde_json::from_slice(&fs::read(node.path(path))?)?;
        assert_eq!(file["defaultAction"], "SCMP_ACT_ERRNO", "{}", node.name());
    }
    // What the guide says of its first profile: the runtime itself is refused.
    timed(&cluster, "the pod under restricted-workload does not start", || {
        let pod = json(&cluster, &["get", "pod", "secure-app", "-n", "production"])?;
        let state = &pod["status"]["containerStatuses"][0];
        let words = [&state["state"]["waiting"]["reason"], &state["lastState"]["terminated"]["reason"]];
        assert!(state["ready"] != true, "{pod}");
        Ok(words.into_iter().any(|word| word == "RunContainerError" || word == "CrashLoopBackOff"))
    })?;
    // The variant that runs, under a kubelet.
    let served = pod(
        "served",
        "nginx:1.21",
        r#"{"seccompProfile":
        {"type": "Localhost", "localhostProfile": "operator/production/restricted-nginx.json"}}"#,
    );
    cluster.good(&["apply", "-f", "-"], &served)?;
    cluster
        .good(&["wait", "--for=condition=Ready", "pod/served", "-n", "production", "--timeout=60s"], "")?;
    let inside = |command: &[&str]| {
        cluster.kubectl(&[&["exec", "served", "-n", "production", "--"], command].concat(), "")
    };
    let served = timed(&cluster, "a page is served", || {
        let page = inside(&["curl", "-s", "http://localhost"])?;
        Ok(String::from_utf8_lossy(&page.stdout) == "served\n")
    });
    if served.is_err() {
        let said = cluster.shell("kubectl logs --previous -n production served || true", workspace())?;
        return Err(format!("the page is not served: {}", String::from_utf8_lossy(&said.stdout)).into());
    }
    let status = inside(&["cat", "/proc/1/status"])?;
    assert!(String::from_utf8_lossy(&status.stdout).contains("Seccomp:\t2\n"), "{status:?}");
    let refused = inside(&["mknod", "/tmp/pipe", "p"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("Operation not permitted"),
        "a forbidden one fails: {said}"
    );
    // The profile stays while the pod uses it, and goes with it.
    cluster
        .good(&["delete", "seccompprofile", "restricted-nginx", "-n", "production", "--wait=false"], "")?;
    timed(&cluster, "the profile in use is Terminating", || {
        let profile = json(&cluster, &["get", "seccompprofile", "restricted-nginx", "-n", "production"])?;
        Ok(profile["status"]["status"] == "Terminating")
    })?;
    let path = path.replace("restricted-workload", "restricted-nginx");
    assert!(cluster.nodes().iter().all(|node| node.path(&path).exists()));
    cluster.good(&["delete", "pod", "served", "-n", "production", "--grace-period=1"], "")?;
    cluster.good(
        &["wait", "--for=delete", "seccompprofile/restricted-nginx", "-n", "production", "--timeout=60s"],
        "",
    )?;
    timed(&cluster, "its file is gone from every node", || {
        Ok(!cluster.nodes().iter().any(|node| node.path(&path).exists()))
    })?;

    guide.run(&cluster, "3.")?;
    guide.run(&cluster, "6.")?;
    // The image is bound, whatever the pod says about itself.
    let said = cluster.shell(
        "kubectl label ns production spo.x-k8s.io/enable-binding= && kubectl apply -f examples/guide/07-binding.yaml",
        workspace(),
    )?;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    cluster.until("the binding reaches the webhook", || {
        let asked = pod("bound", "nginx:1.21", r#"{"seccompProfile": {"type": "Unconfined"}}"#);
        let made = cluster.good(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &asked)?;
        let made: Value = serde_json::from_str(&made)?;
        let context = &made["spec"]["containers"][0]["securityContext"];
        Ok(context["seccompProfile"]["localhostProfile"] == "operator/production/restricted-workload.json")
    })?;
    guide.run(&cluster, "7.")?;
    bound_under_a_kubelet(&cluster)?;
    guide.run(&cluster, "8.")?;
    guide.run(&cluster, "9.")?;
    // The Role, with the token of a real account.
    let token = cluster.good(&["create", "token", "editor", "-n", "production"], "")?;
    let token = format!("--token={}", token.trim());
    let as_editor = |arguments: &[&str], stdin: &str| {
        let mut all = vec![
            "--kubeconfig=/dev/null",
            "--server=https://10.96.0.1:443",
            "--insecure-skip-tls-verify",
            &token,
        ];
        all.extend(arguments);
        cluster.kubectl(&all, stdin)
    };
    let profile = fs::read_to_string(workspace().join("examples/guide/02-seccomp.yaml"))?
        .replace("restricted-workload", "edited");
    let made = as_editor(&["apply", "-f", "-"], &profile)?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let refused = as_editor(&["delete", "seccompprofile", "edited", "-n", "production"], "")?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Forbidden"));
    users_have_what_their_roles_say(&cluster)?;
    // The flat patches took effect.
    let agents = json(&cluster, &["get", "daemonset", "spod", "-n", NAMESPACE])?;
    assert!(agents.to_string().contains("--with-mem-optim=true"), "{agents}");
    timed(&cluster, "each node reports in one object", || {
        let reports = json(&cluster, &["get", "securityprofilenodestatuses", "-A"])?;
        let reports = reports["items"].as_array().cloned().unwrap_or_default();
        Ok(reports.len() == 3 && reports.iter().all(|report| report["status"]["profiles"].is_object()))
    })?;
    assert_eq!(
        refused_requests(&cluster)?,
        BTreeSet::new(),
        "the operator asks for what its roles do not allow"
    );
    guide.run(&cluster, "10.")?;
    let left = cluster.good(
        &["get", "crd,mutatingwebhookconfigurations,validatingwebhookconfigurations,ns", "-o", "name"],
        "",
    )?;
    assert!(!left.contains("spo-") && !left.contains("security-profiles-operator"), "{left}");
    for node in cluster.nodes() {
        let files = files_below(&node.path("/var/lib/kubelet/seccomp"));
        assert!(files.iter().all(|file| !file.ends_with(".json")), "{}: {files:?}", node.name());
        assert!(!node.path("/var/lib/security-profiles-operator/ledger.json").exists(), "{}", node.name());
    }
    assert_eq!(*guide.ran.borrow(), ON_NODES);
    Ok(())
}

/// A pod that says nothing runs under the profile that its image is bound to.
fn bound_under_a_kubelet(cluster: &Cluster) -> Fallible {
    let silent = pod("silent", "nginx:1.21", "{}");
    cluster.until("the other binding reaches the webhook", || {
        let made = cluster.good(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &silent)?;
        Ok(made.contains("operator/production/restricted-nginx.json"))
    })?;
    cluster.good(&["create", "-f", "-"], &silent)?;
    cluster
        .good(&["wait", "--for=condition=Ready", "pod/silent", "-n", "production", "--timeout=60s"], "")?;
    let inside = |command: &[&str]| {
        cluster.kubectl(&[&["exec", "silent", "-n", "production", "--"], command].concat(), "")
    };
    let status = inside(&["cat", "/proc/1/status"])?;
    assert!(String::from_utf8_lossy(&status.stdout).contains("Seccomp:\t2\n"), "{status:?}");
    assert!(!inside(&["mknod", "/tmp/pipe", "p"])?.status.success(), "a forbidden call fails");
    cluster.good(&["delete", "pod", "silent", "-n", "production", "--grace-period=1"], "")?;
    Ok(())
}

/// The cluster's own roles take ours in.
fn users_have_what_their_roles_say(cluster: &Cluster) -> Fallible {
    for role in ["view", "edit", "admin"] {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={role}er"));
        cluster.good(&["create", "rolebinding", &user[7..], "-n", "production", &role, &user], "")?;
    }
    let may = |user: &str, verb: &str, kind: &str| -> Fallible<bool> {
        let user = format!("--as={user}");
        let said = cluster.kubectl(&["auth", "can-i", verb, kind, "-n", "production", &user], "")?;
        Ok(String::from_utf8_lossy(&said.stdout).trim() == "yes")
    };
    cluster.until("the roles are put together", || may("viewer", "get", "seccompprofiles"))?;
    for (user, verb, kind, want) in [
        ("viewer", "list", "selinuxprofiles", true),
        ("viewer", "create", "seccompprofiles", false),
        ("editer", "create", "seccompprofiles", true),
        ("editer", "delete", "profilebindings", true),
        ("editer", "create", "rawselinuxprofiles", false),
        ("adminer", "create", "seccompprofiles", true),
        ("adminer", "create", "apparmorprofiles", false),
    ] {
        assert_eq!(may(user, verb, kind)?, want, "{user} {verb} {kind}");
    }
    Ok(())
}

/// What the operator's accounts asked the API server for and were forbidden: verb and resource.
fn refused_requests(cluster: &Cluster) -> Fallible<BTreeSet<String>> {
    let log = fs::read_to_string(cluster.dir().join("audit.log"))?;
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let account = format!("system:serviceaccount:{NAMESPACE}:");
    let ours =
        |entry: &Value| entry["user"]["username"].as_str().is_some_and(|name| name.starts_with(&account));
    let refused = entries.filter(|entry| ours(entry) && entry["responseStatus"]["code"] == 403);
    Ok(refused
        .map(|entry| format!("{} {} by {}", entry["verb"], entry["requestURI"], entry["user"]["username"]))
        .collect())
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path.display().to_string()] })
        .collect()
}

/// A pod in `production` with a security context of its own.
fn pod(name: &str, image: &str, context: &str) -> String {
    let context: Value = serde_json::from_str(context).unwrap_or_default();
    serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "production" },
        "spec": { "securityContext": context, "containers": [{ "name": "c", "image": image }] } })
    .to_string()
}

/// Sections 4 and 5 need kernels with AppArmor and SELinux.
#[test]
fn on_nodes_with_security_modules() -> Fallible {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !Cluster::is_possible("guide-guests", &[PROGRAMS, GUEST_PROGRAMS, operator_image::PROGRAMS].concat()) {
        return Ok(());
    }
    let guide = Guide::read()?;
    let images = operator_image::images()?;
    let mut cluster = Cluster::start("spo-guests")?;
    images.iter().chain([&static_nginx()]).try_for_each(|image| cluster.push(image))?;
    let (apparmor, selinux) = (cluster.add_guest(Security::AppArmor)?, cluster.add_guest(Security::Selinux)?);
    cluster.add_nodes(1)?;
    cluster.until_ready(&[apparmor.clone(), selinux.clone()])?;
    // Guests are slow: only agents run on them, until the guide's pods come.
    let only = |nodes: &[&str]| -> Fallible {
        for node in ["node-1", &apparmor, &selinux] {
            cluster.good(&[if nodes.contains(&node) { "uncordon" } else { "cordon" }, node], "")?;
        }
        Ok(())
    };
    let before = [look(&cluster, &apparmor)?.0, look(&cluster, &selinux)?.0];
    only(&["node-1"])?;
    guide.run(&cluster, "1.")?;
    cluster.good(&["create", "namespace", "production"], "")?;
    // A filter needs no security module: every node has it.
    cluster.shell("kubectl apply -f examples/guide/02-seccomp.yaml", workspace())?;
    cluster.until("the filter is on every node", || {
        let everywhere = states(&cluster, "SeccompProfile", "restricted-workload")?;
        Ok(everywhere.len() == 3 && everywhere.values().all(|state| state == "Installed"))
    })?;

    only(&[&apparmor])?;
    let on_node = format!("--field-selector=spec.nodeName={apparmor}");
    let agent = || -> Fallible<String> {
        let agent = ["get", "pods", "-n", NAMESPACE, "-l", "name=spod", &on_node, "-o", "name"];
        let agent = cluster.good(&agent, "")?;
        let log = ["logs", "-n", NAMESPACE, agent.trim()];
        let before = cluster.kubectl(&[&log[..], &["--previous"]].concat(), "")?;
        Ok(String::from_utf8_lossy(&before.stdout).into_owned() + &cluster.good(&log, "")?)
    };
    let denied = || -> Fallible<Vec<String>> {
        let log = cluster.kernel_log(&apparmor)?;
        let of_agent = |line: &&str| line.contains("DENIED") && line.contains("profile=\"spo-agent\"");
        Ok(log.lines().filter(of_agent).map(str::to_owned).collect())
    };
    guide
        .run(&cluster, "4.")
        .map_err(|error| format!("{error}: the agent: {:?}, denied: {:#?}", agent(), denied()))?;
    let profile = json(&cluster, &["get", "apparmorprofilealiases", "nginx-apparmor", "-n", "production"])?;
    assert_eq!(profile["status"]["nodes"], "1/1", "the others have no AppArmor: {profile}");
    let where_apparmor = states(&cluster, "AppArmorProfile", "nginx-apparmor")?;
    assert_eq!(where_apparmor.get(&apparmor).map(String::as_str), Some("Installed"), "{where_apparmor:?}");
    for without in [selinux.as_str(), "node-1"] {
        assert_eq!(
            where_apparmor.get(without).map(String::as_str),
            Some("Unsupported"),
            "{where_apparmor:?}"
        );
    }
    // The agent of that node has taken a profile itself, and does all of this under it.
    let log = agent()?;
    assert!(log.contains(r#"confined by AppArmor profile="spo-agent""#), "{log}");
    // The guide's pod starts under the profile; what becomes of a dynamic nginx under it, the warnings have said. A static
    // program in its place does what the profile allows, and not what it does not.
    cluster.until("the guide's pod has started", || {
        let pod = json(&cluster, &["get", "pod", "nginx-apparmor-pod", "-n", "production"])?;
        let state = &pod["status"]["containerStatuses"][0];
        // A container that could not be started has ended too, with a reason of its own.
        let ended = &state["lastState"]["terminated"];
        let ran =
            ended.is_object() && ended["reason"] != "StartError" && ended["reason"] != "ContainerCannotRun";
        Ok(state["started"] == true || ran)
    })?;
    let under = |name: &str, command: &[&str]| {
        serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "production" },
            "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "c", "image": STATIC_NGINX, "command": command,
                "securityContext": { "appArmorProfile": { "type": "Localhost", "localhostProfile": "nginx-apparmor" } },
            }] } })
        .to_string()
    };
    cluster.good(&["apply", "-f", "-"], &under("reader", &["/cat", "/etc/nginx/nginx.conf"]))?;
    cluster.good(&["apply", "-f", "-"], &under("thief", &["/cat", "/etc/secret"]))?;
    let phase = |name: &str| -> Fallible<Value> {
        Ok(json(&cluster, &["get", "pod", name, "-n", "production"])?["status"]["phase"].clone())
    };
    cluster.until("the static programs have ended", || {
        Ok(["reader", "thief"]
            .iter()
            .map(|name| phase(name))
            .collect::<Fallible<Vec<_>>>()?
            .iter()
            .all(|p| p != "Pending" && p != "Running"))
    })?;
    assert_eq!((phase("reader")?, phase("thief")?), ("Succeeded".into(), "Failed".into()));
    cluster.until("the denial is in the kernel's log", || {
        let log = cluster.kernel_log(&apparmor)?;
        Ok(log.lines().any(|line| {
            line.contains("DENIED") && line.contains("nginx-apparmor") && line.contains("/etc/secret")
        }))
    })?;
    // An update takes effect for the next container.
    let text = fs::read_to_string(workspace().join("examples/guide/04-apparmor.yaml"))?;
    let wider = text.replace("/etc/nginx/** r,", "/etc/nginx/** r,\n      /etc/secret r,");
    cluster.good(&["apply", "-f", "-"], &wider)?;
    cluster.until("the wider profile is loaded", || {
        let profile =
            json(&cluster, &["get", "apparmorprofilealiases", "nginx-apparmor", "-n", "production"])?;
        let ready = &profile["status"]["conditions"][0];
        Ok(ready["status"] == "True" && ready["observedGeneration"] == profile["metadata"]["generation"])
    })?;
    cluster.good(&["apply", "-f", "-"], &under("guest", &["/cat", "/etc/secret"]))?;
    cluster.until("what is allowed now succeeds", || Ok(phase("guest")? == "Succeeded"))?;
    cluster.good(&["delete", "pods", "--all", "-n", "production", "--grace-period=0", "--force"], "")?;
    cluster.good(
        &["delete", "apparmorprofilealiases", "nginx-apparmor", "-n", "production", "--timeout=60s"],
        "",
    )?;
    cluster.good(&["apply", "-f", "-"], &under("late", &["/cat", "/etc/nginx/nginx.conf"]))?;
    cluster.until("no container starts under a profile that is gone", || {
        let pod = json(&cluster, &["get", "pod", "late", "-n", "production"])?;
        let reason = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
        Ok(reason == "CreateContainerError"
            || reason == "RunContainerError"
            || pod["status"]["phase"] == "Failed")
    })?;

    assert_eq!(denied()?, Vec::<String>::new());

    only(&[&selinux])?;
    guide.run(&cluster, "5.")?;
    let where_selinux = states(&cluster, "SelinuxProfile", "nginx-selinux")?;
    assert_eq!(where_selinux.get(&selinux).map(String::as_str), Some("Installed"), "{where_selinux:?}");
    for without in [apparmor.as_str(), "node-1"] {
        assert_eq!(where_selinux.get(without).map(String::as_str), Some("Unsupported"), "{where_selinux:?}");
    }
    let inside = |command: &[&str]| {
        let all = [&["exec", "nginx-selinux-pod", "-n", "production", "--"], command].concat();
        cluster.kubectl(&all, "")
    };
    // nginx has bound port 8080, http_cache_port_t.
    let bound = timed(&cluster, "nginx listens under SELinux", || {
        let sockets = inside(&["cat", "/proc/net/tcp"])?;
        Ok(String::from_utf8_lossy(&sockets.stdout).contains(":1F90 "))
    });
    if let Err(error) = bound {
        let log = cluster.kernel_log(&selinux)?;
        let denials: Vec<&str> = log.lines().filter(|line| line.contains("nginx-selinux")).collect();
        return Err(format!("{error}: {}", denials.join("\n")).into());
    }
    let label = inside(&["cat", "/proc/1/attr/current"])?;
    assert!(String::from_utf8_lossy(&label.stdout).contains(":nginx-selinux.process:"), "{label:?}");
    let refused = inside(&["nc", "-l", "-p", "6379"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("Permission denied"),
        "redis_port_t is not bound: {said}"
    );

    only(&["node-1", &apparmor, &selinux])?;
    guide.run(&cluster, "10.")?;
    for (node, before) in [&apparmor, &selinux].into_iter().zip(before) {
        let (files, loaded) = look(&cluster, node)?;
        let changed: Vec<_> = files.symmetric_difference(&before).collect();
        assert!(changed.is_empty(), "{node}: files left or lost: {changed:?}");
        assert!(!loaded.contains("spo-agent") && !loaded.contains("nginx-apparmor"), "{node}: {loaded}");
    }
    assert_eq!(*guide.ran.borrow(), ON_GUESTS);
    Ok(())
}

/// The files of a node in the places that agents write to, the policy store's modules of our priority among them, and
/// the AppArmor profiles in its kernel. A pod looks that is there no longer than that: one that stays holds mounts.
fn look(cluster: &Cluster, node: &str) -> Fallible<(BTreeSet<String>, String)> {
    const FOLDERS: [&str; 6] = [
        "/etc/apparmor.d",
        "/etc/selinux.d",
        "/var/lib/security-profiles-operator",
        "/var/lib/kubelet/seccomp",
        "/var/lib/selinux",
        "/sys/kernel/security",
    ];
    let name = format!("looker-{node}");
    let volume = |(i, path): (usize, &&str)| {
        let kind = if path.starts_with("/sys") { "" } else { "DirectoryOrCreate" };
        serde_json::json!({ "name": format!("v{i}"), "hostPath": { "path": path, "type": kind } })
    };
    let mount = |(i, path): (usize, &&str)| serde_json::json!({ "name": format!("v{i}"), "mountPath": format!("/host{path}") });
    let pod = serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "nodeName": node, "terminationGracePeriodSeconds": 0, "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "c", "image": STATIC_NGINX, "command": ["/sleep", "3600"],
                "securityContext": { "privileged": true },
                "volumeMounts": FOLDERS.iter().enumerate().map(mount).collect::<Vec<_>>() }],
            "volumes": FOLDERS.iter().enumerate().map(volume).collect::<Vec<_>>() } });
    cluster.good(&["apply", "-f", "-"], &pod.to_string())?;
    cluster.good(&["wait", "--for=condition=Ready", "--timeout=120s", "pod", &name], "")?;
    let inside = |script: &str| cluster.good(&["exec", &name, "--", "/sh", "-c", script], "");
    let found = inside(
        "cd /host; /find etc var/lib/security-profiles-operator var/lib/kubelet -type f; \
         /find var/lib/selinux -path '*/modules/350/*' -type f",
    )?;
    let loaded = inside("/cat /host/sys/kernel/security/apparmor/profiles || true")?;
    cluster.good(&["delete", "pod", &name, "--timeout=120s"], "")?;
    Ok((found.lines().map(str::to_owned).collect(), loaded))
}

/// In the place of nginx: a static program, since the guide's profile lets nobody read a library.
const STATIC_NGINX: &str = "localhost/static-nginx:1";

fn static_nginx() -> Image {
    Image::new(STATIC_NGINX, &["/cat"])
        .with_as("/bin/busybox", "/usr/sbin/nginx")
        .with_link("/cat", "/usr/sbin/nginx")
        .with_link("/find", "/usr/sbin/nginx")
        .with_link("/sh", "/usr/sbin/nginx")
        .with_link("/sleep", "/usr/sbin/nginx")
        .with_text("/etc/nginx/nginx.conf", "served\n")
        .with_text("/etc/secret", "secret\n")
}

/// Where a profile stands, by node.
fn states(cluster: &Cluster, kind: &str, profile: &str) -> Fallible<BTreeMap<String, String>> {
    let selector = format!("spo.x-k8s.io/profile-kind={kind}");
    let reports = json(cluster, &["get", "securityprofilenodestatuses", "-A", "-l", &selector])?;
    let reports = reports["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |report: &&Value| text(&report["metadata"]["name"]).contains(&format!("-{profile}-"));
    Ok(reports
        .iter()
        .filter(name)
        .map(|report| (text(&report["spec"]["nodeName"]), text(&report["status"]["status"])))
        .collect())
}
