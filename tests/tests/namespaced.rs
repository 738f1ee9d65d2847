//! An operator of one namespace (`deploy/namespace-operator.yaml`): it works there as anywhere, and neither looks at others
//! nor holds them up.

use std::{error::Error, fs, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    installed,
    operator::{Admission, GROUP, NAMESPACE, Operator, is_reachable},
};

type Outcome = Result<(), Box<dyn Error>>;

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

#[test]
fn an_operator_of_one_namespace_leaves_others_alone() -> Outcome {
    if !installed("api-server", &["curl"]) || !is_reachable() {
        return Ok(());
    }
    let Some(mut operator) = Operator::install_from("deploy/namespace-operator.yaml", Admission::On)? else {
        return Ok(());
    };
    operator.restrict_to("production");
    operator.node("node-a")?;
    operator.manager("manager", &[])?;
    operator.serve()?;
    operator.agent("node-a", &["--with-insecure-metrics-access"])?;
    operator.is_asked()?;
    operator.kubectl(&["create", "namespace", "other"])?;
    for namespace in ["production", "other"] {
        operator.kubectl(&["label", "namespace", namespace, "spo.x-k8s.io/enable-binding="])?;
    }

    let calls = json!({ "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": ["read"] }] });
    let bound = json!({ "profileRef": { "kind": "SeccompProfile", "name": "web" }, "image": "nginx:1.21" });
    for namespace in ["other", "production"] {
        operator.apply(&object("SeccompProfile", namespace, "web", &calls))?;
        operator.apply(&object("ProfileBinding", namespace, "nginx", &bound))?;
    }
    operator.is_installed("web")?;
    let context = |namespace: &str| -> Result<Value, Box<dyn Error>> {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "pod", "namespace": namespace },
            "spec": { "containers": [{ "name": "c", "image": "nginx:1.21" }] } });
        let made = operator
            .kubectl_of(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &pod.to_string())?;
        let mut made: Value = serde_json::from_str(&made)?;
        Ok(made["spec"]["containers"][0]["securityContext"]["seccompProfile"]["localhostProfile"].take())
    };
    operator.holds("the binding works", || Ok(context("production")? == "operator/production/web.json"))?;

    // The other namespace has no status, no file, no binding, and nobody refuses its pods.
    thread::sleep(Duration::from_secs(2));
    let other = operator.get(("seccompprofiles", "other", "web"))?;
    assert!(other["status"].is_null() && other["metadata"]["finalizers"].is_null(), "{other}");
    assert!(operator.list("spns", "other", "")?.is_empty());
    let folder = operator.root("node-a").join("var/lib/kubelet/seccomp/operator");
    assert!(folder.join("production/web.json").exists() && !folder.join("other").exists());
    assert_eq!(context("other")?, Value::Null);

    // What the roles of this installation allow is enough.
    let log = fs::read_to_string(operator.server.dir().join("audit.log"))?;
    let account = format!("system:serviceaccount:{NAMESPACE}:");
    let refused: Vec<String> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["user"]["username"].as_str().is_some_and(|name| name.starts_with(&account)))
        .filter(|entry| entry["responseStatus"]["code"] == 403)
        .map(|entry| format!("{} {} by {}", entry["verb"], entry["requestURI"], entry["user"]["username"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    Ok(())
}
