//! One object with the fault and, where it is not obvious, one without.

use serde_json::{Value, json};

use super::{cel_rules, validate};
use crate::{
    convert::decode,
    kind::{GROUP, Kind},
};

/// The findings about a v1 object, as `severity code path`.
fn findings_of(kind: Kind, name: &str, spec: &Value) -> Vec<String> {
    let document = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind.as_str(), "metadata": { "name": name }, "spec": spec });
    let object = decode(&document).unwrap_or_else(|e| panic!("{e:?}")).object;
    validate(&object).iter().map(|d| format!("{} {} {}", d.severity, d.code, d.path)).collect()
}

fn seccomp(spec: &Value) -> Vec<String> {
    findings_of(Kind::SeccompProfile, "x", spec)
}

#[test]
fn a_good_profile_has_no_findings() {
    let rule = json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": [
        { "index": 0, "value": 16, "op": "SCMP_CMP_EQ" },
        { "index": 1, "value": 15, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ" },
    ] });
    assert_eq!(
        seccomp(&json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })),
        Vec::<String>::new()
    );
}

#[test]
fn seccomp_rules() {
    let rule = |rule: Value| json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] });
    assert_eq!(
        seccomp(&json!({ "defaultAction": "SCMP_ACT_NOTIFY" })),
        ["error notify-default spec.defaultAction"]
    );
    assert_eq!(
        seccomp(&rule(json!({ "names": ["read", "write"], "action": "SCMP_ACT_NOTIFY" }))),
        ["error notify-write spec.syscalls[0].names[1]"]
    );
    assert_eq!(
        seccomp(&rule(json!({ "names": ["opne"], "action": "SCMP_ACT_ALLOW" }))),
        ["error unknown-syscall spec.syscalls[0].names[0]"]
    );
    assert_eq!(
        seccomp(&rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }))),
        ["warning unused-errno spec.syscalls[0].errnoRet"]
    );
    let arg = json!({ "index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ" });
    assert_eq!(
        seccomp(&rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [arg] }))),
        ["warning unused-value-two spec.syscalls[0].args[0].valueTwo"]
    );
    assert_eq!(
        seccomp(&json!({ "defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1 })),
        ["warning unused-errno spec.defaultErrnoRet"]
    );
    assert_eq!(
        seccomp(&json!({ "defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": "x" })),
        ["error base-cycle spec.baseProfileName"]
    );
}

#[test]
fn a_profile_is_its_own_base_with_or_without_its_namespace() {
    let found = |base: &str| {
        let document = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SeccompProfile",
            "metadata": { "name": "x", "namespace": "shop" },
            "spec": { "defaultAction": "SCMP_ACT_ERRNO", "baseProfileName": base } });
        let object = decode(&document).unwrap_or_else(|e| panic!("{e:?}")).object;
        validate(&object).into_iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(found("shop/x"), ["base-cycle"]);
    assert_eq!(found("x"), ["base-cycle"]);
    assert!(found("other/x").is_empty());
}

#[test]
fn selinux_rules() {
    let of = |name: &str, spec: Value| findings_of(Kind::SelinuxProfile, name, &spec);
    assert_eq!(of("good-1", json!({ "allow": { "@self": { "file": ["read"] } } })), Vec::<String>::new());
    for name in ["1st", "a.b"] {
        assert_eq!(of(name, json!({})), ["error selinux-name metadata.name"], "{name}");
        assert_eq!(
            findings_of(
                Kind::RawSelinuxProfile,
                name,
                &json!({ "policy": "(allow process self (file (read)))" })
            ),
            ["error selinux-name metadata.name"]
        );
    }
    assert_eq!(of("x", json!({ "allow": { "a_t": {} } })), ["error empty-allow spec.allow.a_t"]);
    assert_eq!(
        of("x", json!({ "allow": { "a_t": { "file": [] } } })),
        ["error empty-allow spec.allow.a_t.file"]
    );
    assert_eq!(
        of("x", json!({ "inherit": [{ "kind": "SelinuxProfile", "name": "x" }] })),
        ["error inherit-cycle spec.inherit[0]"]
    );
    assert_eq!(findings_of(Kind::RawSelinuxProfile, "x", &json!({})), ["error empty-policy spec.policy"]);
    assert_eq!(
        findings_of(Kind::RawSelinuxProfile, "x", &json!({ "policy": "a\0b" })),
        ["error nul-byte spec.policy"]
    );
}

#[test]
fn apparmor_rules() {
    assert_eq!(
        findings_of(Kind::AppArmorProfile, "x", &json!({ "policy": " \n" })),
        ["error empty-policy spec.policy"]
    );
    assert_eq!(findings_of(Kind::AppArmorProfile, "x", &json!({})), Vec::<String>::new());
}

#[test]
fn recording_rules() {
    let of = |name: &str, kind: &str, recorder: &str| {
        findings_of(
            Kind::ProfileRecording,
            name,
            &json!({ "kind": kind, "recorder": recorder, "podSelector": {} }),
        )
    };
    for (kind, recorder, good) in [
        ("SeccompProfile", "Logs", true),
        ("SeccompProfile", "Bpf", true),
        ("SelinuxProfile", "Logs", true),
        ("SelinuxProfile", "Bpf", false),
        ("AppArmorProfile", "Logs", false),
        ("AppArmorProfile", "Bpf", true),
    ] {
        assert_eq!(of("x", kind, recorder).is_empty(), good, "{kind} by {recorder}");
    }
    assert_eq!(of("a.b", "SeccompProfile", "Logs"), ["error recording-name metadata.name"]);
}

#[test]
fn binding_rules() {
    let of = |image: &str, selector: Value| {
        let spec = json!({ "profileRef": { "kind": "SeccompProfile", "name": "x" }, "image": image, "podSelector": selector });
        findings_of(Kind::ProfileBinding, "x", &spec)
    };
    assert_eq!(of("nginx:1.21", json!({})), Vec::<String>::new());
    assert_eq!(of("nginx: 1.21", json!({})), ["error image spec.image"]);
    let requirement = |operator: &str, values: Value| json!({ "matchExpressions": [{ "key": "a", "operator": operator, "values": values }] });
    assert_eq!(
        of("x", requirement("In", json!([]))),
        ["error selector spec.podSelector.matchExpressions[0].values"]
    );
    assert_eq!(
        of("x", requirement("Exists", json!(["b"]))),
        ["error selector spec.podSelector.matchExpressions[0].values"]
    );
}

#[test]
fn an_image_has_to_be_what_its_mode_is_about() {
    let of = |image: &str, mode: &str| {
        let spec = json!({ "profileRef": { "kind": "SeccompProfile", "name": "x" }, "image": image, "imageMatch": mode });
        findings_of(Kind::ProfileBinding, "x", &spec)
    };
    for (image, mode) in [
        ("nginx:1.21", "Exact"),
        ("nginx", "Repository"),
        ("registry:5000/web", "Repository"),
        ("nginx:1.*", "Glob"),
        ("nginx", "Glob"),
        ("*", "Exact"),
        ("*", "Repository"),
        ("*", "Glob"),
    ] {
        assert_eq!(of(image, mode), Vec::<String>::new(), "{image} {mode}");
    }
    for (image, mode) in
        [("nginx:1.21", "Repository"), ("nginx*", "Repository"), ("**", "Glob"), ("nginx:[12]*", "Glob")]
    {
        assert_eq!(of(image, mode), ["error image-match spec.image"], "{image} {mode}");
    }
    assert_eq!(of("nginx: *", "Glob"), ["error image spec.image"], "one fault is told once");
}

#[test]
fn daemon_rules() {
    let of = |spec: Value| findings_of(Kind::SecurityProfilesOperatorDaemon, "spod", &spec);
    let filter = r#"[{"priority": 100, "level": "None", "matchKeys": ["a/b"], "matchValues": ["x"]}]"#;
    assert_eq!(of(json!({ "enricher": { "jsonEnricherFilters": filter } })), Vec::<String>::new());
    for bad in ["{", "{}", "[{}]", r#"[{"priority": 1, "level": "Some", "matchKeys": []}]"#] {
        assert_eq!(
            of(json!({ "enricher": { "logEnricherFilters": bad } })),
            ["error enricher-filters spec.enricher.logEnricherFilters"],
            "{bad}"
        );
    }
    assert_eq!(
        of(json!({ "security": { "allowedIdentityRegexp": "(" } })),
        ["error regexp spec.security.allowedIdentityRegexp"]
    );
    assert_eq!(
        of(
            json!({ "security": { "allowedSyscalls": ["read", "raed"], "allowedSeccompActions": ["SCMP_ACT_KILL"] } })
        ),
        [
            "warning unknown-syscall spec.security.allowedSyscalls[1]",
            "warning seccomp-action spec.security.allowedSeccompActions[0]"
        ]
    );
    assert_eq!(
        of(
            json!({ "security": { "deniedSyscalls": ["bpf", "mout"], "enforcedSyscalls": ["futex", "bpf", "raed"] } })
        ),
        [
            "warning unknown-syscall spec.security.deniedSyscalls[1]",
            "warning unknown-syscall spec.security.enforcedSyscalls[2]",
            "error denied-and-enforced spec.security.enforcedSyscalls[1]"
        ]
    );
    assert_eq!(
        of(json!({ "webhook": { "options": [{ "name": "x" }] } })),
        ["warning unknown-webhook spec.webhook.options[0].name"]
    );
}

#[test]
fn the_mode_of_the_webhook_and_its_older_switch_mean_the_same() {
    let of = |webhook: Value| {
        findings_of(Kind::SecurityProfilesOperatorDaemon, "spod", &json!({ "webhook": webhook }))
    };
    for (mode, is_static, contradicts) in [
        ("Managed", false, false),
        ("Managed", true, true),
        ("Static", false, true),
        ("Static", true, false),
        ("Disabled", true, true),
    ] {
        let found = of(json!({ "mode": mode, "staticConfig": is_static }));
        let wanted = if contradicts { vec!["error contradiction spec.webhook.mode"] } else { Vec::new() };
        assert_eq!(found, wanted, "{mode} {is_static}");
    }
    let scheduling = json!({ "priorityClassName": "high" });
    assert_eq!(
        of(json!({ "staticConfig": true, "scheduling": scheduling })),
        ["warning no-effect spec.webhook.scheduling"]
    );
    assert_eq!(of(json!({ "scheduling": scheduling })), Vec::<String>::new());
    let off = ["warning admission-off spec.webhook.mode"];
    assert_eq!(of(json!({ "mode": "Disabled" })), off);
    assert_eq!(of(json!({ "mode": "Disabled", "staticConfig": false })), off);
    assert!(decode_fails(&json!({ "webhook": { "mode": "disabled" } })), "words are spelled as they are");
    // The flat place of before is the same switch.
    let flat = json!({ "staticWebhookConfig": true, "webhook": { "mode": "Managed" } });
    assert_eq!(
        findings_of(Kind::SecurityProfilesOperatorDaemon, "spod", &flat),
        ["error contradiction spec.webhook.mode"]
    );
}

fn decode_fails(spec: &Value) -> bool {
    decode(&json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": "x" }, "spec": spec }))
    .is_err()
}

/// Every CEL rule of a CRD has a rule here that refuses the same object; an object that breaks each of them is
/// above, so it is enough that the messages are the same.
#[test]
fn every_cel_rule_is_a_rule_here_too() {
    let breaking: Vec<(Kind, Value)> = vec![
        (Kind::SeccompProfile, json!({ "defaultAction": "SCMP_ACT_NOTIFY" })),
        (Kind::ProfileRecording, json!({ "kind": "SelinuxProfile", "recorder": "Bpf", "podSelector": {} })),
        (Kind::ProfileRecording, json!({ "kind": "AppArmorProfile", "recorder": "Logs", "podSelector": {} })),
        (Kind::AppArmorProfile, json!({ "abstract": {}, "policy": "profile x {}" })),
        (
            Kind::SecurityProfilesOperatorDaemon,
            json!({ "webhook": { "mode": "Managed", "staticConfig": true } }),
        ),
    ];
    let said: Vec<String> = breaking
        .iter()
        .flat_map(|(kind, spec)| {
            let document = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind.as_str(), "metadata": { "name": "x" }, "spec": spec });
            match decode(&document) {
                Ok(decoded) => validate(&decoded.object),
                Err(problems) => problems,
            }
        })
        .map(|d| d.message)
        .collect();
    let mut rules = 0;
    for &kind in Kind::ALL {
        for (_, list) in cel_rules(kind) {
            for rule in list.as_array().expect("a list") {
                let message = rule["message"].as_str().expect("a message");
                // Serde's refusal of two bodies words it as a finding; the CRD as a wish.
                let found = said.iter().any(|s| {
                    s == message
                        || s.contains("abstract and policy") && message.contains("abstract or policy")
                });
                assert!(found, "{message} is not among {said:?}");
                rules += 1;
            }
        }
    }
    assert_eq!(rules, breaking.len());
}
