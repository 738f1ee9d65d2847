//! `spec.onConflict`: what happens where a pod's author has set a profile himself.

use super::*;

const KINDS: [(&str, &str); 3] =
    [("SeccompProfile", "web"), ("SelinuxProfile", "web"), ("AppArmorProfile", "web")];

fn on_conflict(word: &str, kind: &str, image: &str) -> AnyObject {
    let spec = json!({"profileRef": {"kind": kind, "name": "web"}, "image": image, "onConflict": word});
    own("ProfileBinding", "b", &spec)
}

fn all(word: &str, image: &str) -> Vec<AnyObject> {
    KINDS
        .iter()
        .map(|(kind, name)| {
            let spec =
                json!({"profileRef": {"kind": kind, "name": name}, "image": image, "onConflict": word});
            own("ProfileBinding", &kind.to_lowercase(), &spec)
        })
        .collect()
}

/// What bindings of all three fields give.
fn confined() -> Value {
    json!({
        "seccompProfile": local(SECCOMP),
        "seLinuxOptions": {"type": "web.process"},
        "appArmorProfile": local("web"),
    })
}

fn evasive() -> Value {
    json!({
        "seccompProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"type": "spc_t"},
        "appArmorProfile": {"type": "RuntimeDefault"},
    })
}

fn container(name: &str, context: &Value) -> Value {
    json!({"name": name, "image": "x", "securityContext": context})
}

#[test]
fn override_is_what_happens_without_a_word() {
    let pods = [
        json!({"containers": [container("c", &evasive())]}),
        json!({"securityContext": evasive(), "containers": [{"name": "c", "image": "x"}]}),
    ];
    for image in ["*", "x"] {
        for pod in pods.iter().map(pod) {
            let silent = KINDS.map(|(kind, name)| binding(&kind.to_lowercase(), kind, name, image));
            assert_eq!(ask(&all("Override", image), &pod).0, ask(&silent, &pod).0);
        }
    }
}

#[test]
fn keep_leaves_what_the_author_says_and_fills_in_the_rest() {
    let spec = |silent: Value| {
        json!({
            "initContainers": [container("i", &evasive())],
            "containers": [container("c", &evasive()), silent],
            "ephemeralContainers": [container("e", &evasive())],
        })
    };
    let silent = spec(json!({"name": "d", "image": "x"}));
    let (answer, request) = ask(&all("Keep", "x"), &pod(&silent));
    assert_eq!(patched(&request, &answer), pod(&spec(container("d", &confined()))));
    assert_eq!(answer.warnings, Vec::<String>::new());
    let told = r#"c keeps the seccomp profile "Unconfined" despite seccompprofile"#;
    assert!(answer.audit["bound"].contains(told), "{:?}", answer.audit);

    let mut expected = pod(&silent);
    expected["spec"]["securityContext"] = confined();
    assert_eq!(bound(&all("Keep", "*"), &pod(&silent)), expected);
}

#[test]
fn keep_leaves_what_the_pod_says_for_the_containers_that_say_nothing() {
    let said = pod(&json!({"securityContext": evasive(), "containers": [{"name": "c", "image": "x"}]}));
    for image in ["*", "x"] {
        assert_eq!(bound(&all("Keep", image), &said), said, "{image}");
    }
    // One field that is said does not cover the others.
    let mut said = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    said["spec"]["securityContext"] = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let mut expected = said.clone();
    expected["spec"]["securityContext"]["seLinuxOptions"] = confined()["seLinuxOptions"].clone();
    expected["spec"]["securityContext"]["appArmorProfile"] = confined()["appArmorProfile"].clone();
    assert_eq!(bound(&all("Keep", "*"), &said), expected);
}

/// Kubernetes takes `seLinuxOptions` as a whole: with a level alone, a container has no type, whatever the pod says.
#[test]
fn a_level_alone_is_no_type_that_stays_or_is_denied() {
    let spec = json!({
        "securityContext": {"seLinuxOptions": {"type": "spc_t"}},
        "containers": [container("c", &json!({"seLinuxOptions": {"level": "s0:c1"}}))],
    });
    let keeping = bound(&[on_conflict("Keep", "SelinuxProfile", "x")], &pod(&spec));
    assert_eq!(
        keeping["spec"]["containers"][0]["securityContext"]["seLinuxOptions"],
        json!({"type": "web.process", "level": "s0:c1"})
    );
    assert_eq!(keeping["spec"]["securityContext"], spec["securityContext"]);
    assert_eq!(bound(&[on_conflict("Deny", "SelinuxProfile", "x")], &pod(&spec)), keeping);
}

