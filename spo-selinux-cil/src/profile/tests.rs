use std::collections::BTreeSet;

use spo_model::selinux::SelinuxProfileSpec;

use super::*;
use crate::{base::Base, render::NoAncestors};

fn spec(json: &str) -> SelinuxProfileSpec {
    serde_json::from_str(json).unwrap()
}

fn codes(found: &[spo_model::Diagnostic]) -> Vec<&str> {
    found.iter().map(|d| &d.code[..]).collect()
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

#[test]
fn lint_finds_what_is_loose_or_useless() {
    let base = Base::builtin().unwrap();
    let found = |json: &str| {
        let spec = spec(json);
        lint(&base.check("p", &spec, &NoAncestors).unwrap())
    };
    assert_eq!(codes(&found(r#"{"allow": {"etc_t": {"file": ["read"]}}}"#)), Vec::<&str>::new());
    assert_eq!(codes(&found(r#"{"allow": {"file_type": {"dir": ["read"]}}}"#)), ["selinux-broad-target"]);
    assert_eq!(
        codes(&found(r#"{"allow": {"@self": {"capability": ["sys_admin"]}}}"#)),
        ["selinux-capability"]
    );
    assert_eq!(
        codes(&found(r#"{"allow": {"container_file_t": {"file": ["read"]}}}"#)),
        ["selinux-shared-files", "selinux-redundant"]
    );
    assert_eq!(
        codes(&found(r#"{"allow": {"ephemeral_port_t": {"tcp_socket": ["name_bind"]}}}"#)),
        ["selinux-ephemeral-port"]
    );
    assert_eq!(
        codes(&found(r#"{"allow": {"tmp_t": {"file": ["write", "execute"]}}}"#)),
        ["selinux-write-execute"]
    );
    assert_eq!(
        codes(&found(r#"{"allow": {"container_domain": {"process": ["sigkill"]}}}"#)),
        ["selinux-separated"]
    );
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
