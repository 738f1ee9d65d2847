mod conflicts;
mod images;
mod privileged;
mod update;

use proptest::prelude::*;
use serde_json::json;
use spo_model::{kind::Kind, object::AnyObject};

use super::*;
use crate::webhook::{
    fixture::{create, document, index, object, own, patched, refused},
    index::Unreadable,
};

fn binding(name: &str, kind: &str, profile: &str, image: &str) -> AnyObject {
    own("ProfileBinding", name, &json!({"profileRef": {"kind": kind, "name": profile}, "image": image}))
}

fn with_status(kind: &str, name: &str, spec: &Value, status: &Value) -> AnyObject {
    let mut document = document(kind, name, spec);
    document["status"] = status.clone();
    object(&document)
}

fn installed(kind: &str, name: &str, spec: &Value) -> AnyObject {
    with_status(kind, name, spec, &json!({"status": "Installed"}))
}

fn profiles() -> [AnyObject; 4] {
    [
        installed("SeccompProfile", "web", &json!({"defaultAction": "SCMP_ACT_ERRNO"})),
        installed("SelinuxProfile", "web", &json!({})),
        installed("RawSelinuxProfile", "raw", &json!({"policy": "(blockinherit container)"})),
        installed("AppArmorProfile", "web", &json!({"abstract": {}})),
    ]
}

/// The answer of an index with the four profiles and some bindings.
fn ask(bindings: &[AnyObject], pod: &Value) -> (Answer, Request) {
    let profiles = profiles();
    let request = create(pod);
    (admit(&request, &index(profiles.iter().chain(bindings))), request)
}

/// The pod that comes out.
fn bound(bindings: &[AnyObject], pod: &Value) -> Value {
    let (answer, request) = ask(bindings, pod);
    patched(&request, &answer)
}

fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn local(usage: &str) -> Value {
    json!({"type": "Localhost", "localhostProfile": usage})
}

const SECCOMP: &str = "operator/production/web.json";

#[test]
fn each_kind_goes_into_its_field_of_the_container_with_the_image_and_no_other() {
    let spec = json!({
        "initContainers": [{"name": "i", "image": "nginx:1.21"}],
        "containers": [{"name": "a", "image": "nginx:1.21"}, {"name": "b", "image": "redis"}],
    });
    for (kind, name, context) in [
        ("SeccompProfile", "web", json!({"seccompProfile": local(SECCOMP)})),
        ("SelinuxProfile", "web", json!({"seLinuxOptions": {"type": "web.process"}})),
        ("RawSelinuxProfile", "raw", json!({"seLinuxOptions": {"type": "raw.process"}})),
        // The existing operator's bindings cannot say the raw kind; its name in the kernel is the same.
        ("SelinuxProfile", "raw", json!({"seLinuxOptions": {"type": "raw.process"}})),
        ("AppArmorProfile", "web", json!({"appArmorProfile": local("web")})),
    ] {
        let mut expected = pod(&spec);
        expected["spec"]["initContainers"][0]["securityContext"] = context.clone();
        expected["spec"]["containers"][0]["securityContext"] = context;
        assert_eq!(bound(&[binding("b", kind, name, "nginx:1.21")], &pod(&spec)), expected, "{kind}");
    }
}

#[test]
fn the_guides_binding_binds_what_means_the_same_image() {
    let bindings = [binding("nginx-binding", "SeccompProfile", "web", "nginx:1.21")];
    for image in ["nginx:1.21", "docker.io/library/nginx:1.21", "docker.io/nginx:1.21"] {
        let out = bound(&bindings, &pod(&json!({"containers": [{"name": "c", "image": image}]})));
        let context = &out["spec"]["containers"][0]["securityContext"]["seccompProfile"];
        assert_eq!(context["localhostProfile"], SECCOMP, "{image}");
    }
    let other = pod(&json!({"containers": [{"name": "c", "image": "nginx:1.22"}]}));
    assert_eq!(bound(&bindings, &other), other);
}

