//! Bad input and hostile users, on the whole operator: each gets a clear answer, and nobody else pays for it.
//!
//! A tenant here is a user who may edit the namespace `tenant`, by the role `spo-edit` that the operator brings, or one
//! who was given all kinds of profiles there by the role `spo-admin`.

use std::{error::Error, fs, process::Command, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    objects::text,
    operator::{GROUP, NAMESPACE, Operator},
};

type Outcome = Result<(), Box<dyn Error>>;

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

fn calls(allow: &[&str]) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": allow }] })
}

/// Two more namespaces, with users who may do there what those roles allow. `edit` itself is put together by a
/// controller, which does not run here, so its parts are given.
fn tenants(operator: &Operator) -> Outcome {
    for namespace in ["tenant", "other"] {
        operator.kubectl(&["create", "namespace", namespace])?;
        for (user, role) in
            [("editor", "spo-edit"), ("editor", "system:aggregate-to-edit"), ("owner", "spo-admin")]
        {
            let (user, role) = (format!("--user={user}-{namespace}"), format!("--clusterrole={role}"));
            let name = role.trim_start_matches("--clusterrole=").replace(':', "-");
            operator.kubectl(&["create", "rolebinding", &name, "-n", namespace, &user, &role])?;
        }
    }
    Ok(())
}

const APPLY: [&str; 5] = ["apply", "--server-side", "--force-conflicts", "-f", "-"];

fn apply_as(operator: &Operator, user: &str, document: &Value) -> Result<String, String> {
    let arguments = [&APPLY[..], &["--as", user]].concat();
    let output =
        operator.try_kubectl(&arguments, &document.to_string()).map_err(|error| error.to_string())?;
    if output.status.success() { Ok(text(&output)) } else { Err(text(&output)) }
}

/// A profile means its own namespace and nothing else: neither its name nor its base reaches into another.
#[test]
fn a_profile_stays_in_its_namespace() -> Outcome {
    let Some(operator) = Operator::start(&["node-a"])? else { return Ok(()) };
    tenants(&operator)?;
    let folder = operator.root("node-a").join("var/lib/kubelet/seccomp/operator");
    operator.apply(&object("SeccompProfile", "other", "secret", &calls(&["bpf"])))?;
    operator.until("it is there", ("seccompprofiles", "other", "secret"), |p| {
        p["status"]["status"] == "Installed"
    })?;
    let theirs = fs::read(folder.join("other/secret.json"))?;

    // Names that are paths are no names.
    for name in ["../other/secret", "other/secret", "..", "%2e%2e", "secret.json/../x"] {
        let arguments = [&APPLY[..], &["--as", "editor-tenant"]].concat();
        operator.refused_to(
            &arguments,
            &object("SeccompProfile", "tenant", name, &calls(&["read"])),
            "nvalid",
        )?;
    }
    // The same name is another profile.
    let own = object("SeccompProfile", "tenant", "secret", &calls(&["read"]));
    apply_as(&operator, "editor-tenant", &own)?;
    operator.until("it is there", ("seccompprofiles", "tenant", "secret"), |p| {
        p["status"]["status"] == "Installed"
    })?;
    assert_eq!(fs::read(folder.join("other/secret.json"))?, theirs);
    assert!(fs::read_to_string(folder.join("tenant/secret.json"))?.contains("read"));
    // Nor may the tenant write it where it is.
    let refused =
        apply_as(&operator, "editor-tenant", &object("SeccompProfile", "other", "secret", &calls(&["read"])));
    assert!(refused.is_err_and(|said| said.contains("forbidden")), "RBAC keeps namespaces apart");

    // A base of another namespace that does not share it is none, however it is written.
    operator.apply(&object("SeccompProfile", "other", "hidden", &calls(&["bpf", "mount"])))?;
    operator.until("it is there", ("seccompprofiles", "other", "hidden"), |p| {
        p["status"]["status"] == "Installed"
    })?;
    let mut taker = object("SeccompProfile", "tenant", "taker", &calls(&["read"]));
    taker["spec"]["baseProfileName"] = json!("hidden");
    let said = apply_as(&operator, "editor-tenant", &taker)?;
    assert!(said.contains("Warning") && said.contains("hidden"), "{said}");
    let found = operator
        .until("an error", ("seccompprofiles", "tenant", "taker"), |p| p["status"]["status"] == "Error")?;
    assert!(found.to_string().contains("hidden"), "{found}");
    assert!(!folder.join("tenant/taker.json").exists());
    for base in ["other/hidden", "../other/hidden"] {
        taker["spec"]["baseProfileName"] = json!(base);
        let said = apply_as(&operator, "editor-tenant", &taker);
        assert!(said.is_err() || said.is_ok_and(|said| said.contains("Warning")), "{base}");
    }
    thread::sleep(Duration::from_secs(2));
    assert!(!folder.join("tenant/taker.json").exists());
    Ok(())
}