#[test]
fn the_apparmor_annotation_is_the_authors_word_where_there_is_no_field() {
    let with = |value: &str| {
        let mut pod = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
        pod["metadata"]["annotations"] = json!({"container.apparmor.security.beta.kubernetes.io/c": value});
        pod
    };
    for image in ["*", "x"] {
        let out = bound(&[on_conflict("Keep", "AppArmorProfile", image)], &with("unconfined"));
        assert_eq!(out["metadata"], with("unconfined")["metadata"], "{image}");
        assert_eq!(out["spec"]["containers"], with("")["spec"]["containers"], "{image}");
        let denying = [on_conflict("Deny", "AppArmorProfile", image)];
        let (answer, _) = ask(&denying, &with("unconfined"));
        let message = refused(&answer);
        assert!(
            message.contains(r#"the AppArmor annotation of container "c" says "unconfined""#),
            "{message}"
        );
        assert_eq!(bound(&denying, &with("localhost/web"))["metadata"], with("localhost/web")["metadata"]);
    }
    // Of seccomp, Kubernetes reads the fields only, so an annotation must not keep the profile away.
    let mut pod = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    pod["metadata"]["annotations"] =
        json!({"container.seccomp.security.alpha.kubernetes.io/c": "unconfined"});
    let out = bound(&[on_conflict("Keep", "SeccompProfile", "x")], &pod);
    assert_eq!(out["spec"]["containers"][0]["securityContext"]["seccompProfile"], local(SECCOMP));
}

#[test]
fn deny_names_the_binding_the_container_the_field_and_both_profiles() {
    for (list, image) in
        [("initContainers", "x"), ("containers", "x"), ("ephemeralContainers", "x"), ("containers", "*")]
    {
        let mut spec = json!({"containers": [{"name": "main", "image": "x"}]});
        spec[list] = json!([container("c", &evasive())]);
        for (kind, field, said, wanted) in [
            ("SeccompProfile", "seccompProfile", "Unconfined", SECCOMP),
            ("SelinuxProfile", "seLinuxOptions.type", "spc_t", "web.process"),
            ("AppArmorProfile", "appArmorProfile", "RuntimeDefault", "web"),
        ] {
            let (answer, _) = ask(&[on_conflict("Deny", kind, image)], &pod(&spec));
            let message = refused(&answer);
            for part in [
                "ProfileBinding production/b gives container \"c\"",
                &format!("spec.{list}[0].securityContext.{field} says {said:?}"),
                &format!("{wanted:?}"),
            ] {
                assert!(message.contains(part), "{part}: {message}");
            }
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}

#[test]
fn deny_is_about_the_pods_field_too_but_not_where_the_container_says_better() {
    let spec = |contexts: [Value; 2]| {
        let [of_pod, of_container] = contexts;
        pod(&json!({"securityContext": of_pod, "containers": [container("c", &of_container)]}))
    };
    let any = [on_conflict("Deny", "SeccompProfile", "*")];
    let (answer, _) = ask(&any, &spec([evasive(), json!({})]));
    let message = refused(&answer);
    let wanted = "ProfileBinding production/b gives the pod the seccomp profile \"operator/production/web.json\", \
                  but spec.securityContext.seccompProfile says \"Unconfined\"";
    assert!(message.starts_with(wanted), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");

    let one = [on_conflict("Deny", "SeccompProfile", "x")];
    let (answer, _) = ask(&one, &spec([evasive(), json!({})]));
    assert!(refused(&answer).contains("but spec.securityContext.seccompProfile says"), "{answer:?}");
    let agreeing = spec([evasive(), confined()]);
    assert_eq!(bound(&one, &agreeing), agreeing, "the container does not run under what the pod says");
}

#[test]
fn deny_lets_pass_who_says_nothing_or_the_same() {
    let silent = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    let same = pod(&json!({"securityContext": confined(), "containers": [container("c", &confined())]}));
    for image in ["*", "x"] {
        assert_eq!(bound(&all("Deny", image), &silent), bound(&all("Override", image), &silent));
        assert_eq!(bound(&all("Deny", image), &same), same);
    }
    // Releases up to 0.8 knew the same SELinux profile by its name and namespace.
    let alias = |namespace: &str| {
        let kind = format!("web_{namespace}.process");
        pod(&json!({"containers": [container("c", &json!({"seLinuxOptions": {"type": kind}}))]}))
    };
    let denying = [on_conflict("Deny", "SelinuxProfile", "x")];
    let out = bound(&denying, &alias("production"));
    assert_eq!(out["spec"]["containers"][0]["securityContext"]["seLinuxOptions"]["type"], "web.process");
    assert!(refused(&ask(&denying, &alias("staging")).0).contains("web_staging.process"));
}

#[test]
fn a_kept_field_needs_no_profile_and_a_missing_one_is_told_before_a_conflict() {
    let spec = |word: &str| json!({"profileRef": {"kind": "SeccompProfile", "name": "gone"}, "image": "x", "onConflict": word});
    let said = pod(&json!({"containers": [container("c", &evasive())]}));
    assert_eq!(bound(&[own("ProfileBinding", "b", &spec("Keep"))], &said), said);
    let (answer, _) = ask(&[own("ProfileBinding", "b", &spec("Deny"))], &said);
    assert!(refused(&answer).contains("there is no SeccompProfile"), "{answer:?}");
    let silent = pod(&json!({"containers": [{"name": "c", "image": "x"}]}));
    let (answer, _) = ask(&[own("ProfileBinding", "b", &spec("Keep"))], &silent);
    assert!(refused(&answer).contains("there is no SeccompProfile"), "{answer:?}");
}

#[test]
fn only_the_binding_that_decides_denies_or_keeps() {
    let any = |word: &str| on_conflict(word, "SeccompProfile", "*");
    let one = |word: &str| {
        let spec = json!({"profileRef": {"kind": "SeccompProfile", "name": "one"}, "image": "x", "onConflict": word});
        own("ProfileBinding", "one", &spec)
    };
    let profile = installed("SeccompProfile", "one", &json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    let given = "operator/production/one.json";
    let path = |out: &Value| out["securityContext"]["seccompProfile"].clone();
    let said = pod(&json!({"containers": [container("c", &evasive())]}));
    let out = bound(&[profile.clone(), any("Deny"), one("Override")], &said);
    assert_eq!(path(&out["spec"]["containers"][0]), local(given));
    assert_eq!(path(&out["spec"]), local(SECCOMP));
    // An overriding wildcard takes the pod's Unconfined away, and a container that keeps it has none to keep.
    let said = pod(&json!({"securityContext": evasive(), "containers": [{"name": "c", "image": "x"}]}));
    let out = bound(&[profile, any("Override"), one("Keep")], &said);
    assert_eq!(path(&out["spec"]), local(SECCOMP));
    assert_eq!(path(&out["spec"]["containers"][0]), Value::Null);
}

/// Kubernetes asks again after other webhooks have changed the pod, and for every ephemeral container.
#[test]
fn what_the_wildcard_put_into_the_pod_is_not_the_authors_word() {
    let profile = installed("SeccompProfile", "one", &json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    for word in ["Keep", "Deny"] {
        let spec = json!({"profileRef": {"kind": "SeccompProfile", "name": "one"}, "image": "sidecar", "onConflict": word});
        let bindings = [
            profile.clone(),
            binding("any", "SeccompProfile", "web", "*"),
            own("ProfileBinding", "b", &spec),
        ];
        let mut pod = bound(&bindings, &pod(&json!({"containers": [{"name": "c", "image": "x"}]})));
        assert_eq!(pod["spec"]["securityContext"]["seccompProfile"], local(SECCOMP));
        let sidecar = json!({"name": "s", "image": "sidecar"});
        pod["spec"]["containers"].as_array_mut().expect("a list").push(sidecar);
        let given = local("operator/production/one.json");
        let again = bound(&bindings, &pod);
        assert_eq!(again["spec"]["containers"][1]["securityContext"]["seccompProfile"], given, "{word}");
        assert_eq!(bound(&bindings, &again), again, "{word}");

        let old = again;
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "sidecar"}]);
        let mut request = create(&new);
        request.operation = "UPDATE".to_owned();
        request.sub_resource = "ephemeralcontainers".to_owned();
        request.old_object = old;
        let profiles = profiles();
        let answer = admit(&request, &index(profiles.iter().chain(&bindings)));
        let out = patched(&request, &answer);
        assert_eq!(
            out["spec"]["ephemeralContainers"][0]["securityContext"]["seccompProfile"], given,
            "{word}"
        );
    }
}

#[test]
fn a_thousand_conflicts_are_a_short_answer() {
    let containers: Vec<_> = (0..1000).map(|i| container(&format!("c{i}"), &evasive())).collect();
    let (answer, _) =
        ask(&[on_conflict("Deny", "SeccompProfile", "x")], &pod(&json!({"containers": containers})));
    let message = refused(&answer);
    assert_eq!(message.lines().count(), 11);
    assert!(message.ends_with("and 990 more places say something else than their binding"), "{message}");
}
