use std::collections::BTreeSet;

use spo_model::{convert, kind::Scope, object::AnyObject};

use super::*;

/// A SPOD with a spec, as the API server would hand it over.
fn with(spec: Value) -> SecurityProfilesOperatorDaemon {
    let mut document = default_spod(names::OPERATOR);
    document["spec"] = spec;
    document["metadata"]["uid"] = json!("0a1b");
    match convert::decode(&document).expect("decodes").object {
        AnyObject::SecurityProfilesOperatorDaemon(spod) => spod,
        other => panic!("{:?}", other.kind()),
    }
}

fn environment() -> Environment {
    Environment { service_monitors: true, ..Environment::new(names::OPERATOR) }
}

fn render(spec: Value, environment: &Environment) -> Vec<Value> {
    spod(&with(spec), environment).expect("renders")
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).expect("rendered")
}

/// Every switch, each with the groups of v1 or the flat places of before.
fn specs() -> Vec<(&'static str, Value)> {
    vec![
        ("default", json!({})),
        ("apparmor", json!({ "enableAppArmor": true })),
        (
            "selinux",
            json!({ "selinux": { "enable": true, "typeTag": "own_t", "enableRawSelinuxProfiles": false,
            "customTemplatesConfigMap": "templates" } }),
        ),
        (
            "everything",
            json!({
                "verbosity": 1, "enableProfiling": true, "enableMemoryOptimization": true, "enableAppArmor": true,
                "hostProcVolumePath": "/proc/host", "imagePullSecrets": [{ "name": "pull" }],
                "enableSelinux": true, "enableLogEnricher": true, "enableBpfRecorder": true, "enableJsonEnricher": true,
                "logEnricherSource": "Bpf", "logEnricherFilters": "[]", "jsonEnricherFilters": "[]",
                "jsonEnricherOptions": { "auditLogIntervalSeconds": 5, "auditLogPath": "/tmp/audit.log" },
                "tolerations": [{ "operator": "Exists" }], "priorityClassName": "important",
                "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                    { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "pool", "operator": "Exists" }] }] } } },
                "daemonResourceRequirements": { "requests": { "cpu": "250m", "memory": "256Mi" },
                    "limits": { "cpu": "500m", "memory": "512Mi" } },
            }),
        ),
        ("startup-taint", json!({ "scheduling": { "startupTaint": true } })),
        ("insecure-metrics", json!({ "enableInsecureMetricsAccess": true })),
        ("static-webhook", json!({ "webhook": { "staticConfig": true } })),
        ("webhook-disabled", json!({ "webhook": { "mode": "Disabled" } })),
        (
            "webhook-scheduling",
            json!({
                "tolerations": [{ "key": "agents", "operator": "Exists" }],
                "webhook": { "scheduling": {
                    "tolerations": [{ "key": "webhook", "operator": "Exists" }],
                    "affinity": { "podAntiAffinity": {} },
                    "nodeSelector": { "pool": "infra" },
                    "priorityClassName": "system-cluster-critical",
                } },
            }),
        ),
        (
            "webhook-options",
            json!({ "webhook": { "options": [{ "name": "binding.spo.io", "failurePolicy": "Ignore",
            "namespaceSelector": { "matchLabels": { "bind": "yes" } },
            "objectSelector": { "matchExpressions": [{ "key": "skip", "operator": "DoesNotExist" }] } }] } }),
        ),
    ]
}

#[test]
fn what_people_would_read() {
    for (name, spec) in specs() {
        let environment = Environment { recorders: name == "everything", ..environment() };
        let text = manifests::file(name, &render(spec, &environment)).expect("YAML").text;
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, text);
        });
    }
}

