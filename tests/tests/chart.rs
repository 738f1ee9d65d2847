//! The chart, by the real `helm`: what its values do, and what it installs on a real API server.

use std::{
    error::Error,
    fs,
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spo_tests::{
    api_server::{ApiServer, commands},
    binary, manifest, printed, skip, workspace,
};

type Outcome = Result<(), Box<dyn Error>>;

const NAMESPACE: &str = "security-profiles-operator";

/// The real `helm`, from the path or beside the commands of Kubernetes.
struct Helm(PathBuf);

impl Helm {
    fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut files = std::env::split_paths(&path).chain(commands()).map(|folder| folder.join("helm"));
        let found = files.find(|file| file.is_file());
        if found.is_none() {
            skip("helm", "helm is neither in the path nor beside the commands of Kubernetes");
        }
        found.map(Self)
    }

    fn run(&self, arguments: &[&str], server: Option<&ApiServer>) -> std::io::Result<Output> {
        let mut command = Command::new(&self.0);
        command.args(arguments).arg("--namespace=spo").current_dir(workspace());
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(folder, std::env::temp_dir().join("spo-helm"));
        }
        if let Some(server) = server {
            command.env("KUBECONFIG", server.kubeconfig());
        }
        command.output()
    }

    /// The objects of the chart with values.
    fn template(&self, values: &Value) -> Result<String, Box<dyn Error>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), values.to_string())?;
        let values = format!("--values={}", file.path().display());
        let output = self.run(&["template", "spo", &chart(), "--kube-version=1.36.0", &values], None)?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(format!("{values}: {}", printed(&output)).into()),
        }
    }
}

fn chart() -> String {
    workspace().join("deploy/helm").display().to_string()
}

/// Every value of the chart, with another one than its default.
fn others() -> Vec<(&'static str, Value)> {
    let selector = json!({ "matchLabels": { "bind": "yes" } });
    let own = json!([{ "key": "own", "operator": "Exists" }]);
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
        { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "pool", "operator": "Exists" }] }] } } });
    let resources = json!({ "requests": { "cpu": "30m" }, "limits": { "memory": "300Mi" } });
    let spread = json!({ "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": { "name": NAMESPACE } } });
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    vec![
        ("replicaCount", json!(2)),
        ("spoImage.registry", json!("registry.example")),
        ("spoImage.repository", json!("mirror/spo")),
        ("spoImage.tag", json!("v9")),
        ("spoImage.digest", json!(digest)),
        ("spoImage.pullPolicy", json!("Always")),
        ("imagePullSecrets", json!([{ "name": "pull" }])),
        ("crds.install", json!(false)),
        ("crds.keep", json!(false)),
        ("restrictToNamespaces", json!(["a", "b"])),
        ("kubeletDir", json!("/data/kubelet")),
        ("verbosity", json!(1)),
        ("enableLogEnricher", json!(true)),
        ("enableJsonEnricher", json!(true)),
        ("enableBpfRecorder", json!(true)),
        ("enableAppArmor", json!(true)),
        ("enableProfiling", json!(true)),
        ("enableMemoryOptimization", json!(true)),
        ("enableInsecureMetricsAccess", json!(true)),
        ("selinux.enable", json!(true)),
        ("selinux.enableRawSelinuxProfiles", json!(false)),
        ("selinux.typeTag", json!("own_t")),
        ("selinux.customTemplatesConfigMap", json!("templates")),
        ("selinux.options", json!({ "allowedSystemProfiles": ["container", "net_container"] })),
        ("daemon.resources", resources.clone()),
        ("daemon.tolerations", own.clone()),
        ("daemon.affinity", affinity.clone()),
        ("daemon.priorityClassName", json!("system-node-critical")),
        ("daemon.startupTaint", json!(true)),
        ("daemon.hostProc", json!("/proc/host")),
        ("webhook.certs.mode", json!("cert-manager")),
        (
            "webhook.options",
            json!([{ "name": "binding.spo.io", "failurePolicy": "Ignore", "namespaceSelector": selector }]),
        ),
        ("webhook.tolerations", own.clone()),
        ("webhook.affinity", affinity.clone()),
        ("webhook.nodeSelector", json!({ "pool": "infra" })),
        ("webhook.priorityClassName", json!("system-cluster-critical")),
        ("spod", json!({ "statusMode": "PerNode" })),
        ("podAnnotations", json!({ "example.com/owner": "us" })),
        ("nodeSelector", json!({ "pool": "infra" })),
        ("tolerations", own),
        ("affinity", affinity),
        ("topologySpreadConstraints", json!([spread])),
        ("priorityClassName", json!("system-cluster-critical")),
        ("resources", resources),
        ("podDisruptionBudget.enabled", json!(false)),
        ("networkPolicy.enabled", json!(false)),
        ("userRoles.create", json!(false)),
        ("metrics.tokenSecret", json!(false)),
    ]
}

