use std::collections::BTreeSet;

use spo_model::selinux::SelinuxProfileSpec;

use super::*;
use crate::{base::Base, render::NoAncestors};

fn spec(json: &str) -> SelinuxProfileSpec {
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_deny_list_sees_through_attributes_and_templates() {
    let base = Base::builtin().unwrap();
    let denied = |json: &str| {
        let spec = spec(json);
        let profile = base.check("p", &spec, &NoAncestors).unwrap_or_else(|e| panic!("{json}: {}", e[0]));
        Guard::default().check(&profile).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(denied("{}"), Vec::<String>::new());
    // home_container brings a capability.
    assert_eq!(
        denied(r#"{"inherit": [{"name": "home_container"}]}"#),
        [
            "error[selinux-denied]: spec.inherit: the deny list forbids @self capability dac_override, which comes from the template home_container"
        ]
    );
    // `shadow_t` is a file_type: no one wrote its name.
    assert_eq!(
        denied(r#"{"allow": {"file_type": {"dir": ["read"]}}}"#),
        [
            "error[selinux-denied]: spec.allow.file_type.dir: the deny list forbids shadow_t dir read, which comes from the profile"
        ]
    );
    assert_eq!(denied(r#"{"allow": {"etc_t": {"file": ["relabelto"]}}}"#).len(), 1);
    assert_eq!(denied(r#"{"allow": {"@self": {"capability": ["chown"]}}}"#).len(), 1);
    let guard = Guard::default().adjusted(["capability"], [], [], []);
    let s = spec(r#"{"allow": {"@self": {"capability": ["chown"]}}}"#);
    assert!(guard.check(&base.check("p", &s, &NoAncestors).unwrap()).is_empty());
    let guard = Guard::default().adjusted(["capability"], [], ["capability"], []);
    assert_eq!(guard.check(&base.check("p", &s, &NoAncestors).unwrap()).len(), 1, "denied wins");
}

/// The existing operator compares spellings: an alias and an attribute of one member pass there.
#[test]
fn the_deny_list_sees_through_aliases_and_denied_names_may_be_aliases() {
    let text = crate::templates::minimal_base()
        + "(typealias passwords_t)(typealiasactual passwords_t shadow_t)(typeattribute secret)(typeattributeset secret (shadow_t))";
    let options = crate::resolve::Options::default().with_neverallow(false);
    let base = Base::load([("base", &text[..])], &options).unwrap();
    let denied = |guard: &Guard, target: &str| {
        let s = spec(&format!(r#"{{"allow": {{"{target}": {{"dir": ["search"]}}}}}}"#));
        guard.check(&base.check("p", &s, &NoAncestors).unwrap()).len()
    };
    let guard = Guard::default();
    assert_eq!(["shadow_t", "passwords_t", "secret", "etc_t"].map(|t| denied(&guard, t)), [1, 1, 1, 0]);
    let guard = Guard::default().adjusted(["shadow_t"], ["passwords_t"], [], []);
    assert_eq!(["shadow_t", "secret", "etc_t"].map(|t| denied(&guard, t)), [1, 1, 0]);
}

#[test]
fn diff_tells_what_was_added() {
    let base = Base::builtin().unwrap();
    let effective = |json: &str| base.check("p", &spec(json), &NoAncestors).unwrap().effective();
    let a = effective(r#"{"allow": {"http_port_t": {"tcp_socket": ["name_bind"]}}}"#);
    let b = effective(r#"{"allow": {"port_type": {"tcp_socket": ["name_bind"]}}}"#);
    let d = diff(&a, &b);
    assert!(d.removed.is_empty() && d.risk() > 0);
    assert_eq!(d.added.len(), 9, "the other port types");
    assert!(d.added.contains(&Access::new("redis_port_t", "tcp_socket", "name_bind")));
    assert!(diff(&a, &a).is_empty());
}

/// Every finding with a profile that has the fault and the line it is in, and one that is near and has not.
///
/// Names that are missing, permissions of another class and names that cannot be are errors, and are here too.
const FAULTS: [(&str, &str, &str, u32, &str, &str); 14] = [
    ("selinux-broad-target", "p", "file_type: {dir: [read]}", 7, "p", "configfile: {dir: [read]}"),
    ("selinux-write-execute", "p", "tmp_t: {file: [write, execute]}", 7, "p", "tmp_t: {file: [write, read]}"),
    (
        "selinux-capability",
        "p",
        "\"@self\": {capability: [sys_admin]}",
        7,
        "p",
        "\"@self\": {capability: [chown]}",
    ),
    ("selinux-shared-files", "p", "container_file_t: {file: [read]}", 7, "p", "etc_t: {file: [read]}"),
    ("selinux-redundant", "p", "proc_t: {file: [read]}", 7, "p", "proc_t: {file: [read, lock]}"),
    (
        "selinux-ephemeral-port",
        "p",
        "ephemeral_port_t: {tcp_socket: [name_bind]}",
        7,
        "p",
        "ephemeral_port_t: {tcp_socket: [name_connect]}",
    ),
    (
        "selinux-separated",
        "p",
        "container_domain: {process: [sigkill]}",
        7,
        "p",
        "kernel_t: {process: [sigkill]}",
    ),
    ("selinux-shadowed-module", "minimal", "{}", 3, "p", "{}"),
    (
        "selinux-type",
        "p",
        "htpp_port_t: {tcp_socket: [name_bind]}",
        7,
        "p",
        "http_port_t: {tcp_socket: [name_bind]}",
    ),
    ("selinux-class", "p", "etc_t: {fil: [read]}", 7, "p", "etc_t: {file: [read]}"),
    ("selinux-permission", "p", "etc_t: {file: [name_bind]}", 7, "p", "etc_t: {file: [open]}"),
    ("selinux-name", "1p", "{}", 3, "p1", "{}"),
    ("selinux-name", "p.q", "{}", 3, "p-q", "{}"),
    ("selinux-name-reserved", "theirs", "{}", 3, "ours", "{}"),
];

#[test]
fn every_finding_has_a_place_and_a_way_out() {
    use spo_model::{
        manifest::{self, Limits},
        object::AnyObject,
    };
    let text = crate::templates::minimal_base();
    let modules = [("minimal", &text[..]), ("other", "(block theirs (type t))")];
    let base = Base::load(modules, &crate::resolve::Options::default()).unwrap();
    let found = |name: &str, allow: &str| {
        let yaml = format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SelinuxProfile\nmetadata: {{name: {name}}}\nspec:\n  inherit: []\n  allow:\n    {allow}\n"
        );
        let documents = manifest::documents(&yaml, &Limits::default()).unwrap();
        let entries = manifest::read(&yaml, &Limits::default()).unwrap();
        let manifest::Content::Object(decoded) = &entries[0].content else { panic!("{yaml}") };
        let AnyObject::SelinuxProfile(profile) = &decoded.object else { panic!("{yaml}") };
        let all = match base.check(name, &profile.spec, &NoAncestors) {
            Ok(profile) => lint(&profile),
            Err(errors) => errors,
        };
        let place = |d: spo_model::Diagnostic| documents[0].place(d, &yaml);
        all.into_iter().map(place).collect::<Vec<_>>()
    };
    for (code, name, allow, line, good_name, good) in FAULTS {
        let all = found(name, allow);
        let d = all.iter().find(|d| d.code == code).unwrap_or_else(|| panic!("{code}: {all:?}"));
        assert_eq!(d.span.unwrap().line, line, "{d}");
        // The nearest name is no way out where nothing is near.
        assert!(d.help.is_some() || code == "selinux-permission", "{d}");
        match LINTS.iter().find(|l| l.code == code) {
            Some(l) => assert_eq!((l.severity, Some(l.fix)), (d.severity, d.help.as_deref())),
            None => assert_eq!(d.severity, spo_model::Severity::Error),
        }
        let others = found(good_name, good);
        assert!(others.iter().all(|d| d.code != code), "{code}: {others:?}");
    }
    for l in LINTS {
        assert!(FAULTS.iter().any(|f| f.0 == l.code), "{} has no test", l.code);
    }
}

#[test]
fn the_own_module_of_a_node_is_no_obstacle() {
    let text = crate::templates::minimal_base();
    let modules = [("minimal", &text[..]), ("spo_web", "(block web (blockinherit container))")];
    let mut all = modules.to_vec();
    all.push(("templates", crate::templates::TEMPLATES));
    let base = Base::load(all, &crate::resolve::Options::default()).unwrap();
    assert!(base.check("web", &spec("{}"), &NoAncestors).is_ok());
}

#[test]
fn the_cheapest_templates_are_found_and_unused_rules_are_named() {
    let base = Base::builtin().unwrap();
    let grants = |json: &str| base.check("p", &spec(json), &NoAncestors).unwrap().effective();
    let all: BTreeSet<_> = grants(r#"{"inherit": [{"name": "log_rw_container"}]}"#).into_keys().collect();
    let found = cover(&base, &all);
    assert_eq!(
        (&found.templates[..], found.rest.len(), found.excess),
        (&["log_rw_container".to_owned()][..], 0, 0)
    );
    let one: BTreeSet<_> = [Access::new("var_log_t", "file", "read")].into();
    let found = cover(&base, &one);
    assert_eq!((found.templates.len(), found.rest.len()), (0, 1), "one access is no reason for a template");
    let s = spec(r#"{"inherit": [{"name": "tty_container"}]}"#);
    let profile = base.check("p", &s, &NoAncestors).unwrap();
    let used: BTreeSet<_> = [Access::new("devtty_t", "chr_file", "write")].into();
    let unused = unused(&profile, &used);
    assert!(!unused.contains(&Access::new("devtty_t", "chr_file", "write")));
    assert!(unused.contains(&Access::new("devtty_t", "chr_file", "read")));
}

#[test]
fn merging_joins_and_subsuming_drops_without_changing_the_meaning() {
    let base = Base::builtin().unwrap();
    let a = spec(r#"{"mode": "Permissive", "allow": {"etc_t": {"file": ["read", "open"]}}}"#);
    let b = spec(
        r#"{"inherit": [{"name": "net_container"}],
        "allow": {"configfile": {"file": ["read"]}, "@self": {"tcp_socket": ["listen"]}}}"#,
    );
    let merged = merge(&[a.clone(), b]).unwrap();
    assert_eq!(merged.mode, spo_model::selinux::SelinuxMode::Enforcing);
    assert_eq!(merged.inherits().len(), 2);
    let before = base.check("p", &merged, &NoAncestors).unwrap();
    let slim = subsume(&merged, &before);
    let json = serde_json::to_value(&slim.allow).unwrap();
    assert_eq!(json, serde_json::json!({"configfile": {"file": ["read"]}, "etc_t": {"file": ["open"]}}));
    let after = base.check("p", &slim, &NoAncestors).unwrap();
    assert!(diff(&before.effective(), &after.effective()).is_empty());
    assert_eq!(merge(&[]), None);
}