#[test]
fn the_exact_text_comes_before_the_meaning_and_both_before_the_wildcard() {
    let more = [
        installed("SeccompProfile", "exact", &json!({"defaultAction": "SCMP_ACT_ERRNO"})),
        installed("SeccompProfile", "any", &json!({"defaultAction": "SCMP_ACT_ERRNO"})),
    ];
    let bindings = [
        binding("a-any", "SeccompProfile", "any", "*"),
        binding("b-meaning", "SeccompProfile", "web", "docker.io/library/nginx:latest"),
        binding("c-exact", "SeccompProfile", "exact", "nginx"),
    ];
    let spec = json!({"containers": [
        {"name": "1", "image": "nginx"}, {"name": "2", "image": "library/nginx"}, {"name": "3", "image": "redis"},
    ]});
    let all: Vec<_> = more.iter().chain(&bindings).cloned().collect();
    let out = bound(&all, &pod(&spec));
    let path = |holder: &Value| holder["securityContext"]["seccompProfile"]["localhostProfile"].clone();
    assert_eq!(path(&out["spec"]["containers"][0]), "operator/production/exact.json");
    assert_eq!(path(&out["spec"]["containers"][1]), SECCOMP);
    assert_eq!(path(&out["spec"]["containers"][2]), Value::Null, "the pod's field holds for it");
    assert_eq!(path(&out["spec"]), "operator/production/any.json");
}

/// DEFECT 31: a pod that says `Unconfined`, at whatever level, stayed unconfined.
#[test]
fn defect_31_a_wildcard_cannot_be_evaded() {
    let bindings = [
        binding("s", "SeccompProfile", "web", "*"),
        binding("l", "SelinuxProfile", "web", "*"),
        binding("a", "AppArmorProfile", "web", "*"),
    ];
    let evasive = json!({
        "seccompProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"type": "spc_t", "level": "s0:c1,c2"},
        "appArmorProfile": {"type": "Unconfined"},
    });
    let confined = json!({
        "seccompProfile": local(SECCOMP),
        "seLinuxOptions": {"type": "web.process", "level": "s0:c1,c2"},
        "appArmorProfile": local("web"),
    });
    let container = |context: &Value| json!({"name": "c", "image": "x", "securityContext": context});
    let spec = json!({
        "securityContext": evasive,
        "initContainers": [container(&evasive)],
        "containers": [container(&evasive), {"name": "d", "image": "y"}],
        "ephemeralContainers": [container(&evasive)],
    });
    let expected = json!({
        "securityContext": confined,
        "initContainers": [container(&confined)],
        "containers": [container(&confined), {"name": "d", "image": "y"}],
        "ephemeralContainers": [container(&confined)],
    });
    let (answer, request) = ask(&bindings, &pod(&spec));
    assert_eq!(patched(&request, &answer)["spec"], expected);
    assert!(answer.warnings.iter().any(|w| w.contains("Unconfined")), "{:?}", answer.warnings);
}

#[test]
fn an_selinux_level_alone_does_not_lose_the_type() {
    // Kubernetes takes the container's seLinuxOptions as a whole: without a type the runtime's default would hold.
    let spec = json!({
        "securityContext": {"seLinuxOptions": {"level": "s0:c7", "user": "system_u", "role": "system_r"}},
        "containers": [
            {"name": "a", "image": "x", "securityContext": {"seLinuxOptions": {"level": "s0:c9"}}},
            {"name": "b", "image": "nginx"},
        ],
    });
    let wild = bound(&[binding("b", "SelinuxProfile", "web", "*")], &pod(&spec));
    let options = |holder: &Value| holder["securityContext"]["seLinuxOptions"].clone();
    assert_eq!(options(&wild["spec"]["containers"][0]), json!({"type": "web.process", "level": "s0:c9"}));
    let full = json!({"type": "web.process", "level": "s0:c7", "user": "system_u", "role": "system_r"});
    assert_eq!(options(&wild["spec"]), full);
    let one = bound(&[binding("b", "SelinuxProfile", "web", "nginx")], &pod(&spec));
    assert_eq!(options(&one["spec"]["containers"][1]), full, "the pod's level is not lost");
    assert_eq!(options(&one["spec"]), spec["securityContext"]["seLinuxOptions"], "the pod's own stays");
}

/// DEFECT 32: only one wildcard at all, the last one listed.
#[test]
fn defect_32_there_is_one_wildcard_per_field_and_the_first_by_name_holds() {
    let other = installed("SeccompProfile", "other", &json!({"defaultAction": "SCMP_ACT_LOG"}));
    let bindings = [
        other,
        binding("z", "SeccompProfile", "other", "*"),
        binding("a", "SeccompProfile", "web", "*"),
        binding("m", "AppArmorProfile", "web", "*"),
    ];
    let (answer, request) = ask(&bindings, &pod(&json!({"containers": [{"name": "c", "image": "x"}]})));
    let context = &patched(&request, &answer)["spec"]["securityContext"];
    assert_eq!(*context, json!({"seccompProfile": local(SECCOMP), "appArmorProfile": local("web")}));
    let told = "ProfileBinding production/z is not used: a sets the seccomp profile of the same image";
    assert!(answer.warnings.iter().any(|w| w == told), "{:?}", answer.warnings);
}

