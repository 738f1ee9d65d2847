//! `kubectl set image` on a pod that is there.

use super::*;

/// The answer about a pod whose container `c` gets the image `nginx` instead of `x`.
fn patched_to_nginx(bindings: &[AnyObject], spec: &Value) -> Answer {
    let old = pod(spec);
    let mut new = old.clone();
    for list in ["initContainers", "containers"] {
        for container in new["spec"][list].as_array_mut().into_iter().flatten() {
            if container["name"] == "c" {
                container["image"] = json!("nginx");
            }
        }
    }
    let request = Request { operation: "UPDATE".to_owned(), old_object: old, ..create(&new) };
    let answer = admit(&request, &index(profiles().iter().chain(bindings)));
    if answer.refusal.is_none() {
        assert_eq!(patched(&request, &answer), new, "nothing is ever changed");
    }
    answer
}

const KINDS: [(&str, &str, &str); 3] = [
    ("SeccompProfile", "seccompProfile", SECCOMP),
    ("SelinuxProfile", "seLinuxOptions", "web.process"),
    ("AppArmorProfile", "appArmorProfile", "web"),
];

fn context(field: &str, usage: &str) -> Value {
    match field {
        "seLinuxOptions" => json!({field: {"type": usage}}),
        field => json!({field: local(usage)}),
    }
}

#[test]
fn a_bound_image_is_refused_where_its_profile_is_not() {
    for (kind, field, usage) in KINDS {
        for list in ["initContainers", "containers"] {
            let bindings = [binding("b", kind, "web", "nginx")];
            for other in [Value::Null, context(field, "other")] {
                let mut spec = json!({"containers": [{"name": "d", "image": "y"}]});
                spec[list] = json!([{"name": "c", "image": "x", "securityContext": other}]);
                let answer = patched_to_nginx(&bindings, &spec);
                let message = refused(&answer);
                for part in
                    ["ProfileBinding production/b", "container \"c\"", "\"nginx\"", usage, "create it again"]
                {
                    assert!(message.contains(part), "{part}: {message}");
                }
                // The pod's own field holds where the container has none.
                spec["securityContext"] = context(field, usage);
                let inherits = other.is_null();
                assert_eq!(patched_to_nginx(&bindings, &spec).refusal.is_none(), inherits, "{kind} {other}");
            }
            let mut spec = json!({"containers": [{"name": "d", "image": "y"}]});
            spec[list] = json!([{"name": "c", "image": "x", "securityContext": context(field, usage)}]);
            assert_eq!(
                patched_to_nginx(&bindings, &spec),
                Answer { patch: Some(json_patch::Patch(vec![])), ..Answer::allow() }
            );
        }
    }
}

#[test]
fn what_has_no_other_image_is_not_looked_at() {
    let bindings =
        [binding("b", "SeccompProfile", "web", "nginx"), binding("gone", "AppArmorProfile", "gone", "*")];
    let spec = json!({"containers": [{"name": "d", "image": "nginx"}]});
    assert_eq!(patched_to_nginx(&bindings, &spec), Answer::allow());
    let spec = json!({"containers": [{"name": "d", "image": "nginx"}, {"name": "c", "image": "x"}]});
    let message = patched_to_nginx(&bindings, &spec);
    assert!(refused(&message).contains("container \"c\"") && !refused(&message).contains("container \"d\""));
}

#[test]
fn a_binding_that_keeps_only_warns_and_one_that_denies_refuses_privileged_ones() {
    let bound = |word: &str| {
        let spec = json!({"profileRef": {"kind": "SeccompProfile", "name": "web"}, "image": "nginx", "onConflict": word});
        [own("ProfileBinding", "b", &spec)]
    };
    let spec = json!({"containers": [{"name": "c", "image": "x"}]});
    let answer = patched_to_nginx(&bound("Keep"), &spec);
    assert_eq!(answer.refusal, None);
    assert!(
        answer.warnings[0].contains("does not get the seccomp profile of ProfileBinding b"),
        "{answer:?}"
    );
    refused(&patched_to_nginx(&bound("Deny"), &spec));

    let privileged = json!({"containers": [{"name": "c", "image": "x",
        "securityContext": {"privileged": true, "seccompProfile": local(SECCOMP)}}]});
    assert!(refused(&patched_to_nginx(&bound("Deny"), &privileged)).contains("privileged"));
    assert!(patched_to_nginx(&bound("Override"), &privileged).warnings[0].contains("is privileged"));
}

#[test]
fn a_binding_to_a_missing_profile_refuses_its_image() {
    let spec = json!({"containers": [{"name": "c", "image": "x"}]});
    let answer = patched_to_nginx(&[binding("b", "SeccompProfile", "gone", "nginx")], &spec);
    assert!(refused(&answer).contains("there is no SeccompProfile"), "{answer:?}");
}