/// A pod is bound whatever it says about itself; a binding to a profile that is not there refuses it.
#[test]
fn nobody_evades_a_binding() -> Outcome {
    let Some(operator) = Operator::start(&["node-a"])? else { return Ok(()) };
    tenants(&operator)?;
    operator.kubectl(&["label", "namespace", "tenant", "spo.x-k8s.io/enable-binding=true"])?;
    operator.apply(&object("SeccompProfile", "tenant", "strict", &calls(&["read"])))?;
    let binding =
        |profile: &str| json!({ "profileRef": { "kind": "SeccompProfile", "name": profile }, "image": "*" });
    operator.apply(&object("ProfileBinding", "tenant", "all", &binding("strict")))?;
    let ask = |pod: &Value| -> Result<Result<(Value, String), String>, Box<dyn Error>> {
        let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-", "--as", "editor-tenant"];
        let output = operator.try_kubectl(&arguments, &pod.to_string())?;
        match output.status.success() {
            true => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Ok(Ok((serde_json::from_slice(&output.stdout)?, said)))
            }
            false => Ok(Err(text(&output))),
        }
    };
    let unconfined = json!({ "seccompProfile": { "type": "Unconfined" } });
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "evader", "namespace": "tenant",
            "labels": { "name": "security-profiles-operator", "app": "security-profiles-operator",
                "app.kubernetes.io/managed-by": "kubectl-debug" },
            "annotations": { "spo.x-k8s.io/enable-binding": "false" } },
        "spec": { "securityContext": unconfined, "serviceAccountName": "default",
            "containers": [{ "name": "c", "image": "c", "securityContext": unconfined }],
            "initContainers": [{ "name": "i", "image": "i", "securityContext": unconfined }] } });
    let path = "operator/tenant/strict.json";
    operator.holds("bound", || {
        let Ok((made, said)) = ask(&pod)? else { return Ok(false) };
        let of = |object: &Value| object["securityContext"]["seccompProfile"]["localhostProfile"].clone();
        let spec = &made["spec"];
        Ok([spec, &spec["containers"][0], &spec["initContainers"][0]]
            .map(of)
            .iter()
            .all(|found| found == path)
            && said.contains("replaces the seccomp profile"))
    })?;
    // The operator's own namespace is not asked about, and a tenant makes nothing there.
    pod["metadata"]["namespace"] = json!(NAMESPACE);
    assert!(ask(&pod)?.is_err_and(|said| said.contains("forbidden")));
    pod["metadata"]["namespace"] = json!("tenant");

    // A profile that is not there: the author is told twice, and the pod is refused with the way out.
    operator.apply(&object("ProfileBinding", "tenant", "all", &binding("missing")))?;
    operator.holds("refused", || {
        Ok(ask(&pod)?
            .is_err_and(|said| said.contains("there is no SeccompProfile") && said.contains("missing")))
    })?;
    // One of another namespace is as good as none.
    operator.apply(&object("SeccompProfile", "other", "missing", &calls(&["bpf"])))?;
    thread::sleep(Duration::from_secs(2));
    assert!(ask(&pod)?.is_err_and(|said| said.contains("there is no SeccompProfile")));
    // An editor of another namespace takes no binding away.
    let arguments = ["delete", "profilebinding", "all", "-n", "tenant", "--as", "editor-other"];
    assert!(!operator.try_kubectl(&arguments, "")?.status.success());
    Ok(())
}

