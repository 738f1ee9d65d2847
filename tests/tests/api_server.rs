//! The webhook on a real API server: every version of the guide's manifests, bindings, refusals and warnings.

use std::{error::Error, fs};

use serde_json::{Value, json};
use spo_tests::{
    objects::text,
    operator::{GROUP, Operator},
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