/// Values with one of them set.
fn set(values: &mut Value, path: &str, value: Value) {
    let mut place = values;
    for part in path.split('.') {
        place = &mut place[part];
    }
    *place = value;
}

/// The paths of what a schema or a file of values has; free-form objects are not entered.
fn leaves(path: &str, properties: &Value, inner: &dyn Fn(&Value) -> Value, out: &mut Vec<String>) {
    for (name, value) in properties.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let below = inner(value);
        if below.as_object().is_some_and(|below| !below.is_empty()) {
            leaves(&path, &below, inner, out);
        } else {
            out.push(path);
        }
    }
}

/// Each value is in the file of values, described in the schema, and changes what is installed.
#[test]
fn every_value_is_described_and_does_something() -> Outcome {
    let others = others();
    let mut names: Vec<&str> = others.iter().map(|(path, _)| *path).collect();
    names.sort_unstable();
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(workspace().join("deploy/helm/values.schema.json"))?)?;
    let mut in_schema = Vec::new();
    leaves("", &schema["properties"], &|value| value["properties"].clone(), &mut in_schema);
    in_schema.retain(|path| path != "global");
    in_schema.sort();
    assert_eq!(in_schema, names);
    for path in &in_schema {
        let place = path.split('.').fold(&schema, |place, part| &place["properties"][part]);
        assert!(place["description"].as_str().is_some_and(|text| text.len() > 10), "{path}");
    }
    let values: Value =
        serde_saphyr::from_str(&fs::read_to_string(workspace().join("deploy/helm/values.yaml"))?)?;
    let mut in_file = Vec::new();
    let inner = |value: &Value| match value {
        // Objects that the chart passes on as they are.
        Value::Object(fields)
            if fields.contains_key("requests") || fields.contains_key("kubernetes.io/os") =>
        {
            Value::Null
        }
        other => other.clone(),
    };
    leaves("", &values, &inner, &mut in_file);
    in_file.sort();
    assert_eq!(in_file, in_schema);

    let Some(helm) = Helm::find() else { return Ok(()) };
    let plain = helm.template(&json!({}))?;
    for (path, value) in others {
        let mut values = json!({});
        set(&mut values, path, value);
        assert!(helm.template(&values)? != plain, "{path} has no effect");
    }
    Ok(())
}