/// An old version hides some fields, and its annotation says what they are. Whoever writes that changes the object: it is
/// judged as it will be stored, it takes effect though no generation is counted, and nothing that is shown is another.
#[test]
fn what_an_old_version_hides_is_judged_and_takes_effect() -> Outcome {
    let Some(operator) = Operator::start(&["node-a"])? else { return Ok(()) };
    tenants(&operator)?;
    operator.kubectl(&["label", "namespace", "tenant", "spo.x-k8s.io/enable-binding=true"])?;
    operator.apply(&object("SeccompProfile", "tenant", "strict", &calls(&["read"])))?;
    let memory = "security-profiles-operator.x-k8s.io/conversion";
    let reference = json!({ "kind": "SeccompProfile", "name": "strict" });
    let mut binding = object(
        "ProfileBinding",
        "tenant",
        "all",
        &json!({ "profileRef": reference, "image": "*", "onConflict": "Deny" }),
    );
    operator.apply(&binding)?;
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "tenant" },
        "spec": { "securityContext": { "seccompProfile": { "type": "Unconfined" } },
            "containers": [{ "name": "c", "image": "nginx" }] } })
    .to_string();
    let taken = || -> Result<bool, Box<dyn Error>> {
        let arguments = ["create", "--dry-run=server", "-f", "-", "--as", "editor-tenant"];
        Ok(operator.try_kubectl(&arguments, &pod)?.status.success())
    };
    operator.holds("the pod is refused", || Ok(!taken()?))?;
    // By a manifest of the existing operator's, which knows no conflicts.
    binding["apiVersion"] = json!(format!("{GROUP}/v1alpha1"));
    binding["spec"] = json!({ "profileRef": reference, "image": "*" });
    let replace = |document: &Value| operator.try_kubectl(&["replace", "-f", "-"], &document.to_string());
    let before = operator.get(("profilebindings", "tenant", "all"))?;
    assert!(replace(&binding)?.status.success());
    let after = operator.get(("profilebindings", "tenant", "all"))?;
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    assert_eq!((generation(&before), &after["spec"]["onConflict"]), (generation(&after), &Value::Null));
    operator.holds("the pod is bound", taken)?;

    // What is hidden is validated.
    let annotated = |kind: &str, version: &str, name: &str, spec: &Value, place: &Value| {
        let mut document = object(kind, "tenant", name, spec);
        document["apiVersion"] = json!(format!("{GROUP}/{version}"));
        document["metadata"]["annotations"] = json!({ memory: json!({ "v1": [place] }).to_string() });
        document
    };
    let spec = json!({ "defaultAction": "SCMP_ACT_KILL" });
    operator.apply(&object("SeccompProfile", "tenant", "killer", &spec))?;
    let hidden = json!({ "path": "/spec/defaultErrnoRet", "full": 1 });
    let said = replace(&annotated("SeccompProfile", "v1beta1", "killer", &spec, &hidden))?;
    assert!(said.status.success() && text(&said).contains("unused-errno"), "{}", text(&said));
    assert_eq!(operator.get(("seccompprofiles", "tenant", "killer"))?["spec"]["defaultErrnoRet"], 1);

    // What is shown is no business of the annotation.
    let shown = json!({ "path": "/spec/defaultAction", "shown": "SCMP_ACT_KILL", "full": "SCMP_ACT_ALLOW" });
    let said = replace(&annotated("SeccompProfile", "v1beta1", "killer", &spec, &shown))?;
    assert!(!said.status.success() && text(&said).contains("conversion-annotation"), "{}", text(&said));
    let agent = format!("--as=system:serviceaccount:{NAMESPACE}:spod");
    let node = "--as-user-extra=authentication.kubernetes.io/node-name=node-a";
    let mut lie = annotated(
        "SecurityProfileNodeStatus",
        "v1alpha1",
        "lie-node-a-6",
        &Value::Null,
        &json!({ "path": "/spec/nodeName", "shown": "node-a", "full": "node-b" }),
    );
    lie["nodeName"] = json!("node-a");
    lie["status"] = json!("Error");
    if let Some(fields) = lie.as_object_mut() {
        fields.remove("spec");
    }
    operator.refused_to(&["create", "-f", "-", &agent, node], &lie, "conversion-annotation").map(drop)?;
    // In the old version, too, an agent speaks for its own node.
    lie["metadata"]["annotations"] = json!({});
    lie["nodeName"] = json!("node-b");
    operator
        .refused_to(&["create", "-f", "-", &agent, node], &lie, "cannot report for another node")
        .map(drop)
}