/// Every mount has its volume and every volume its mount.
#[test]
fn volumes_and_mounts_agree() {
    for (name, spec) in specs() {
        for recorders in [false, true] {
            let environment = Environment { recorders, ..environment() };
            for object in render(spec.clone(), &environment) {
                let pod = &object["spec"]["template"]["spec"];
                let names = |list: &Value| -> Vec<String> {
                    let all = list.as_array().into_iter().flatten();
                    all.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
                };
                let volumes = names(&pod["volumes"]);
                let containers = ["containers", "initContainers"].map(|field| pod[field].as_array().cloned());
                let containers: Vec<Value> = containers.into_iter().flatten().flatten().collect();
                let mounted: BTreeSet<String> =
                    containers.iter().flat_map(|c| names(&c["volumeMounts"])).collect();
                assert_eq!(
                    volumes.iter().cloned().collect::<BTreeSet<_>>(),
                    mounted,
                    "{name}: {}",
                    object["kind"]
                );
                assert_eq!(volumes.len(), mounted.len(), "{name}: a volume twice");
                for container in &containers {
                    let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
                    let paths: BTreeSet<&str> =
                        mounts.iter().filter_map(|m| m["mountPath"].as_str()).collect();
                    assert_eq!(paths.len(), mounts.len(), "{name}: a path twice in {}", container["name"]);
                }
            }
        }
    }
}

/// The existing operator changes what is there, so that privileges stay after a feature is switched off.
#[test]
fn nothing_sticks() {
    let environment = environment();
    let before = render(json!({}), &environment);
    for (name, spec) in specs() {
        let on = render(spec, &environment);
        assert_eq!(before == on, name == "default", "{name} changes something");
        assert_eq!(render(json!({}), &environment), before, "{name} is over");
    }
}

