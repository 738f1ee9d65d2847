//! The webhook on a real API server: every version of the guide's manifests, bindings, refusals and warnings.

use std::{error::Error, fs, process::Command};

use serde_json::{Value, json};
use spo_tests::{
    objects::text,
    operator::{GROUP, NAMESPACE, Operator},
    workspace,
};

#[test]
fn the_guide_on_a_real_api_server() -> Result<(), Box<dyn Error>> {
    let Some(operator) = Operator::start(&[])? else { return Ok(()) };
    let get = |resource: &str, version: &str, name: &str| {
        operator.get((&format!("{resource}.{version}.{GROUP}"), "production", name))
    };
    // As the guide does it, unlike the other tests: not on the server's side.
    let apply = |document: &str| operator.kubectl_of(&["apply", "-f", "-"], document);

    // Section 2: the profile as written, in the version of the guide; the lints are printed by kubectl.
    let guide = |name: &str| fs::read_to_string(workspace().join("examples/guide").join(name));
    let said = apply(&guide("02-seccomp.yaml")?)?;
    assert!(said.contains("Warning: ") && said.contains("execve"), "{said}");
    for (version, switch) in [("v1", "state"), ("v1beta1", "disabled")] {
        let profile = get("seccompprofiles", version, "restricted-workload")?;
        assert_eq!(profile["apiVersion"], format!("{GROUP}/{version}"));
        assert_eq!(profile["spec"]["syscalls"][0]["names"][0], "read", "{profile}");
        let other = if switch == "state" { "disabled" } else { "state" };
        assert!(profile["spec"][other].is_null(), "{version} has no {other}: {profile}");
    }
    // Sections 4, 5 and 6.
    for name in ["04-apparmor.yaml", "05-selinux.yaml", "06-base-local.yaml"] {
        apply(&guide(name)?)?;
    }
    for version in ["v1", "v1alpha2"] {
        let profile = get("selinuxprofiles", version, "nginx-selinux")?;
        assert_eq!(profile["spec"]["inherit"][0]["name"], "container", "{profile}");
    }

    // What cannot work is refused, with the place and the way out.
    let wrong =
        guide("02-seccomp.yaml")?.replace("- openat", "- opnat").replace("restricted-workload", "wrong");
    let refused = operator.try_kubectl(&["apply", "-f", "-"], &wrong)?;
    assert!(!refused.status.success());
    assert!(text(&refused).contains("opnat") && text(&refused).contains("openat"), "{}", text(&refused));

    // Section 7: a bound image gets its profile without asking, whatever the pod says about itself.
    operator.kubectl(&["label", "namespace", "production", "spo.x-k8s.io/enable-binding="])?;
    apply(&guide("07-binding.yaml")?)?;
    let bindings = operator.list("profilebindings", "production", "")?;
    let spec = &bindings.first().ok_or("no binding")?["spec"];
    let (image, profile) = (&spec["image"], spec["profileRef"]["name"].as_str().ok_or("no profile")?);
    let pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bound", "namespace": "production",
            "labels": { "name": "security-profiles-operator" } },
        "spec": { "securityContext": { "seccompProfile": { "type": "Unconfined" } },
            "containers": [{ "name": "c", "image": image }] } })
        .to_string();
    let want = format!("operator/production/{profile}.json");
    // The index follows the watches, which takes a moment.
    operator.holds("the pod is bound", || {
        let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let made = operator.try_kubectl(&arguments, &pod)?;
        let Ok(made) = serde_json::from_slice::<Value>(&made.stdout) else { return Ok(false) };
        let context = &made["spec"]["containers"][0]["securityContext"];
        Ok(context["seccompProfile"]["localhostProfile"] == want.as_str())
    })
}

