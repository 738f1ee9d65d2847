//! Privileged containers: runtimes give them neither a seccomp profile nor an SELinux type.

use super::*;

fn asked(kind: &str, image: &str, word: &str, list: &str) -> (Answer, Request) {
    let spec = json!({"profileRef": {"kind": kind, "name": "web"}, "image": image, "onConflict": word});
    let mut spec_of_pod = json!({"containers": [{"name": "plain", "image": "x"}]});
    let container = json!({"name": "c", "image": "x", "securityContext": {"privileged": true}});
    match spec_of_pod[list].as_array_mut() {
        Some(containers) => containers.push(container),
        None => spec_of_pod[list] = json!([container]),
    }
    ask(&[own("ProfileBinding", "b", &spec)], &pod(&spec_of_pod))
}

const WITHOUT: [(&str, &str); 2] =
    [("SeccompProfile", "seccomp profile"), ("SelinuxProfile", "SELinux type")];

#[test]
fn they_are_bound_and_nobody_is_led_to_think_that_it_holds() {
    for (kind, what) in WITHOUT {
        for image in ["*", "x"] {
            for word in ["Override", "Keep"] {
                let (answer, request) = asked(kind, image, word, "containers");
                let told = format!("container \"c\" is privileged: container runtimes leave the {what} of");
                let told: Vec<_> = answer.warnings.iter().filter(|w| w.starts_with(&told)).collect();
                assert_eq!(told.len(), 1, "{kind} {image} {word}: {:?}", answer.warnings);
                let marked = format!("c goes without the {what} of b: it is privileged");
                assert!(answer.audit["bound"].contains(&marked), "{:?}", answer.audit);
                let made = patched(&request, &answer);
                assert_eq!(made["spec"]["containers"][1]["securityContext"]["privileged"], true);
            }
        }
    }
}

#[test]
fn deny_refuses_them() {
    for (kind, what) in WITHOUT {
        for image in ["*", "x"] {
            for list in pod::LISTS {
                let (answer, _) = asked(kind, image, "Deny", list);
                let message = refused(&answer);
                let place =
                    format!("spec.{list}[{}].securityContext.privileged", usize::from(list == "containers"));
                assert!(message.contains(what) && message.contains(&place), "{message}");
                assert_eq!(message.lines().count(), 1, "{message}");
            }
        }
    }
}

/// AppArmor's profiles hold for them.
#[test]
fn apparmor_is_none_of_it() {
    for word in ["Override", "Keep", "Deny"] {
        let (answer, request) = asked("AppArmorProfile", "x", word, "containers");
        assert_eq!(answer.warnings, Vec::<String>::new());
        let context = &patched(&request, &answer)["spec"]["containers"][1]["securityContext"];
        assert_eq!(context["appArmorProfile"], local("web"));
    }
}