#[test]
fn an_agent_without_security_modules_has_no_rights() {
    let objects = render(json!({}), &environment());
    let pod = &of_kind(&objects, "DaemonSet")["spec"]["template"]["spec"];
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(context["runAsUser"], 65535);
    assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
    assert!(context["privileged"].is_null() && pod["hostPID"].is_null() && pod["hostNetwork"].is_null());
    let paths: Vec<&str> = pod["volumes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .collect();
    assert_eq!(paths, ["/var/lib/kubelet/seccomp", "/var/lib/security-profiles-operator"]);
}

/// Flat and grouped places of the guide's switches mean the same.
#[test]
fn flat_patches_take_effect() {
    for (flat, grouped) in [
        (json!({ "enableLogEnricher": true }), json!({ "enricher": { "enableLogEnricher": true } })),
        (json!({ "enableBpfRecorder": true }), json!({ "enricher": { "enableBpfRecorder": true } })),
        (json!({ "enableSelinux": true }), json!({ "selinux": { "enable": true } })),
    ] {
        let environment = environment();
        let rendered = render(flat.clone(), &environment);
        assert_eq!(rendered, render(grouped, &environment), "{flat}");
        assert_ne!(rendered, render(json!({}), &environment), "{flat}");
    }
}

/// What the build does not have is not started, and is said.
#[test]
fn recorders_that_are_not_there_are_named() {
    let spec = json!({ "enableLogEnricher": true, "enableBpfRecorder": true });
    let missing = unavailable(&with(spec.clone()), &environment());
    assert_eq!(missing, ["the log enricher", "the eBPF recorder"]);
    let objects = render(spec.clone(), &environment());
    let set = of_kind(&objects, "DaemonSet");
    assert_eq!(set["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
    let with_recorders = Environment { recorders: true, ..environment() };
    assert!(unavailable(&with(spec.clone()), &with_recorders).is_empty());
    let objects = render(spec, &with_recorders);
    let set = of_kind(&objects, "DaemonSet");
    assert_eq!(set["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(3));
}

/// A label that a user writes must not take a pod out of a binding, nor a dead webhook keep one from being deleted.
#[test]
fn webhooks_cannot_be_evaded_and_do_not_block() {
    let objects = render(json!({}), &environment());
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configuration = of_kind(&objects, kind);
        assert!(configuration["metadata"]["ownerReferences"].is_null(), "a SPOD cannot own it");
        for hook in configuration["webhooks"].as_array().expect("a list") {
            assert_eq!(hook["objectSelector"], json!({}), "{}", hook["name"]);
            assert_eq!(hook["sideEffects"], "None");
            assert_eq!(hook["admissionReviewVersions"], json!(["v1"]));
            for rule in hook["rules"].as_array().expect("a list") {
                for operation in rule["operations"].as_array().expect("a list") {
                    assert!(operation == "CREATE" || operation == "UPDATE", "{}: {operation}", hook["name"]);
                }
                let resources = rule["resources"].as_array().expect("a list");
                assert!(!resources.iter().any(|r| r == "securityprofilenodestatuses" || r == "*"));
            }
        }
    }
    let validating = of_kind(&objects, "ValidatingWebhookConfiguration");
    for hook in validating["webhooks"].as_array().expect("a list") {
        let spods = hook["rules"][0]["resources"].as_array().is_some_and(|resources| {
            resources.iter().any(|resource| resource == "securityprofilesoperatordaemons")
        });
        assert_eq!(hook["failurePolicy"], if spods { "Ignore" } else { "Fail" }, "{}", hook["name"]);
    }
}

/// Each ServiceMonitor finds one Service, its port, and the certificate that is for the name it expects.
#[test]
fn the_monitors_find_the_services_ports() {
    let objects = render(json!({}), &environment());
    let monitors: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "ServiceMonitor").collect();
    let mut found = Vec::new();
    for monitor in monitors {
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
        let is_wanted = |service: &&Value| {
            let labels = &service["metadata"]["labels"];
            service["kind"] == "Service" && wanted.iter().all(|(label, value)| labels[label] == *value)
        };
        let [service] = objects.iter().filter(is_wanted).collect::<Vec<_>>()[..] else { panic!("{monitor}") };
        found.push(service["metadata"]["name"].as_str().expect("a name"));
        for endpoint in monitor["spec"]["endpoints"].as_array().expect("a list") {
            assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
            assert_eq!(endpoint["scheme"], "https");
            let tls = &endpoint["tlsConfig"];
            let servers = crate::manager::trust::servers(names::OPERATOR);
            let server = servers.iter().find(|server| tls["ca"]["secret"]["name"] == *server.secret);
            let expected = tls["serverName"].as_str().expect("a name");
            assert!(server.expect("a Secret").names.iter().any(|name| name == expected), "{expected}");
        }
    }
    assert_eq!(found, ["metrics", "metrics-manager", "webhook-service"]);
    // Who installs the webhooks installs what finds them.
    let is_static = render(json!({ "webhook": { "mode": "Static" } }), &environment());
    assert_eq!(is_static.iter().filter(|o| o["kind"] == "ServiceMonitor").count(), 2);
}

/// OpenShift's annotations are where its service CA looks for them, and nowhere without it. What it injects is not
/// rendered, or each apply would take it away.
#[test]
fn the_service_ca_is_asked_by_annotations() {
    let annotated = |environment: &Environment| -> Vec<(String, Value)> {
        let objects = render(json!({}), environment).into_iter();
        let named = objects.map(|o| (o["metadata"]["name"].clone(), o["metadata"]["annotations"].clone()));
        let named = named.filter(|(_, annotations)| !annotations.is_null());
        named.map(|(name, annotations)| (name.as_str().expect("a name").to_owned(), annotations)).collect()
    };
    assert_eq!(annotated(&environment()), []);
    let openshift = Environment { service_ca: true, ..environment() };
    let secret = |name: &str| json!({ "service.beta.openshift.io/serving-cert-secret-name": name });
    let inject = json!({ "service.beta.openshift.io/inject-cabundle": "true" });
    assert_eq!(
        annotated(&openshift),
        [
            ("metrics".to_owned(), secret("metrics-server-cert")),
            ("webhook-service".to_owned(), secret("webhook-server-cert")),
            ("spo-mutating-webhook-configuration".to_owned(), inject.clone()),
            ("spo-validating-webhook-configuration".to_owned(), inject),
        ]
    );
    let text = Value::from(render(json!({}), &openshift)).to_string();
    assert!(!text.contains("caBundle"));
    // Its Secrets have no `ca.crt`.
    assert!(!text.contains("\"key\":\"ca.crt\""), "{text}");
}

/// Admission is asked of replicas that can decide; conversion of all, since it may be what fills their caches.
#[test]
fn admission_and_conversion_are_asked_through_services_of_their_own() {
    let publishes = |environment: &Environment| -> Vec<(String, bool)> {
        let objects = render(json!({}), environment).into_iter();
        let services =
            objects.filter(|o| o["kind"] == "Service" && o["spec"]["selector"]["name"] == names::WEBHOOK);
        let of = |service: Value| {
            let name = service["metadata"]["name"].as_str().expect("a name").to_owned();
            (name, service["spec"]["publishNotReadyAddresses"] == true)
        };
        services.map(of).collect()
    };
    assert_eq!(
        publishes(&environment()),
        [("webhook-service".to_owned(), false), ("webhook-conversion".to_owned(), true)]
    );
    // The service CA has a certificate for one of them only, so that has to do for both.
    let openshift = Environment { service_ca: true, ..environment() };
    assert_eq!(publishes(&openshift), [("webhook-service".to_owned(), true)]);
    for definition in spo_model::crd::definitions(Scope::Namespaced) {
        let conversion = definition.spec.conversion.expect("a conversion").webhook.expect("a webhook");
        let service = conversion.client_config.expect("a client").service.expect("a Service");
        assert_eq!(service.name, names::CONVERSION_SERVICE);
    }
}

/// The mode, as the old switch and as its own field say it.
#[test]
fn the_mode_decides_what_of_the_webhook_is_made() {
    let made = |webhook: Value| {
        let objects = render(json!({ "webhook": webhook }), &environment());
        let is = |kind: &str, name: &str| {
            objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        };
        let converts = is("Deployment", names::WEBHOOK) && is("Service", names::CONVERSION_SERVICE);
        let admits = [
            is("MutatingWebhookConfiguration", names::MUTATING_WEBHOOKS),
            is("ValidatingWebhookConfiguration", names::VALIDATING_WEBHOOKS),
        ];
        (converts, admits)
    };
    assert_eq!(made(json!({})), (true, [true; 2]));
    assert_eq!(made(json!({ "mode": "Managed", "staticConfig": false })), (true, [true; 2]));
    assert_eq!(
        made(json!({ "mode": "Disabled" })),
        (true, [false; 2]),
        "versions are converted without admission"
    );
    for of_the_manifest in [json!({ "mode": "Static" }), json!({ "staticConfig": true })] {
        assert_eq!(made(of_the_manifest), (false, [false; 2]));
    }
    let both = with(json!({ "webhook": { "mode": "Disabled", "staticConfig": true } }));
    let error = spod(&both, &environment()).expect_err("refused").to_string();
    assert!(error.contains("spec.webhook.mode") && error.contains("spec.webhook.staticConfig"), "{error}");
}

/// What the SPOD does not say of the webhook's place is as without it.
#[test]
fn each_field_of_the_webhooks_place_stands_for_itself() {
    let pod = |spec: Value| {
        let objects = render(spec, &environment());
        let pod = of_kind(&objects, "Deployment")["spec"]["template"]["spec"].clone();
        ["tolerations", "affinity", "nodeSelector", "priorityClassName"].map(|field| pod[field].clone())
    };
    let plain = pod(json!({}));
    assert!(plain[0].to_string().contains("control-plane") && plain[1]["podAntiAffinity"].is_object());
    assert_eq!((&plain[2], &plain[3]), (&json!({ "kubernetes.io/os": "linux" }), &Value::Null));
    let taint = |key: &str| json!([{ "key": key, "operator": "Exists" }]);
    let both = json!({ "tolerations": taint("agents"), "webhook": { "scheduling": { "tolerations": taint("own") } } });
    assert_eq!(pod(both)[0], taint("own"));
    let none = json!({ "tolerations": taint("agents"), "webhook": { "scheduling": { "tolerations": [] } } });
    assert_eq!(pod(none)[0], json!([]), "none are none");
    let agents = json!({ "tolerations": taint("agents"), "webhook": { "scheduling": { "priorityClassName": "high" } } });
    let [tolerations, affinity, nodes, priority] = pod(agents);
    assert_eq!((tolerations, affinity, nodes), (taint("agents"), plain[1].clone(), plain[2].clone()));
    assert_eq!(priority, "high");
    let [_, affinity, nodes, _] =
        pod(json!({ "webhook": { "scheduling": { "affinity": {}, "nodeSelector": { "pool": "infra" } } } }));
    assert_eq!((affinity, nodes), (json!({}), json!({ "kubernetes.io/os": "linux", "pool": "infra" })));
}

/// Whatever else they tolerate.
#[test]
fn who_is_needed_on_a_new_node_tolerates_its_taint() {
    let tolerate = |object: &Value| {
        let tolerations = &object["spec"]["template"]["spec"]["tolerations"];
        let ours =
            json!({ "key": "security-profiles-operator.x-k8s.io/agent-not-ready", "operator": "Exists" });
        tolerations.as_array().expect("a list").contains(&ours)
    };
    let own = json!([{ "key": "own", "operator": "Exists" }]);
    for (spec, expected) in [
        (json!({}), false),
        (json!({ "scheduling": { "startupTaint": false } }), false),
        (json!({ "scheduling": { "startupTaint": true } }), true),
        (json!({ "scheduling": { "startupTaint": true, "tolerations": own } }), true),
        (
            json!({ "scheduling": { "startupTaint": true }, "webhook": { "scheduling": { "tolerations": [] } } }),
            true,
        ),
    ] {
        let objects = render(spec.clone(), &environment());
        for kind in ["DaemonSet", "Deployment"] {
            assert_eq!(tolerate(of_kind(&objects, kind)), expected, "{kind} of {spec}");
        }
    }
    for webhook in [manifests::Webhook::Managed, manifests::Webhook::Static] {
        let objects = manifests::operator(&environment(), webhook);
        let deployments: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "Deployment").collect();
        assert!(!deployments.is_empty() && deployments.into_iter().all(tolerate), "{webhook:?}");
    }
}

/// What the webhook does not watch it cannot answer for.
#[test]
fn only_namespaces_that_are_looked_at_are_asked_about() {
    let hooks = |environment: &Environment, spec: Value| -> Vec<Value> {
        let objects = render(spec, environment);
        let kinds = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
        let all =
            kinds.iter().flat_map(|kind| of_kind(&objects, kind)["webhooks"].as_array().expect("webhooks"));
        all.cloned().collect()
    };
    let few = Environment { restrict_to: "a, b,".to_owned(), ..environment() };
    let only = json!({ "key": "kubernetes.io/metadata.name", "operator": "In",
        "values": ["a", "b", "security-profiles-operator"] });
    // Nor by a selector that replaces ours.
    let own = json!({ "webhook": { "options": [{ "name": "binding.spo.io",
        "namespaceSelector": { "matchLabels": { "x": "y" } } }] } });
    for spec in [json!({}), own] {
        let all = hooks(&few, spec);
        assert_eq!(all.len(), 5);
        for hook in all {
            let expressions =
                hook["namespaceSelector"]["matchExpressions"].as_array().expect("expressions").clone();
            assert!(expressions.contains(&only), "{hook}");
        }
    }
    for hook in hooks(&Environment { restrict_to: " ,".to_owned(), ..environment() }, json!({})) {
        assert!(!hook.to_string().contains("\"a\""), "{hook}");
        assert_eq!(
            hook["namespaceSelector"],
            hooks(&environment(), json!({}))
                .into_iter()
                .find(|other| other["name"] == hook["name"])
                .expect("the same")["namespaceSelector"]
        );
    }
}

/// A kubelet asks from the node, which no policy keeps out; nobody else has to ask.
#[test]
fn no_policy_opens_the_port_of_the_probes() {
    for policy in policy::network(names::OPERATOR) {
        assert!(!policy["spec"]["ingress"].to_string().contains("8085"), "{policy}");
    }
}

/// Selectors find the pods they are for, whatever the SPOD is called.
#[test]
fn selectors_find_their_pods() {
    let mut other = with(json!({}));
    other.metadata.name = Some("other".parse().expect("a name"));
    let objects = spod(&other, &environment()).expect("renders");
    let agents = of_kind(&objects, "DaemonSet");
    assert_eq!(agents["metadata"]["name"], "other");
    let labels = |workload: &Value| workload["spec"]["template"]["metadata"]["labels"].clone();
    let selects = |selector: &Value, labels: &Value| {
        let wanted = selector.as_object().expect("labels");
        !wanted.is_empty() && wanted.iter().all(|(label, value)| labels.get(label) == Some(value))
    };
    for workload in [agents, of_kind(&objects, "Deployment")] {
        assert!(selects(&workload["spec"]["selector"]["matchLabels"], &labels(workload)));
    }
    let service = |name: &str| {
        let found = objects.iter().find(|o| o["kind"] == "Service" && o["metadata"]["name"] == name);
        found.expect("rendered")["spec"]["selector"].clone()
    };
    let (of_agents, of_webhook) = (labels(agents), labels(of_kind(&objects, "Deployment")));
    assert!(selects(&service("metrics"), &of_agents) && !selects(&service("metrics"), &of_webhook));
    let manager = manifests::deployment(&environment(), manifests::Webhook::Managed);
    let of_manager = labels(&manager);
    assert!(selects(&service("metrics-manager"), &of_manager) && !selects(&service("metrics"), &of_manager));
    assert!(!selects(&service("metrics-manager"), &of_agents));
    assert!(
        selects(&service("webhook-service"), &of_webhook)
            && !selects(&service("webhook-service"), &of_agents)
    );
    for policy in policy::network(names::OPERATOR) {
        let selector = &policy["spec"]["podSelector"]["matchLabels"];
        let found = [&of_agents, &of_webhook].iter().filter(|labels| selects(selector, labels)).count();
        let want = match policy["metadata"]["name"].as_str() {
            Some("spo-agent" | "spo-webhook") => 1,
            Some("spo-manager") => 0,
            _ => 2,
        };
        assert_eq!(found, want, "{}", policy["metadata"]["name"]);
    }
}

/// Every webhook that is rendered is one whose options the SPOD's validation knows.
#[test]
fn the_webhooks_are_those_that_have_options() {
    let objects = render(json!({}), &environment());
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        for hook in of_kind(&objects, kind)["webhooks"].as_array().expect("a list") {
            let options = json!([{ "name": hook["name"], "failurePolicy": "Ignore" }]);
            let changed = with(json!({ "webhook": { "options": options } }));
            let problems = spo_model::validate::validate(&AnyObject::from(changed.clone()));
            assert!(problems.is_empty(), "{problems:?}");
            let objects = spod(&changed, &environment()).expect("renders");
            let hooks = of_kind(&objects, kind)["webhooks"].as_array().expect("a list");
            let same = hooks.iter().find(|other| other["name"] == hook["name"]).expect("there");
            assert_eq!(same["failurePolicy"], "Ignore");
        }
    }
}

#[test]
fn names_follow_the_environment() {
    let environment = Environment {
        namespace: "elsewhere".to_owned(),
        image: "registry.example/spo@sha256:00".to_owned(),
        ca_bundle: Some("ABC".to_owned()),
        owner: Some(json!({ "kind": "ClusterRole" })),
        ..environment()
    };
    for object in render(json!({}), &environment) {
        let text = object.to_string();
        assert!(!text.contains("\"namespace\":\"security-profiles-operator\""), "{text}");
        if object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration")) {
            assert_eq!(object["webhooks"][0]["clientConfig"]["caBundle"], "QUJD");
            assert_eq!(object["metadata"]["ownerReferences"], json!([{ "kind": "ClusterRole" }]));
        } else {
            assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "0a1b", "{}", object["kind"]);
        }
    }
}