/// DEFECT 33: a later binding that changed nothing undid the knowledge that an earlier one had.
#[test]
fn defect_33_several_bindings_of_one_container_all_hold() {
    let bindings = [
        binding("a", "SeccompProfile", "web", "nginx"),
        binding("b", "AppArmorProfile", "web", "nginx"),
        binding("c", "SelinuxProfile", "web", "redis"),
    ];
    let out = bound(&bindings, &pod(&json!({"containers": [{"name": "c", "image": "nginx"}]})));
    let context = &out["spec"]["containers"][0]["securityContext"];
    assert_eq!(*context, json!({"seccompProfile": local(SECCOMP), "appArmorProfile": local("web")}));
}

/// DEFECT 28: the label `name=security-profiles-operator` switched the webhooks off.
#[test]
fn defect_28_a_pod_that_pretends_to_be_the_operator_is_bound_like_any_other() {
    let bindings = [binding("b", "SeccompProfile", "web", "*")];
    for name in ["security-profiles-operator", "security-profiles-operator-webhook", "spod"] {
        let mut pretender = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
        pretender["metadata"]["labels"] = json!({"name": name, "app": "security-profiles-operator"});
        let out = bound(&bindings, &pretender);
        assert_eq!(out["spec"]["securityContext"]["seccompProfile"], local(SECCOMP), "{name}");
    }
}

#[test]
fn a_binding_to_a_missing_profile_refuses_the_pod_and_says_what_to_do() {
    let pod = pod(&json!({"containers": [{"name": "c", "image": "x"}, {"name": "d", "image": "nginx"}]}));
    for image in ["*", "nginx"] {
        let (answer, _) = ask(&[binding("b", "SeccompProfile", "gone", image)], &pod);
        let message = refused(&answer);
        assert!(message.starts_with("ProfileBinding production/b applies to "), "{message}");
        assert!(message.contains("there is no SeccompProfile \"gone\" in namespace production"), "{message}");
        assert!(message.contains("create the profile, or change or delete the binding"), "{message}");
        assert_eq!(message.lines().count(), 1, "once, however many containers: {message}");
    }
    let (answer, request) = ask(&[binding("b", "SeccompProfile", "gone", "other")], &pod);
    assert_eq!(patched(&request, &answer), pod, "a binding about another image refuses nothing");
}

#[test]
fn a_binding_that_cannot_be_read_refuses_the_pods_of_its_namespace_only() {
    let broken = |namespace: &str| Unreadable {
        kind: Kind::ProfileBinding,
        namespace: namespace.to_owned(),
        name: "b".to_owned(),
        reason: "spec.image is missing".to_owned(),
    };
    let pod = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    let answer = |namespace| {
        let index = Index::new(crate::webhook::fixture::settings(), [], [broken(namespace)]);
        admit(&create(&pod), &index)
    };
    assert!(refused(&answer("production")).contains("spec.image is missing"));
    assert_eq!(answer("staging"), Answer::allow());
}