/// What the chart makes of everything on, and of everything off, a real API server takes; also what the manager then
/// makes of the SPOD.
#[test]
fn everything_on_and_everything_off_is_accepted() -> Outcome {
    let Some(helm) = Helm::find() else { return Ok(()) };
    let Some(server) = ApiServer::start()? else { return Ok(()) };
    for namespace in ["spo", "a", "b"] {
        server.calm(&["create", "namespace", namespace], "")?;
    }
    let mut on = json!({});
    for (path, value) in others() {
        if !["crds.install", "spoImage.digest"].contains(&path) {
            set(&mut on, path, value);
        }
    }
    let mut off = json!({});
    for path in
        ["podDisruptionBudget.enabled", "networkPolicy.enabled", "userRoles.create", "metrics.tokenSecret"]
    {
        set(&mut off, path, json!(false));
    }
    for values in [on, off] {
        let objects = helm.template(&values)?;
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        server.calm(&apply, &objects)?;
        server.calm(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
        let manager = server.calm(&["get", "deployment", NAMESPACE, "-n", "spo", "-o", "json"], "")?;
        let manager: Value = serde_json::from_str(&manager)?;
        let variables = manager["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned();
        let spec = variables.into_iter().flatten().find(|variable| variable["name"] == "SPO_SPOD");
        let spec = spec.and_then(|variable| serde_json::from_str::<Value>(variable["value"].as_str()?).ok());
        let spod = json!({ "apiVersion": "security-profiles-operator.x-k8s.io/v1",
            "kind": "SecurityProfilesOperatorDaemon", "metadata": { "name": "spod", "namespace": "spo" },
            "spec": spec.ok_or("the manager has no SPOD")? });
        server.calm(&apply, &spod.to_string())?;
        let file = server.dir().join("spod.json");
        fs::write(&file, spod.to_string())?;
        let rendered = Command::new(binary("spo-operator", "spo-operator"))
            .args(["manifests", "--spod"])
            .arg(&file)
            .output()?;
        assert!(rendered.status.success(), "{}", printed(&rendered));
        server.calm(&apply, &String::from_utf8(rendered.stdout)?)?;
        server.calm(&["delete", "-f", "-", "--wait=false"], &objects)?;
    }
    Ok(())
}

/// The chart is what `helm` takes it for: lint, refusals of the schema, install, upgrade, uninstall.
#[test]
fn helm_installs_upgrades_and_uninstalls() -> Outcome {
    let Some(helm) = Helm::find() else { return Ok(()) };
    let run = |arguments: &[&str], server: Option<&ApiServer>| helm.run(arguments, server);
    let chart = chart();
    let lint = run(&["lint", "--strict", &chart], None)?;
    assert!(lint.status.success(), "{}", printed(&lint));
    for (value, why) in [
        ("replicaCount=many", "replicaCount"),
        ("spoImage.pullPolicy=Sometimes", "pullPolicy"),
        ("nosuchvalue=1", "nosuchvalue"),
        ("webhook.certs.mode=none", "mode"),
        ("restrictToNamespaces={Upper}", "restrictToNamespaces"),
    ] {
        let refused = run(&["template", "x", &chart, "--kube-version=1.36.0", "--set", value], None)?;
        assert!(
            !refused.status.success() && printed(&refused).contains(why),
            "{value}: {}",
            printed(&refused)
        );
    }

    let Some(server) = ApiServer::start()? else { return Ok(()) };
    server.calm(&["create", "namespace", "spo"], "")?;
    let said = run(&["install", "spo", &chart], Some(&server))?;
    assert!(said.status.success(), "{}", printed(&said));
    server.calm(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
    let manager = || -> Result<Value, Box<dyn Error>> {
        let said = server.calm(&["get", "deployment", NAMESPACE, "-n", "spo", "-o", "json"], "")?;
        Ok(serde_json::from_str(&said)?)
    };
    let variable = |deployment: &Value, name: &str| -> String {
        let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
        let found = variables.as_array().into_iter().flatten().find(|variable| variable["name"] == name);
        found.and_then(|variable| variable["value"].as_str()).unwrap_or_default().to_owned()
    };
    let first = manager()?;
    assert_eq!(
        variable(&first, "SPO_SPOD"),
        "{}",
        "the default SPOD has no groups that flat patches contradict"
    );
    // The same objects as the manifest's, in the release's namespace.
    let wanted: Vec<String> = manifest("operator.yaml")?
        .split("\n---\n")
        .filter_map(|document| serde_saphyr::from_str::<Value>(document).ok())
        .filter(|object| !object.is_null() && object["kind"] != "Namespace")
        .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
        .collect();
    let release = run(&["get", "manifest", "spo"], Some(&server))?;
    let mut installed: Vec<String> = printed(&release)
        .split("\n---\n")
        .filter_map(|document| serde_saphyr::from_str::<Value>(document.trim_start_matches("---\n")).ok())
        .filter(|object| !object.is_null())
        .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
        .collect();
    let mut wanted = wanted;
    wanted.sort();
    installed.sort();
    assert_eq!(installed, wanted);

    let upgrade = [
        "upgrade",
        "spo",
        &chart,
        "--set",
        "enableLogEnricher=true,replicaCount=1",
        "--set",
        "restrictToNamespaces={a,b}",
    ];
    server.calm(&["create", "namespace", "a"], "")?;
    server.calm(&["create", "namespace", "b"], "")?;
    let said = run(&upgrade, Some(&server))?;
    assert!(said.status.success(), "{}", printed(&said));
    let second = manager()?;
    assert_eq!(variable(&second, "SPO_SPOD"), r#"{"enableLogEnricher":true}"#);
    assert_eq!(variable(&second, "RESTRICT_TO_NAMESPACE"), "a,b");
    assert_eq!(second["spec"]["replicas"], 1);
    let can = |namespace: &str| -> Result<bool, Box<dyn Error>> {
        let account = "--as=system:serviceaccount:spo:spod";
        let output =
            server.kubectl(&["auth", "can-i", "list", "seccompprofiles", "-n", namespace, account], "")?;
        Ok(printed(&output).lines().any(|line| line == "yes"))
    };
    let start = Instant::now();
    while can("default")? {
        assert!(start.elapsed() < Duration::from_secs(30), "an agent still reads every namespace");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(can("a")? && can("b")? && can("spo")?);

    let said = run(&["uninstall", "spo"], Some(&server))?;
    assert!(said.status.success(), "{}", printed(&said));
    let kinds = "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,\
        networkpolicy,deployment,secret,configmap,pdb,role,rolebinding,serviceaccount";
    let left =
        server.calm(&["get", kinds, "-A", "-l", "app=security-profiles-operator", "-o", "name"], "")?;
    assert!(left.is_empty() || left.contains("No resources"), "left: {left}");
    let kept = server.calm(&["get", "crd", "-o", "name"], "")?;
    assert_eq!(kept.lines().count(), 9, "definitions are kept: {kept}");
    Ok(())
}