#[test]
fn a_kubelet_directory_is_a_path() {
    for bad in ["", "/", "var/lib/kubelet", "/var/../etc"] {
        let environment = Environment { kubelet_dir: bad.to_owned(), ..environment() };
        let error = spod(&with(json!({})), &environment).expect_err("refused");
        assert_eq!(error, RenderError::KubeletDir(bad.to_owned()));
    }
}

#[test]
fn the_charts_values_become_a_spod() {
    let spod = configured_spod("spo", r#"{"enableLogEnricher":true}"#).expect("JSON");
    assert_eq!(spod["spec"], json!({ "enableLogEnricher": true }));
    assert!(convert::decode(&spod).is_ok());
    assert_eq!(configured_spod("spo", "{}").expect("JSON"), default_spod("spo"));
    for bad in ["", "[]", "{", "null"] {
        assert!(matches!(configured_spod("spo", bad), Err(RenderError::Values(_))), "{bad:?}");
    }
}

/// Nobody's rights are a wildcard, nobody reads other Secrets or makes pods, and only the agents' reports and the
/// finalizers of profiles are written outside of the operator's namespace.
#[test]
fn rights_are_narrow() {
    let place = account::Where { namespace: names::OPERATOR.to_owned(), ..account::Where::default() };
    let mut roles = 0;
    for role in account::objects(&place) {
        let Some(rules) = role["rules"].as_array() else { continue };
        roles += 1;
        let name = role["metadata"]["name"].as_str().expect("a name");
        let for_people = ["spo-view", "spo-edit", "spo-admin"].contains(&name);
        let cluster_wide = role["kind"] == "ClusterRole";
        for rule in rules {
            let texts = |field: &str| -> Vec<&str> {
                rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
            };
            let (resources, verbs) = (texts("resources"), texts("verbs"));
            assert!(!resources.contains(&"*") && !verbs.contains(&"*") && !texts("apiGroups").contains(&"*"));
            let writes = verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
            for resource in resources {
                match resource {
                    "secrets" => {
                        assert!(!cluster_wide && (!rule["resourceNames"].is_null() || verbs == ["create"]));
                    }
                    "pods" => assert!(!writes, "{name} writes pods"),
                    // For a taint alone; see `policy::startup_taint`.
                    "nodes" if name == names::OPERATOR => assert!(!writes || verbs == ["patch"]),
                    "nodes" | "namespaces" => assert!(!writes, "{name} writes {resource}"),
                    "escalate" | "bind" | "impersonate" => panic!("{name}: {resource}"),
                    _ => {}
                }
            }
            let profiles = texts("apiGroups").contains(&GROUP);
            if cluster_wide && profiles && writes && !for_people {
                let made = verbs.contains(&"create") || verbs.contains(&"deletecollection");
                let own = rule["resources"] == json!(["securityprofilenodestatuses"]);
                assert!(!made || own && name == "spod-profiles", "{name} makes {rule}");
                let kept = own
                    || rule["resources"] == json!(["seccompprofiles"]) && name.starts_with(names::OPERATOR);
                assert!(!verbs.contains(&"delete") || kept, "{name} deletes {rule}");
            }
        }
    }
    assert!(roles > 8);
}