#[test]
fn a_profile_that_is_not_installed_binds_and_warns() {
    let at = |state: Value, extra: Value| {
        let mut document = document("SeccompProfile", "new", &json!({"defaultAction": "SCMP_ACT_ERRNO"}));
        document["status"] = state;
        for (key, value) in extra.as_object().expect("fields") {
            document[key] = value.clone();
        }
        object(&document)
    };
    let disabled = json!({"spec": {"defaultAction": "SCMP_ACT_ERRNO", "state": "Disabled"}});
    let partial = json!({"metadata": {"name": "new", "namespace": "production",
                                      "labels": {"spo.x-k8s.io/partial": "true"}}});
    let leaving = json!({"metadata": {"name": "new", "namespace": "production",
                                      "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    for (profile, word) in [
        (at(json!({}), json!({})), "not installed yet"),
        (at(json!({"status": "Pending"}), json!({})), "in state Pending"),
        (at(json!({"status": "Installed"}), disabled), "disabled"),
        (at(json!({"status": "Installed"}), partial), "a partial recording"),
        (at(json!({"status": "Installed"}), leaving), "being deleted"),
    ] {
        let request = create(&pod(&json!({"containers": [{"name": "c", "image": "x"}]})));
        let answer = admit(&request, &index([&profile, &binding("b", "SeccompProfile", "new", "*")]));
        let context = &patched(&request, &answer)["spec"]["securityContext"]["seccompProfile"];
        assert_eq!(*context, local("operator/production/new.json"));
        assert!(answer.warnings.iter().any(|w| w.contains(&format!("is {word}: "))), "{:?}", answer.warnings);
    }
}

#[test]
fn nobody_gets_the_profile_of_another_namespace_that_has_the_name_in_the_kernel() {
    let failed = with_status("AppArmorProfile", "web", &json!({"abstract": {}}), &json!({"status": "Error"}));
    let mut owner = document("AppArmorProfile", "web", &json!({"abstract": {}}));
    owner["metadata"]["namespace"] = json!("tenant");
    let owner = object(&owner);
    let bound = binding("b", "AppArmorProfile", "web", "x");
    let request = create(&pod(&json!({"containers": [{"name": "c", "image": "x"}]})));
    let message = admit(&request, &index([&failed, &owner, &bound]));
    assert!(refused(&message).contains("another profile holds the name \"web\""), "{message:?}");
    // Alone it is only not installed everywhere, and its own.
    assert_eq!(admit(&request, &index([&failed, &bound])).refusal, None);
}

/// The kernel knows one profile of a name: until this one is there, it is the other's.
#[test]
fn a_new_or_disabled_profile_does_not_lead_to_that_of_another_namespace() {
    let abstract_ = json!({"abstract": {}});
    let cil = json!({"policy": "(blockinherit container)"});
    for (kind, spec) in [("AppArmorProfile", &abstract_), ("RawSelinuxProfile", &cil)] {
        let made = |namespace: &str, at: &str, status: &Value, state: &Value| {
            let mut made = document(kind, "web", spec);
            made["metadata"]["namespace"] = json!(namespace);
            made["metadata"]["creationTimestamp"] = json!(at);
            made["status"] = status.clone();
            if !state.is_null() {
                made["spec"]["state"] = state.clone();
            }
            object(&made)
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let (none, installed) = (json!({}), json!({"status": "Installed"}));
        let bound = binding("b", kind, "web", "x");
        let request = create(&pod(&json!({"containers": [{"name": "c", "image": "x"}]})));
        let is_refused = |ours: AnyObject, theirs: AnyObject| {
            let answer = admit(&request, &index([&ours, &theirs, &bound]));
            answer.refusal.is_some_and(|refusal| refusal.message.contains("another profile holds the name"))
        };
        let ours = |at, status: &Value, state: Value| made("production", at, status, &state);
        let theirs = |at, status: &Value, state: Value| made("tenant", at, status, &state);
        for status in [&none, &json!({"status": "Pending"}), &json!({"status": "InProgress"})] {
            // Whoever has the name keeps it.
            assert!(
                is_refused(ours(early, status, Value::Null), theirs(late, &installed, Value::Null)),
                "{kind}"
            );
            // Nobody has it: the older one gets it.
            assert!(is_refused(ours(late, status, Value::Null), theirs(early, &none, Value::Null)), "{kind}");
            assert!(
                !is_refused(ours(early, status, Value::Null), theirs(late, &none, Value::Null)),
                "{kind}"
            );
            // Theirs is not wanted, and so has no claim.
            assert!(
                !is_refused(ours(late, status, Value::Null), theirs(early, &none, json!("Disabled"))),
                "{kind}"
            );
        }
        assert!(
            is_refused(ours(early, &none, json!("Disabled")), theirs(late, &none, Value::Null)),
            "{kind}"
        );
        assert!(
            !is_refused(ours(late, &installed, Value::Null), theirs(early, &none, Value::Null)),
            "{kind}"
        );
    }
}

#[test]
fn pod_selectors_choose_the_pods() {
    let selecting = |selector: Value| {
        let spec = json!({"profileRef": {"kind": "SeccompProfile", "name": "web"}, "image": "*",
                          "podSelector": selector});
        own("ProfileBinding", "b", &spec)
    };
    let mut pod = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    pod["metadata"]["labels"] = json!({"app": "web", "tier": "front"});
    let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]});
    for (selector, selected) in [
        (json!({}), true),
        (json!({"matchLabels": {"app": "web"}}), true),
        (json!({"matchLabels": {"app": "db"}}), false),
        (expression("In", json!(["front", "back"])), true),
        (expression("NotIn", json!(["front"])), false),
        (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
        (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
        (
            json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}),
            false,
        ),
    ] {
        let out = bound(&[selecting(selector.clone())], &pod);
        assert_eq!(out != pod, selected, "{selector}");
    }
}