/// Bindings of every kind and every `onConflict`, new images of pods that are there, and pods while nobody answers.
#[test]
fn bindings_on_a_real_api_server() -> Result<(), Box<dyn Error>> {
    let Some(mut operator) = Operator::start(&[])? else { return Ok(()) };
    operator.kubectl(&["label", "namespace", "production", "spo.x-k8s.io/enable-binding="])?;
    profiles(&operator)?;
    for (name, kind, profile, image, on_conflict) in [
        ("seccomp", "SeccompProfile", "web", "nginx:1.21", "Override"),
        ("apparmor", "AppArmorProfile", "web", "ghcr.io/shop/apparmor", "Override"),
        ("raw", "RawSelinuxProfile", "raw", "ghcr.io/shop/raw", "Override"),
        ("deny", "SeccompProfile", "web", "ghcr.io/shop/deny", "Deny"),
        ("keep", "SeccompProfile", "web", "ghcr.io/shop/keep", "Keep"),
    ] {
        let reference = json!({ "kind": kind, "name": profile });
        operator.apply(&object(
            "ProfileBinding",
            "production",
            name,
            &json!({ "profileRef": reference, "image": image, "onConflict": on_conflict }),
        ))?;
    }
    let unconfined = json!({ "seccompProfile": { "type": "Unconfined" } });
    let silent = Value::Null;
    let web = json!({ "type": "Localhost", "localhostProfile": "operator/production/web.json" });
    for (image, says, field, want) in [
        // A port is a number: no spelling of it evades a binding.
        ("registry-1.docker.io:000443/library/nginx:1.21", &unconfined, "seccompProfile", &web),
        ("ghcr.io/shop/deny", &silent, "seccompProfile", &web),
        ("ghcr.io/shop/keep", &silent, "seccompProfile", &web),
        ("ghcr.io/shop/keep", &unconfined, "seccompProfile", &unconfined["seccompProfile"]),
        (
            "ghcr.io/shop/apparmor",
            &silent,
            "appArmorProfile",
            &json!({ "type": "Localhost", "localhostProfile": "web" }),
        ),
        ("ghcr.io/shop/raw", &silent, "seLinuxOptions", &json!({ "type": "raw.process" })),
    ] {
        let pod = pod("production", "p", image, says);
        operator.holds(image, || {
            let made = made(&operator, &pod)?;
            Ok(made["spec"]["containers"][0]["securityContext"][field] == *want)
        })?;
    }
    let denied = pod("production", "p", "ghcr.io/shop/deny", &unconfined);
    operator.refused_to(&DRY_RUN, &denied, "ProfileBinding production/deny gives")?;
    let privileged = pod("production", "p", "ghcr.io/shop/deny", &json!({ "privileged": true }));
    operator.refused_to(&DRY_RUN, &privileged, "spec.containers[0].securityContext.privileged")?;

    // A pod of another image: neither a new image nor an ephemeral container is a way around the binding.
    operator.kubectl_of(&["create", "-f", "-"], &pod("production", "plain", "redis", &silent).to_string())?;
    let set_image = |image: &str| {
        operator.try_kubectl(&["set", "image", "pod/plain", "-n", "production", &format!("c={image}")], "")
    };
    let refused = set_image("docker.io/library/nginx:1.21")?;
    assert!(!refused.status.success() && text(&refused).contains("create it again"), "{}", text(&refused));
    assert!(set_image("redis:7")?.status.success(), "no binding is about it");
    let debug = [
        "debug",
        "plain",
        "-n",
        "production",
        "--image=nginx:1.21",
        "-c",
        "debugger",
        "--attach=false",
        "-q",
    ];
    operator.kubectl(&debug)?;
    let found = operator.get(("pod", "production", "plain"))?;
    let context = &found["spec"]["ephemeralContainers"][0]["securityContext"];
    assert_eq!(context["seccompProfile"], web, "{found}");

    // What has been asked is counted, and told to those who may read it.
    let port = operator.webhook().serving;
    // Elsewhere a controller makes it.
    operator.try_kubectl(&["create", "serviceaccount", "default", "-n", NAMESPACE], "")?;
    let right = operator.bearer("default")?;
    let token =
        operator.kubectl(&["create", "token", "default", "-n", NAMESPACE, "--audience", "somebody-else"])?;
    let wrong = format!("Authorization: Bearer {}", token.trim());
    let (figures, status) = metrics(port, &right)?;
    assert_eq!(status, "200", "{figures}");
    let refusals =
        "security_profiles_operator_admission_request_total{webhook=\"binding\",result=\"refused\"} 3";
    assert!(figures.contains(refusals), "{figures}");
    for header in [wrong.as_str(), "X-Nothing: 1"] {
        assert_eq!(metrics(port, header)?.1, "401", "{header}");
    }

    // Without the webhook no pod gets another image, and everything else about pods goes on.
    operator.server.kill("webhook")?;
    let set_image = |image: &str| {
        operator.try_kubectl(&["set", "image", "pod/plain", "-n", "production", &format!("c={image}")], "")
    };
    assert!(text(&set_image("redis:8")?).contains("failed calling webhook"));
    operator.kubectl(&["label", "pod", "plain", "-n", "production", "a=b"])?;
    let finalizers = |list: &str| format!(r#"{{"metadata":{{"finalizers":{list}}}}}"#);
    let patch = |list: &str| {
        operator.kubectl(&[
            "patch",
            "pod",
            "plain",
            "-n",
            "production",
            "-p",
            &finalizers(list),
            "--type=merge",
        ])
    };
    patch(r#"["example.com/x"]"#)?;
    operator.kubectl(&["delete", "pod", "plain", "-n", "production", "--force", "--wait=false"])?;
    patch("[]")?;
    operator.until("the pod is gone", ("pod", "production", "plain"), Value::is_null)?;
    Ok(())
}

/// A recording marks the pods that it selects, in namespaces with its label, whatever a binding without one says.
#[test]
fn recordings_on_a_real_api_server() -> Result<(), Box<dyn Error>> {
    let Some(operator) = Operator::start(&[])? else { return Ok(()) };
    let spod = format!("securityprofilesoperatordaemons.v1.{GROUP}");
    operator.until("a SPOD", (&spod, NAMESPACE, "spod"), |spod| !spod.is_null())?;
    let switched_on = r#"{"spec":{"enricher":{"enableLogEnricher":true}}}"#;
    operator.kubectl(&["patch", &spod, "spod", "-n", NAMESPACE, "--type=merge", "-p", switched_on])?;
    operator.kubectl(&["label", "namespace", "production", "spo.x-k8s.io/enable-recording="])?;
    profiles(&operator)?;
    let reference = json!({ "kind": "SeccompProfile", "name": "web" });
    operator.apply(&object(
        "ProfileBinding",
        "production",
        "b",
        &json!({ "profileRef": reference, "image": "*" }),
    ))?;
    operator.apply(&object("ProfileRecording", "production", "rec",
        &json!({ "kind": "SeccompProfile", "recorder": "Logs", "podSelector": { "matchLabels": { "app": "web" } } })))?;
    let mut selected = pod("production", "p", "nginx", &Value::Null);
    selected["metadata"]["labels"] = json!({ "app": "web" });
    operator.holds("the pod is recorded", || {
        let made = made(&operator, &selected)?;
        let value =
            made["metadata"]["annotations"]["io.containers.trace-logs/c"].as_str().unwrap_or_default();
        let path = &made["spec"]["containers"][0]["securityContext"]["seccompProfile"]["localhostProfile"];
        Ok(value.starts_with("rec_c_")
            && path == "operator/security-profiles-operator/log-enricher-trace.json")
    })?;
    // Neither one that is not selected, nor one that says so itself.
    let mut forged = pod("production", "p", "nginx", &Value::Null);
    forged["metadata"]["annotations"] = json!({ "io.containers.trace-logs/c": "rec_c_abcde_1" });
    let made = made(&operator, &forged)?;
    assert!(made["metadata"]["annotations"]["io.containers.trace-logs/c"].is_null(), "{made}");

    // With the label for bindings, what is bound stays confined.
    operator.kubectl(&["label", "namespace", "production", "spo.x-k8s.io/enable-binding="])?;
    operator.holds("the pod is bound", || {
        let made = self::made(&operator, &selected)?;
        let recorded = made["metadata"]["annotations"]["io.containers.trace-logs/c"].is_string();
        let path = &made["spec"]["securityContext"]["seccompProfile"]["localhostProfile"];
        Ok(!recorded && path == "operator/production/web.json")
    })
}

const DRY_RUN: [&str; 6] = ["create", "--dry-run=server", "-o", "json", "-f", "-"];

/// A pod as it would be made, null if it is refused.
fn made(operator: &Operator, pod: &Value) -> Result<Value, Box<dyn Error>> {
    let made = operator.try_kubectl(&DRY_RUN, &pod.to_string())?;
    Ok(serde_json::from_slice(&made.stdout).unwrap_or_default())
}

fn profiles(operator: &Operator) -> Result<(), Box<dyn Error>> {
    for (kind, name, spec) in [
        ("SeccompProfile", "web", json!({ "defaultAction": "SCMP_ACT_LOG" })),
        ("AppArmorProfile", "web", json!({ "abstract": {} })),
        ("RawSelinuxProfile", "raw", json!({ "policy": "(blockinherit container)" })),
    ] {
        operator.apply(&object(kind, "production", name, &spec))?;
    }
    Ok(())
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

fn pod(namespace: &str, name: &str, image: &str, context: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": { "containers": [{ "name": "c", "image": image, "securityContext": context }] } })
}

/// The webhook's figures as a client without its authority reads them, and the status.
fn metrics(port: u16, header: &str) -> Result<(String, String), Box<dyn Error>> {
    let mut command = Command::new("curl");
    command.args(["-sSk", "--http1.1", "-w", "\n%{http_code}", "-H", header]);
    let output = command.arg(format!("https://127.0.0.1:{port}/metrics")).output()?;
    let text = text(&output);
    let (body, status) = text.rsplit_once('\n').ok_or(text.clone())?;
    Ok((body.to_owned(), status.to_owned()))
}
