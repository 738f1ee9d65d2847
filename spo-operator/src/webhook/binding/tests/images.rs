//! `spec.imageMatch`: which binding decides about an image.

use super::*;

fn of_mode(name: &str, profile: &str, image: &str, mode: &str) -> AnyObject {
    let spec = json!({"profileRef": {"kind": "SeccompProfile", "name": profile}, "image": image, "imageMatch": mode});
    own("ProfileBinding", name, &spec)
}

/// The profile that each image gets, by its name; `None` where the pod's field holds, and empty without any.
fn given(bindings: &[AnyObject], images: &[&str]) -> Vec<Option<String>> {
    let profiles = ["exact", "meaning", "repository", "long", "short", "any"]
        .map(|name| installed("SeccompProfile", name, &json!({"defaultAction": "SCMP_ACT_ERRNO"})));
    let all: Vec<_> = profiles.iter().chain(bindings).cloned().collect();
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(i, image)| json!({"name": format!("c{i}"), "image": image}))
        .collect();
    let out = bound(&all, &pod(&json!({"containers": containers})));
    let name = |container: &Value| {
        let path = container["securityContext"]["seccompProfile"]["localhostProfile"].as_str()?;
        Some(path.trim_start_matches("operator/production/").trim_end_matches(".json").to_owned())
    };
    out["spec"]["containers"].as_array().expect("a list").iter().map(name).collect()
}

const D: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn the_most_specific_binding_decides_whatever_the_names() {
    // The less specific, the earlier by name.
    let ordered = [
        of_mode("a", "any", "*", "Glob"),
        of_mode("b", "short", "docker.io/library/**", "Glob"),
        of_mode("c", "long", "nginx*", "Glob"),
        of_mode("d", "repository", "nginx", "Repository"),
        of_mode("e", "meaning", "docker.io/library/nginx:1", "Exact"),
        of_mode("f", "exact", "nginx:1", "Exact"),
    ];
    let image = ["nginx:1"];
    for (count, wanted) in [
        (6, Some("exact")),
        (5, Some("meaning")),
        (4, Some("repository")),
        (3, Some("long")),
        (2, Some("short")),
        (1, None),
    ] {
        let mut bindings = ordered[..count].to_vec();
        assert_eq!(given(&bindings, &image), [wanted.map(str::to_owned)], "{count}");
        bindings.reverse();
        assert_eq!(given(&bindings, &image), [wanted.map(str::to_owned)], "{count}, in another order");
    }
    let all = ["nginx:1", "docker.io/nginx:1", "nginx:2", "nginx-x", "redis", "ghcr.io/a/b"];
    let wanted = ["exact", "meaning", "repository", "long", "short"].map(|name| Some(name.to_owned()));
    assert_eq!(given(&ordered, &all)[..5], wanted);
    assert_eq!(given(&ordered, &all)[5], None, "the pod's field holds for it");
}

#[test]
fn a_repository_is_bound_whatever_the_tag_and_nothing_else_is() {
    let bindings = [of_mode("b", "repository", "docker.io/nginx", "Repository")];
    let digest = format!("nginx@{D}");
    let yes = ["nginx", "nginx:1.21", "library/nginx:2", "index.docker.io:443/library/nginx", &digest];
    assert_eq!(given(&bindings, &yes), vec![Some("repository".to_owned()); 5]);
    assert_eq!(
        given(&bindings, &["nginx-evil", "evil/nginx", "ghcr.io/library/nginx", "no reference"]),
        vec![None; 4]
    );
}

#[test]
fn patterns_as_specific_as_each_other_go_by_name() {
    let bindings =
        [of_mode("z", "short", "ghcr.io/*/web", "Glob"), of_mode("a", "long", "ghcr.io/web/*", "Glob")];
    assert_eq!(given(&bindings, &["ghcr.io/web/web"]), [Some("long".to_owned())]);
    let again =
        [of_mode("b", "short", "nginx*", "Glob"), of_mode("a", "long", "docker.io/library/nginx*", "Glob")];
    assert_eq!(given(&again, &["nginx"]), [Some("long".to_owned())]);
    let (answer, _) = ask(
        &[of_mode("b", "web", "nginx*", "Glob"), of_mode("a", "gone", "docker.io/library/nginx*", "Glob")],
        &pod(&json!({"containers": [{"name": "c", "image": "other/image"}]})),
    );
    let told = "ProfileBinding production/b is not used: a sets the seccomp profile of the same image";
    assert_eq!(answer.warnings, [told]);
}

#[test]
fn every_kind_of_container_is_matched_and_fields_go_their_own_ways() {
    let apparmor = json!({"profileRef": {"kind": "AppArmorProfile", "name": "web"}, "image": "shop/*", "imageMatch": "Glob"});
    let bindings = [of_mode("s", "web", "shop/web", "Repository"), own("ProfileBinding", "a", &apparmor)];
    let spec = json!({
        "initContainers": [{"name": "i", "image": "shop/web:1"}],
        "containers": [{"name": "c", "image": "shop/web"}, {"name": "d", "image": "shop/db"}],
        "ephemeralContainers": [{"name": "e", "image": format!("shop/web@{D}")}],
    });
    let out = bound(&bindings, &pod(&spec));
    let both = json!({"seccompProfile": local(SECCOMP), "appArmorProfile": local("web")});
    for list in pod::LISTS {
        assert_eq!(out["spec"][list][0]["securityContext"], both, "{list}");
    }
    assert_eq!(out["spec"]["containers"][1]["securityContext"], json!({"appArmorProfile": local("web")}));
    assert_eq!(out["spec"]["securityContext"], Value::Null, "no mode but `*` is about the pod itself");
}

#[test]
fn an_image_that_its_mode_cannot_mean_refuses_the_pods_of_the_namespace() {
    let pod = pod(&json!({"containers": [{"name": "c", "image": "nginx"}]}));
    for (image, mode) in [("nginx:1", "Repository"), ("nginx:[12]*", "Glob"), ("**", "Glob")] {
        let (answer, _) = ask(&[of_mode("b", "web", image, mode)], &pod);
        let message = refused(&answer);
        assert!(message.contains("ProfileBinding production/b cannot be read"), "{message}");
        assert!(message.contains("spec.image"), "{message}");
    }
}

/// The worst that fits into a namespace and a pod: patterns that can stand for a text in very many ways.
#[test]
fn many_bad_patterns_and_many_long_images_are_decided() {
    let bindings: Vec<_> = (0..100)
        .map(|i| of_mode(&format!("b{i}"), "web", &format!("{}b{i}", "**a*?".repeat(24)), "Glob"))
        .collect();
    let folder = "a".repeat(250);
    let containers: Vec<_> =
        (0..200).map(|i| json!({"name": format!("c{i}"), "image": format!("{folder}{i}")})).collect();
    let pod = pod(&json!({"containers": containers}));
    assert_eq!(bound(&bindings, &pod), pod);
}