/// The agent of one node says nothing for another, neither in an object of its own nor in the other's.
#[test]
fn an_agent_cannot_speak_for_another_node() -> Outcome {
    let Some(operator) = Operator::start(&["node-a", "node-b"])? else { return Ok(()) };
    operator.apply(&object("SeccompProfile", "production", "web", &calls(&["read"])))?;
    let web = operator.is_installed("web")?;
    let statuses = operator.list("spns", "production", "spo.x-k8s.io/node-name=node-b")?;
    let theirs = statuses.first().ok_or("a status of node-b")?;
    let name = theirs["metadata"]["name"].as_str().ok_or("a name")?;
    let agent = format!("--as=system:serviceaccount:{NAMESPACE}:spod");
    let node = "--as-user-extra=authentication.kubernetes.io/node-name=node-a";
    let denied = |arguments: &[&str], document: &Value| -> Outcome {
        let arguments = [arguments, &[&agent, node]].concat();
        operator.refused_to(&arguments, document, "the agent of node node-a cannot").map(drop)
    };
    // What the other has said, changed, deleted, or taken over.
    let patch = r#"{"status":{"status":"Error","message":"from another node"}}"#;
    denied(&["patch", "spns", name, "-n", "production", "--type=merge", "-p", patch], &Value::Null)?;
    denied(&["delete", "spns", name, "-n", "production"], &Value::Null)?;
    let takeover = r#"{"spec":{"nodeName":"node-a"}}"#;
    denied(&["patch", "spns", name, "-n", "production", "--type=merge", "-p", takeover], &Value::Null)?;
    // A second object in its name.
    let owner = json!([{ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile", "name": "web",
        "uid": web["metadata"]["uid"], "controller": true }]);
    let mut lie =
        object("SecurityProfileNodeStatus", "production", "lie-node-a-6", &json!({ "nodeName": "node-b" }));
    lie["metadata"]["ownerReferences"] = owner;
    lie["status"] = json!({ "status": "Error" });
    denied(&["create", "-f", "-"], &lie)?;
    // The name that the other needs, taken before it does.
    let mut squat = lie.clone();
    squat["metadata"]["name"] = json!(name.replacen("web", "later", 1));
    squat["spec"]["nodeName"] = json!("node-a");
    denied(&["create", "-f", "-"], &squat)?;
    // As well as by one whose name the other's ends in.
    squat["spec"]["nodeName"] = json!("b");
    let b = "--as-user-extra=authentication.kubernetes.io/node-name=b";
    let said = "cannot take a name that does not end in -b-1";
    operator.refused_to(&["create", "-f", "-", &agent, b], &squat, said)?;
    // The same with one object for each node.
    let mode = r#"{"spec":{"statusMode":"PerNode"}}"#;
    operator.kubectl(&["patch", "spod", "spod", "-n", NAMESPACE, "--type=merge", "-p", mode])?;
    operator.until("one object", ("spns", NAMESPACE, "node-node-b"), |status| {
        let said = &status["status"]["profiles"]["SeccompProfile/production/web"];
        said.as_str().is_some_and(|said| said.starts_with("Installed@1/"))
    })?;
    let patch = r#"{"status":{"profiles":{"SeccompProfile/production/web":"Error@1: no"}}}"#;
    denied(&["patch", "spns", "node-node-b", "-n", NAMESPACE, "--type=merge", "-p", patch], &Value::Null)?;
    denied(&["delete", "spns", "node-node-b", "-n", NAMESPACE], &Value::Null)?;
    let node_b =
        object("SecurityProfileNodeStatus", "production", "node-node-b", &json!({ "nodeName": "node-a" }));
    denied(&["create", "-f", "-"], &node_b)?;
    operator.is_installed("web").map(drop)
}