/// DEFECTS 34 and 35: deletion was held up, and updates tried to change what cannot be changed.
#[test]
fn defects_34_and_35_only_creation_is_looked_at() {
    let profiles = profiles();
    // Even a binding that would refuse says nothing here.
    let index = index(profiles.iter().chain(&[binding("b", "SeccompProfile", "gone", "*")]));
    let pod = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    for (operation, part) in
        [("DELETE", ""), ("UPDATE", ""), ("UPDATE", "status"), ("CONNECT", "exec"), ("CREATE", "eviction")]
    {
        let mut request = create(&pod);
        request.operation = operation.to_owned();
        request.sub_resource = part.to_owned();
        request.old_object = pod.clone();
        assert_eq!(admit(&request, &index), Answer::allow(), "{operation} {part}");
    }
    let mut deployment = create(&pod);
    deployment.resource.group = "apps".to_owned();
    assert_eq!(admit(&deployment, &index), Answer::allow());
}

#[test]
fn an_ephemeral_container_that_comes_in_addition_is_bound_and_the_rest_stays() {
    let bindings =
        [binding("any", "SeccompProfile", "web", "*"), binding("d", "AppArmorProfile", "web", "busybox")];
    let old = pod(&json!({
        "securityContext": {"seccompProfile": local(SECCOMP)},
        "containers": [{"name": "c", "image": "x", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}],
        "ephemeralContainers": [{"name": "old", "image": "busybox"}],
    }));
    let mut new = old.clone();
    let added = json!([
        {"name": "old", "image": "busybox"},
        {"name": "new", "image": "busybox", "securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"name": "plain", "image": "x"},
    ]);
    new["spec"]["ephemeralContainers"] = added.clone();
    let mut request = create(&new);
    request.operation = "UPDATE".to_owned();
    request.sub_resource = "ephemeralcontainers".to_owned();
    request.old_object = old;
    let profiles = profiles();
    let answer = admit(&request, &index(profiles.iter().chain(&bindings)));
    let mut expected = new;
    expected["spec"]["ephemeralContainers"][1]["securityContext"] =
        json!({"seccompProfile": local(SECCOMP), "appArmorProfile": local("web")});
    assert_eq!(patched(&request, &answer), expected);
}

#[test]
fn the_annotations_that_came_before_the_fields_agree_with_them() {
    // Kubernetes refuses a pod whose AppArmor annotation and field differ (pkg/registry/core/pod/strategy.go).
    let mut pod = pod(&json!({"containers": [{"name": "c", "image": "x"}, {"name": "d", "image": "y"}]}));
    pod["metadata"]["annotations"] = json!({
        "container.apparmor.security.beta.kubernetes.io/c": "unconfined",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "other/annotation": "stays",
    });
    let bindings = [binding("a", "AppArmorProfile", "web", "*"), binding("s", "SeccompProfile", "web", "*")];
    let out = bound(&bindings, &pod);
    assert_eq!(
        out["metadata"]["annotations"],
        json!({
            "container.apparmor.security.beta.kubernetes.io/c": "localhost/web",
            "seccomp.security.alpha.kubernetes.io/pod": format!("localhost/{SECCOMP}"),
            "other/annotation": "stays",
        })
    );
    assert_eq!(out["spec"]["containers"][0]["securityContext"]["appArmorProfile"], local("web"));
    assert_eq!(out["spec"]["containers"][1], json!({"name": "d", "image": "y"}));
}

#[test]
fn a_privileged_container_is_bound_and_its_author_told_what_that_is_worth() {
    let spec = json!({"containers": [{"name": "c", "image": "x", "securityContext": {"privileged": true}}]});
    let (answer, _) = ask(&[binding("b", "SeccompProfile", "web", "x")], &pod(&spec));
    assert!(answer.warnings.iter().any(|w| w.contains("is privileged")), "{:?}", answer.warnings);
}

#[test]
fn pods_for_windows_are_left_alone() {
    let spec = json!({"os": {"name": "windows"}, "containers": [{"name": "c", "image": "x"}]});
    assert_eq!(bound(&[binding("b", "SeccompProfile", "web", "*")], &pod(&spec)), pod(&spec));
}

#[test]
fn the_namespace_is_the_requests_and_not_the_pods() {
    let mut pod = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    pod["metadata"]["namespace"] = json!("elsewhere");
    let out = bound(&[binding("b", "SeccompProfile", "web", "*")], &pod);
    assert_eq!(out["spec"]["securityContext"]["seccompProfile"], local(SECCOMP));
}

#[test]
fn the_audit_log_names_the_bindings_and_a_bound_pod_is_not_changed_again() {
    let bindings =
        [binding("b", "SeccompProfile", "web", "x"), binding("any", "AppArmorProfile", "web", "*")];
    let (answer, request) = ask(&bindings, &pod(&json!({"containers": [{"name": "c", "image": "x"}]})));
    assert_eq!(
        answer.audit["bound"],
        "c SeccompProfile production/web by b; pod AppArmorProfile production/web by any"
    );
    let once = patched(&request, &answer);
    let (again, request) = ask(&bindings, &once);
    assert_eq!(patched(&request, &again), once);
    assert_eq!(again.warnings, Vec::<String>::new());
}

#[test]
fn what_is_no_pod_is_refused() {
    let bindings = [binding("b", "SeccompProfile", "web", "*")];
    for bad in
        [json!(null), json!([]), json!({"spec": 3}), json!({"spec": {"containers": {}}}), json!({"spec": {}})]
    {
        assert!(refused(&ask(&bindings, &bad).0).contains("holds no pod"), "{bad}");
    }
}

#[test]
fn a_pod_of_a_few_megabytes_does_not_become_gigabytes() {
    let bindings = [binding("b", "SelinuxProfile", "web", "x")];
    let container = |i: usize| json!({"name": format!("c{i}"), "image": "x"});
    let many: Vec<_> = (0..20_000).map(container).collect();
    let level = "s0".repeat(500_000);
    let long = json!({"securityContext": {"seLinuxOptions": {"level": level}}, "containers": [container(0)]});
    for (spec, wanted) in
        [(json!({"containers": many}), "20000 containers"), (long, "seLinuxOptions has 1000012")]
    {
        let (answer, _) = ask(&bindings, &pod(&spec));
        assert!(refused(&answer).contains(wanted), "{answer:?}");
        // Who binds nothing here need not look.
        assert_eq!(ask(&[], &pod(&spec)).0, Answer::allow());
    }
}

/// Any JSON, with the words of a pod where they matter.
fn json_soup() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z*:/@.]{0,8}".prop_map(Value::from),
        Just(json!("nginx")),
        Just(json!("Unconfined")),
    ];
    let key = prop_oneof![
        Just("name"),
        Just("image"),
        Just("securityContext"),
        Just("seccompProfile"),
        Just("seLinuxOptions"),
        Just("appArmorProfile"),
        Just("type"),
        Just("annotations"),
        Just("labels"),
        Just("~0/~1")
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_pod_is_answered_and_no_container_of_it_escapes(
        metadata in json_soup(),
        context in json_soup(),
        contexts in proptest::collection::vec((json_soup(), "(nginx|redis|[a-z:/@]{0,6})"), 1..4),
    ) {
        let containers: Vec<_> = contexts
            .iter()
            .enumerate()
            .map(|(i, (c, image))| json!({"name": format!("c{i}"), "image": image, "securityContext": c}))
            .collect();
        let pod = json!({"metadata": metadata, "spec": {"securityContext": context, "containers": containers}});
        let bindings = [
            binding("s", "SeccompProfile", "web", "*"),
            binding("l", "SelinuxProfile", "web", "*"),
            binding("a", "AppArmorProfile", "web", "*"),
            binding("n", "SelinuxProfile", "raw", "nginx"),
        ];
        let out = bound(&bindings, &pod);
        for (container, (_, image)) in out["spec"]["containers"].as_array().expect("a list").iter().zip(&contexts) {
            // As Kubernetes determines it: the container's field, else the pod's.
            let effective = |field: &str| {
                let own = &container["securityContext"][field];
                if own.is_null() { out["spec"]["securityContext"][field].clone() } else { own.clone() }
            };
            prop_assert_eq!(effective("seccompProfile"), local(SECCOMP));
            prop_assert_eq!(effective("appArmorProfile"), local("web"));
            let expected = if image == "nginx" { "raw.process" } else { "web.process" };
            prop_assert_eq!(&effective("seLinuxOptions")["type"], expected);
        }
    }
}