/// What is too large is refused by the server or by us, with a reason, and the next request is answered.
#[test]
fn large_objects_are_refused_and_harm_nobody() -> Outcome {
    let Some(operator) = Operator::start(&["node-a"])? else { return Ok(()) };
    let names: Vec<String> = (0..250_000).map(|i| format!("call_{i:06}")).collect();
    let mut large =
        object("SeccompProfile", "production", "large", &json!({ "defaultAction": "SCMP_ACT_ERRNO" }));
    large["spec"]["syscalls"] = json!([{ "action": "SCMP_ACT_ALLOW", "names": names }]);
    let annotated = |bytes: usize| {
        let mut profile = object("SeccompProfile", "production", "annotated", &calls(&["read"]));
        profile["metadata"]["annotations"] = json!({ "x": "x".repeat(bytes) });
        profile
    };
    let policy = format!("(allow process process (process ({})))", "fork ".repeat(600_000));
    let raw = object("RawSelinuxProfile", "production", "raw", &json!({ "policy": policy }));
    for document in [large, annotated(3_000_000), raw] {
        let size = document.to_string().len();
        assert!(size > 2_900_000, "{size}");
        let output = operator.try_kubectl(&["create", "-f", "-"], &document.to_string())?;
        let said = text(&output);
        assert!(!output.status.success(), "{}", &said[..said.len().min(500)]);
        let clear = ["too large", "Too long", "Too many", "must have at most", "limit is", "may not be more"];
        assert!(clear.iter().any(|why| said.contains(why)), "{}", &said[..said.len().min(1000)]);
    }
    // Many annotations of others, as large as the server takes them, are none of our business.
    operator.apply(&annotated(200_000))?;
    operator.until("installed", ("seccompprofiles", "production", "annotated"), |p| {
        p["status"]["status"] == "Installed"
    })?;
    operator.webhook_is_ready()
}

/// A question of a version that is none is answered, and so is one that is no question.
#[test]
fn unknown_versions_are_failures_that_say_so() -> Outcome {
    let Some(operator) = Operator::start(&[])? else { return Ok(()) };
    let url = format!("https://127.0.0.1:{}/convert", operator.webhook().serving);
    let ask = |body: &str| -> Result<(String, String), Box<dyn Error>> {
        let output = Command::new("curl")
            .args([
                "-sS",
                "-k",
                "-w",
                "\n%{http_code}",
                "-H",
                "content-type: application/json",
                "-d",
                body,
                &url,
            ])
            .output()?;
        let said = String::from_utf8(output.stdout)?;
        let (body, code) = said.rsplit_once('\n').ok_or("no code")?;
        Ok((body.to_owned(), code.to_owned()))
    };
    let profile = object("SeccompProfile", "production", "web", &calls(&["read"]));
    let review = |version: &str, objects: &[Value]| {
        json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": { "uid": "u", "desiredAPIVersion": version, "objects": objects } })
        .to_string()
    };
    for version in [format!("{GROUP}/v9"), "example.org/v1".to_owned(), String::new()] {
        let (body, code) = ask(&review(&version, std::slice::from_ref(&profile)))?;
        let answer: Value = serde_json::from_str(&body).map_err(|_| format!("{version}: {code}: {body}"))?;
        assert_eq!(answer["response"]["result"]["status"], "Failure", "{answer}");
        assert!(answer["response"]["result"]["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(answer["response"]["convertedObjects"].as_array().is_none_or(Vec::is_empty), "{answer}");
    }
    let (body, code) = ask("{")?;
    assert_eq!(code, "400", "{body}");
    // kubectl is told by the API server itself.
    let output = operator.try_kubectl(&["get", &format!("seccompprofiles.v9.{GROUP}"), "-A"], "")?;
    assert!(!output.status.success());
    let mut other = profile;
    other["apiVersion"] = json!(format!("{GROUP}/v9"));
    operator.refused(&other, "no matches for kind").map(drop)
}

/// The kernel knows AppArmor and SELinux profiles by one name for the whole node: the first one keeps it, and the
/// second is told whose it is.
#[test]
fn names_in_the_kernel_belong_to_the_first() -> Outcome {
    let Some(mut operator) = Operator::start(&[])? else { return Ok(()) };
    tenants(&operator)?;
    operator.node("lsm")?;
    operator.agent(
        "lsm",
        &["--with-insecure-metrics-access", "--with-apparmor", "--with-selinux", "--with-raw-selinux"],
    )?;
    let path = |path: &str| json!({ "abstract": { "executable": { "allowedExecutables": [path] } } });
    let text_of = |path: &str| json!({ "policy": format!("profile restricted-workload {{ {path} r, }}") });
    let selinux = |permission: &str| json!({ "allow": { "@self": { "tcp_socket": [permission] } } });
    let raw = json!({ "policy": "(blockinherit container)(allow process process (process (fork)))" });
    for (plural, kind, first, others) in [
        (
            "apparmorprofiles",
            "AppArmorProfile",
            path("/bin/first"),
            vec![("apparmorprofiles", "AppArmorProfile", path("/bin/second"))],
        ),
        (
            "selinuxprofiles",
            "SelinuxProfile",
            selinux("listen"),
            vec![
                ("selinuxprofiles", "SelinuxProfile", selinux("accept")),
                ("rawselinuxprofiles", "RawSelinuxProfile", raw),
            ],
        ),
    ] {
        apply_as(&operator, "owner-other", &object(kind, "other", "contested", &first))?;
        operator
            .until("the first", (plural, "other", "contested"), |p| p["status"]["status"] == "Installed")?;
        let before = tree(&operator.root("lsm"));
        for (plural, kind, spec) in others {
            // By creation time, which has seconds.
            thread::sleep(Duration::from_millis(1100));
            let second = object(kind, "tenant", "contested", &spec);
            match apply_as(&operator, "owner-tenant", &second) {
                Err(said) => assert!(said.contains("contested"), "{said}"),
                Ok(_) => {
                    let found = operator.until("the second", (plural, "tenant", "contested"), |p| {
                        p["status"]["status"] == "Error"
                    })?;
                    assert!(
                        found.to_string().contains("other/contested"),
                        "it says whose the name is: {found}"
                    );
                }
            }
            assert_eq!(tree(&operator.root("lsm")), before, "{kind}: nothing on the node changed");
            let found = operator.get((
                match kind {
                    "AppArmorProfile" => "apparmorprofiles",
                    _ => "selinuxprofiles",
                },
                "other",
                "contested",
            ))?;
            assert_eq!(found["status"]["status"], "Installed", "{found}");
        }
    }
    // An editor of a namespace writes none of these at all.
    for (kind, spec) in [("AppArmorProfile", path("/x")), ("SelinuxProfile", selinux("listen"))] {
        let said = apply_as(&operator, "editor-tenant", &object(kind, "tenant", "mine", &spec));
        assert!(said.is_err_and(|said| said.contains("forbidden")), "{kind}");
    }
    // The two spellings of one kind, with one name: two objects to the API server, one profile to the kernel.
    operator.apply(&object("AppArmorProfile", "production", "restricted-workload", &path("/bin/first")))?;
    operator.until("the first", ("apparmorprofiles", "production", "restricted-workload"), |p| {
        p["status"]["status"] == "Installed"
    })?;
    let before = tree(&operator.root("lsm"));
    thread::sleep(Duration::from_millis(1100));
    let mut other = object("ApparmorProfile", "production", "restricted-workload", &text_of("/bin/second"));
    other["apiVersion"] = json!(format!("{GROUP}/v1alpha1"));
    operator.apply(&other)?;
    let found = operator.until(
        "the second",
        ("apparmorprofilealiases", "production", "restricted-workload"),
        |p| p["status"]["status"] == "Error",
    )?;
    assert!(found.to_string().contains("restricted-workload"), "{found}");
    assert_eq!(tree(&operator.root("lsm")), before);
    // With the first gone the name is free.
    operator.kubectl(&[
        "delete",
        "apparmorprofile",
        "restricted-workload",
        "-n",
        "production",
        "--timeout=60s",
    ])?;
    operator.until(
        "the second's turn",
        ("apparmorprofilealiases", "production", "restricted-workload"),
        |p| p["status"]["status"] == "Installed",
    )?;
    Ok(())
}

/// The artefacts below a folder, with their contents; not the ledger, which has times of its own.
fn tree(root: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("etc"), root.join("var/lib/kubelet")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.display().to_string(), fs::read(&path).unwrap_or_default())),
            }
        }
    }
    found.sort();
    found
}
