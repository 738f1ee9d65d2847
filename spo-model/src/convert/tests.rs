//! One test per row of what other converters lose, and the refusals.

use serde_json::{Value, json};

use super::{convert, decode, encode};
use crate::{
    Diagnostic, State,
    apparmor::{AppArmorBody, AppArmorMode},
    kind::{GROUP, Kind, Version},
    object::AnyObject,
    recording::{MergeStrategy, ProfileKind, Recorder},
    seccomp::Arch,
    selinux::SelinuxMode,
    status::ProfileState,
};

fn document(kind: &str, version: &str, spec: Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/{version}"), "kind": kind, "metadata": { "name": "x" }, "spec": spec })
}

fn hub(kind: &str, version: &str, spec: Value) -> AnyObject {
    decode(&document(kind, version, spec)).unwrap_or_else(|e| panic!("{e:?}")).object
}

fn problems(kind: &str, version: &str, spec: Value) -> Vec<Diagnostic> {
    decode(&document(kind, version, spec)).expect_err("is refused")
}

fn minimal(kind: Kind) -> Value {
    match kind {
        Kind::SeccompProfile => json!({ "defaultAction": "SCMP_ACT_ERRNO" }),
        Kind::ProfileRecording => json!({ "kind": "SeccompProfile", "recorder": "Logs", "podSelector": {} }),
        Kind::ProfileBinding => {
            json!({ "profileRef": { "kind": "SeccompProfile", "name": "x" }, "image": "i" })
        }
        Kind::SecurityProfileNodeStatus => json!({ "nodeName": "n" }),
        _ => json!({}),
    }
}

#[test]
fn every_pair_of_every_kind_converts_both_ways() {
    for &kind in Kind::ALL {
        let v1 = document(kind.as_str(), "v1", minimal(kind));
        let old = convert(&v1, kind.old_version()).unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        assert_eq!(old["apiVersion"], format!("{GROUP}/{}", kind.old_version()));
        let back = convert(&old, Version::V1).unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        assert_eq!(decode(&back), decode(&v1), "{kind}");
    }
}

// The old shapes: read as meant, never defaulted into a weaker profile.

#[test]
fn disabled_true_stays_disabled() {
    for (kind, version) in [
        ("SeccompProfile", "v1beta1"),
        ("SelinuxProfile", "v1alpha2"),
        ("RawSelinuxProfile", "v1alpha2"),
        ("AppArmorProfile", "v1alpha1"),
    ] {
        let mut spec = minimal(kind.parse().expect("a kind"));
        assert_eq!(hub(kind, version, spec.clone()).state(), Some(State::Enabled));
        spec["disabled"] = json!(true);
        assert_eq!(hub(kind, version, spec.clone()).state(), Some(State::Disabled), "{kind}");
        spec["disabled"] = json!(false);
        assert_eq!(hub(kind, version, spec.clone()).state(), Some(State::Enabled), "{kind}");
        spec["disabled"] = json!(true);
        spec["state"] = json!("Disabled");
        assert_eq!(hub(kind, version, spec).state(), Some(State::Disabled), "{kind}: both agree");
    }
}

#[test]
fn permissive_true_stays_permissive() {
    let AnyObject::SelinuxProfile(profile) = hub("SelinuxProfile", "v1alpha2", json!({ "permissive": true }))
    else {
        panic!("another kind")
    };
    assert_eq!(profile.spec.mode, SelinuxMode::Permissive);
}

#[test]
fn complain_mode_true_stays_complain() {
    let AnyObject::AppArmorProfile(profile) =
        hub("AppArmorProfile", "v1alpha1", json!({ "complainMode": true }))
    else {
        panic!("another kind")
    };
    assert_eq!(profile.spec.mode, AppArmorMode::Complain);
}

#[test]
fn raw_apparmor_text_is_kept_under_both_names() {
    let text = "profile x { /etc/x r, }";
    for field in ["policy", "profile"] {
        for kind in ["AppArmorProfile", "ApparmorProfile"] {
            let document = document(kind, "v1alpha1", json!({ field: text }));
            let decoded = decode(&document).unwrap_or_else(|e| panic!("{e:?}"));
            let AnyObject::AppArmorProfile(profile) = &decoded.object else { panic!("another kind") };
            assert_eq!(profile.spec.body, AppArmorBody::Raw(text.to_owned()));
            assert_eq!(decoded.alias_kind, kind == "ApparmorProfile");
            let v1 = convert(&document, Version::V1).expect("converts");
            assert_eq!((&v1["kind"], &v1["spec"]["policy"]), (&json!(kind), &json!(text)));
            assert_eq!(convert(&v1, Version::V1alpha1).expect("converts"), document);
        }
    }
}

#[test]
fn a_recording_of_kind_apparmor_profile_is_read_in_every_version() {
    for (version, recorder) in [("v1alpha1", "bpf"), ("v1", "Bpf")] {
        let spec = json!({ "kind": "ApparmorProfile", "recorder": recorder, "podSelector": {} });
        let AnyObject::ProfileRecording(recording) = hub("ProfileRecording", version, spec) else {
            panic!("another kind")
        };
        assert_eq!(recording.spec.kind, ProfileKind::AppArmorProfile);
        let v1 = encode(&AnyObject::ProfileRecording(recording), Version::V1).expect("encodes");
        assert_eq!(v1["spec"]["kind"], "AppArmorProfile", "what is written passes the v1 enum");
    }
}

#[test]
fn a_node_status_is_read_from_both_places() {
    let mut top = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SecurityProfileNodeStatus",
        "metadata": { "name": "x" }, "nodeName": "node-1", "status": "Installed", "spec": {},
    });
    let below = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SecurityProfileNodeStatus",
        "metadata": { "name": "x" }, "spec": { "nodeName": "node-1" }, "status": { "status": "Installed" },
    });
    for document in [&top, &below] {
        let AnyObject::SecurityProfileNodeStatus(status) =
            decode(document).unwrap_or_else(|e| panic!("{e:?}")).object
        else {
            panic!("another kind")
        };
        assert_eq!(status.spec.node_name, "node-1");
        assert_eq!(status.status.and_then(|s| s.status), Some(ProfileState::Installed));
    }
    top["spec"]["nodeName"] = json!("node-2");
    let problems = decode(&top).expect_err("contradicts itself");
    assert!(problems[0].message.contains("nodeName") && problems[0].message.contains("spec.nodeName"));
}

#[test]
fn every_flat_field_of_the_old_spod_is_read_and_the_nested_one_is_written() {
    let flat = json!({
        "enableSelinux": true,
        "selinuxTypeTag": "my_t",
        "selinuxOptions": { "allowedSystemProfiles": ["container", "net_container"] },
        "enableLogEnricher": true,
        "logEnricherFilters": "[]",
        "logEnricherSource": "auditd",
        "enableJsonEnricher": true,
        "jsonEnricherFilters": "[]",
        "jsonEnricherOptions": { "auditLogIntervalSeconds": 30 },
        "enableBpfRecorder": true,
        "staticWebhookConfig": true,
        "webhookOptions": [{ "name": "binding.spo.io", "failurePolicy": "Ignore" }],
        "tolerations": [{ "operator": "Exists" }],
        "affinity": {},
        "priorityClassName": "high",
        "allowedSyscalls": ["read"],
        "allowedSeccompActions": ["SCMP_ACT_ALLOW"],
        "disableOciArtifactSignatureVerification": true,
        "enableAppArmor": true,
        "labelPodDenials": true,
    });
    let nested = json!({
        "enableAppArmor": true,
        "selinux": {
            "enable": true, "typeTag": "my_t",
            "options": { "allowedSystemProfiles": ["container", "net_container"] },
        },
        "enricher": {
            "enableLogEnricher": true, "logEnricherFilters": "[]", "logEnricherSource": "Auditd",
            "enableJsonEnricher": true, "jsonEnricherFilters": "[]",
            "jsonEnricherOptions": { "auditLogIntervalSeconds": 30 }, "enableBpfRecorder": true,
        },
        "webhook": { "staticConfig": true, "options": [{ "name": "binding.spo.io", "failurePolicy": "Ignore" }] },
        "scheduling": { "tolerations": [{ "operator": "Exists" }], "affinity": {}, "priorityClassName": "high" },
        "security": {
            "allowedSyscalls": ["read"], "allowedSeccompActions": ["SCMP_ACT_ALLOW"],
            "disableOciArtifactSignatureVerification": true,
        },
    });
    let document = document("SecurityProfilesOperatorDaemon", "v1alpha1", flat);
    let v1 = convert(&document, Version::V1).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(v1["spec"], nested);
    assert_eq!(convert(&v1, Version::V1alpha1).expect("converts"), document);
}

#[test]
fn the_guides_flat_patches_mean_something_in_v1_too() {
    for (patch, place) in [
        (json!({ "enableLogEnricher": true }), "/spec/enricher/enableLogEnricher"),
        (json!({ "enableBpfRecorder": true }), "/spec/enricher/enableBpfRecorder"),
        (json!({ "enableSelinux": true }), "/spec/selinux/enable"),
        (json!({ "enableAppArmor": true }), "/spec/enableAppArmor"),
        (json!({ "enableMemoryOptimization": true }), "/spec/enableMemoryOptimization"),
    ] {
        let object = hub("SecurityProfilesOperatorDaemon", "v1", patch);
        let written = encode(&object, Version::V1).expect("encodes");
        assert_eq!(written.pointer(place), Some(&json!(true)), "{place}");
    }
}

#[test]
fn a_string_errno_of_0_8_0_is_a_number() {
    let rule = json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": "38" });
    let spec = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let document = document("SeccompProfile", "v1beta1", spec);
    let v1 = convert(&document, Version::V1).expect("converts");
    assert_eq!(v1["spec"]["syscalls"][0]["errnoRet"], 38);
    assert_eq!(convert(&v1, Version::V1beta1).expect("converts"), document);
}

#[test]
fn words_are_read_in_any_case_and_written_as_the_version_spells_them() {
    let spec = json!({ "kind": "SeccompProfile", "recorder": "LOGS", "mergeStrategy": "Containers", "podSelector": {} });
    let AnyObject::ProfileRecording(recording) = hub("ProfileRecording", "v1alpha1", spec) else {
        panic!("another kind")
    };
    assert_eq!(
        (recording.spec.recorder, recording.spec.merge_strategy),
        (Recorder::Logs, MergeStrategy::Containers)
    );
    let old = encode(&AnyObject::ProfileRecording(recording), Version::V1alpha1).expect("encodes");
    // How this document was spelled is remembered; a new one is spelled as the version does.
    assert_eq!(old["spec"]["recorder"], "LOGS");
    let v1 = document(
        "ProfileRecording",
        "v1",
        json!({ "kind": "SeccompProfile", "recorder": "Bpf", "podSelector": {} }),
    );
    let old = convert(&v1, Version::V1alpha1).expect("converts");
    assert_eq!((&old["spec"]["recorder"], &old["spec"]["mergeStrategy"]), (&json!("bpf"), &json!("none")));
}

// What the old version cannot show comes back.

#[test]
fn a_pod_selector_survives_the_old_version() {
    let mut spec = minimal(Kind::ProfileBinding);
    spec["podSelector"] = json!({ "matchLabels": { "app": "web" } });
    let v1 = document("ProfileBinding", "v1", spec);
    let mut old = convert(&v1, Version::V1alpha1).expect("converts");
    assert!(old["spec"].get("podSelector").is_none());
    assert_eq!(convert(&old, Version::V1).expect("converts"), v1);
    // Somebody changes the image through the old version: the binding must not get wider.
    old["spec"]["image"] = json!("other");
    let back = convert(&old, Version::V1).expect("converts");
    assert_eq!(back["spec"]["podSelector"], v1["spec"]["podSelector"]);
    assert_eq!(back["spec"]["image"], "other");
}

#[test]
fn the_mode_and_the_place_of_the_webhook_survive_the_old_version() {
    let webhook = json!({ "mode": "Disabled", "scheduling": { "nodeSelector": { "pool": "infra" } } });
    let v1 = document("SecurityProfilesOperatorDaemon", "v1", json!({ "webhook": webhook }));
    let mut old = convert(&v1, Version::V1alpha1).expect("converts");
    assert!(!old["spec"].to_string().contains("mode") && !old["spec"].to_string().contains("pool"), "{old}");
    // A change through the old version does not switch admission on.
    old["spec"]["verbosity"] = json!(1);
    let back = convert(&old, Version::V1).expect("converts");
    assert_eq!(back["spec"]["webhook"], webhook);
}

#[test]
fn the_startup_taint_survives_the_old_version() {
    let scheduling = json!({ "startupTaint": true, "priorityClassName": "high" });
    let v1 = document("SecurityProfilesOperatorDaemon", "v1", json!({ "scheduling": scheduling }));
    let mut old = convert(&v1, Version::V1alpha1).expect("converts");
    assert!(!old["spec"].to_string().contains("startupTaint"), "{old}");
    old["spec"]["verbosity"] = json!(1);
    assert_eq!(convert(&old, Version::V1).expect("converts")["spec"]["scheduling"], scheduling);
}

#[test]
fn the_modes_of_a_binding_survive_the_old_version() {
    let words =
        [("onConflict", ["Override", "Keep", "Deny"]), ("imageMatch", ["Exact", "Repository", "Glob"])];
    for (field, word) in words.into_iter().flat_map(|(field, words)| words.map(|word| (field, word))) {
        let mut spec = minimal(Kind::ProfileBinding);
        spec[field] = json!(word);
        let v1 = document("ProfileBinding", "v1", spec.clone());
        let mut old = convert(&v1, Version::V1alpha1).expect("converts");
        assert_eq!(old["spec"], minimal(Kind::ProfileBinding));
        assert_eq!(convert(&old, Version::V1).expect("converts"), v1);
        // Somebody changes the image through the old version: what was refused or meant must not change with it.
        old["spec"]["image"] = json!("other");
        assert_eq!(convert(&old, Version::V1).expect("converts")["spec"][field], word);
        // The old version never had the field.
        assert_eq!(
            problems("ProfileBinding", "v1alpha1", spec.clone())[0].path.to_string(),
            format!("spec.{field}")
        );
        spec[field] = json!(word.to_lowercase());
        assert_eq!(problems("ProfileBinding", "v1", spec)[0].path.to_string(), format!("spec.{field}"));
    }
}

#[test]
fn the_eight_security_fields_of_the_spod_survive_the_old_version() {
    let spec = json!({
        "selinux": { "options": {
            "deniedTypes": ["a_t"], "deniedClasses": ["b"], "deniedPermissions": ["c"],
            "allowedTypes": ["d_t"], "allowedClasses": ["e"], "allowedPermissions": ["f"],
        } },
        "security": { "allowedIdentityRegexp": "^me$", "allowedOidcIssuerRegexp": "^https://me$" },
    });
    let v1 = document("SecurityProfilesOperatorDaemon", "v1", spec);
    let mut old = convert(&v1, Version::V1alpha1).expect("converts");
    assert_eq!(old["spec"], json!({ "selinux": { "options": {} }, "security": {} }));
    assert_eq!(convert(&old, Version::V1).expect("converts"), v1);
    old["spec"] = json!({ "enableAppArmor": true });
    let back = convert(&old, Version::V1).expect("converts");
    assert_eq!(back["spec"]["security"], v1["spec"]["security"], "even if the visible part is gone");
    assert_eq!(back["spec"]["selinux"], v1["spec"]["selinux"]);
}

#[test]
fn the_guides_allow_rules_are_read() {
    let spec = json!({ "allow": { "@self": { "tcp_socket": ["listen", "accept"] }, "http_port_t": { "tcp_socket": ["name_bind"] } } });
    let document = document("SelinuxProfile", "v1alpha2", spec.clone());
    let v1 = convert(&document, Version::V1).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(v1["spec"]["allow"], spec["allow"]);
    assert_eq!(convert(&v1, Version::V1alpha2).expect("converts"), document);
    let mut bad = document;
    bad["spec"]["allow"] = json!({ "a b": { "c": ["d"] } });
    let found = decode(&bad).expect_err("no identifier");
    assert!(found[0].path.to_string().starts_with("spec.allow"), "{found:?}");
}

#[test]
fn explicit_empty_lists_and_zero_numbers_are_kept() {
    let spec = json!({ "inherit": [] });
    let AnyObject::SelinuxProfile(profile) = hub("SelinuxProfile", "v1alpha2", spec) else {
        panic!("another kind")
    };
    assert_eq!(profile.spec.inherit, Some(Vec::new()));
    let v1 = encode(&AnyObject::SelinuxProfile(profile), Version::V1).expect("encodes");
    assert_eq!(v1["spec"]["inherit"], json!([]));
    let rule = json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 });
    let v1 = document(
        "SeccompProfile",
        "v1",
        json!({ "state": "Enabled", "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }),
    );
    let old = convert(&v1, Version::V1beta1).expect("converts");
    assert_eq!(old["spec"]["syscalls"][0]["errnoRet"], 0);
    assert_eq!(convert(&old, Version::V1).expect("converts"), v1);
}

#[test]
fn unsigned_values_new_architectures_and_the_default_errno_are_expressible() {
    let arg = |value: Value| json!({ "index": 0, "op": "SCMP_CMP_EQ", "value": value });
    let rule = |value: Value| json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [arg(value)] });
    let spec = json!({
        "state": "Enabled",
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_X86_64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"],
        "syscalls": [rule(json!("18446744073709551615")), rule(json!(9_223_372_036_854_775_807_u64))],
    });
    let v1 = document("SeccompProfile", "v1", spec);
    let AnyObject::SeccompProfile(profile) = decode(&v1).unwrap_or_else(|e| panic!("{e:?}")).object else {
        panic!("another kind")
    };
    let value = |i: usize| profile.spec.rules()[i].conditions()[0].value.0;
    assert_eq!((value(0), value(1)), (u64::MAX, i64::MAX as u64));
    assert_eq!(profile.spec.architectures.as_deref().map(|a| a[0]), Some(Arch::Loongarch64));
    let old = convert(&v1, Version::V1beta1).expect("converts");
    assert_eq!(old["spec"]["architectures"], json!(["SCMP_ARCH_X86_64"]));
    assert!(old["spec"].get("defaultErrnoRet").is_none());
    assert_eq!(convert(&old, Version::V1).expect("converts"), v1);
    // Other spellings of the same number mean the same.
    for same in [json!(u64::MAX), json!("0xffffffffffffffff")] {
        let other = hub(
            "SeccompProfile",
            "v1",
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule(same)] }),
        );
        let AnyObject::SeccompProfile(other) = other else { panic!("another kind") };
        assert_eq!(other.spec.rules()[0].conditions()[0].value.0, u64::MAX);
    }
    let negative = problems(
        "SeccompProfile",
        "v1",
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule(json!(-1))] }),
    );
    assert_eq!(negative[0].path.to_string(), "spec.syscalls[0].args[0].value");
}

// Refusals.

#[test]
fn contradictions_are_refused_with_both_paths() {
    for (kind, version, spec, old, new) in [
        (
            "SeccompProfile",
            "v1beta1",
            json!({ "defaultAction": "SCMP_ACT_LOG", "disabled": true, "state": "Enabled" }),
            "spec.disabled",
            "spec.state",
        ),
        (
            "SelinuxProfile",
            "v1alpha2",
            json!({ "permissive": false, "mode": "Permissive" }),
            "spec.permissive",
            "spec.mode",
        ),
        (
            "AppArmorProfile",
            "v1alpha1",
            json!({ "complainMode": true, "mode": "Enforce" }),
            "spec.complainMode",
            "spec.mode",
        ),
        (
            "AppArmorProfile",
            "v1alpha1",
            json!({ "profile": "a", "policy": "b" }),
            "spec.profile",
            "spec.policy",
        ),
        (
            "SecurityProfilesOperatorDaemon",
            "v1alpha1",
            json!({ "enableSelinux": true, "selinux": { "enable": false } }),
            "spec.enableSelinux",
            "spec.selinux.enable",
        ),
    ] {
        let found = problems(kind, version, spec);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].code.as_str(), found[0].path.to_string().as_str()), ("contradiction", old));
        assert!(found[0].message.contains(new), "{}", found[0]);
    }
    let both = problems("AppArmorProfile", "v1", json!({ "abstract": {}, "policy": "profile x {}" }));
    assert!(both[0].message.contains("abstract and policy"), "{}", both[0]);
}

#[test]
fn unknown_words_are_errors_that_name_the_accepted_ones() {
    let spec =
        json!({ "kind": "SeccompProfile", "recorder": "hook", "mergeStrategy": "all", "podSelector": {} });
    let found = problems("ProfileRecording", "v1alpha1", spec);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        texts.iter().any(|t| t.contains("spec.recorder: unknown value \"hook\", accepted: bpf, logs")),
        "{texts:?}"
    );
    assert!(texts.iter().any(|t| t.contains("spec.mergeStrategy") && t.contains("\"all\"")), "{texts:?}");
    let found = problems("SeccompProfile", "v1", json!({ "defaultAction": "SCMP_ACT_ERNO" }));
    assert_eq!(found[0].help.as_deref(), Some("did you mean \"SCMP_ACT_ERRNO\"?"));
}

#[test]
fn all_problems_come_at_once() {
    let spec = json!({
        "architectures": "SCMP_ARCH_X86",
        "syscalls": [
            { "names": [], "action": "SCMP_ACT_ALLOW" },
            { "names": ["read", "read"], "action": "ALLOW", "args": [{ "index": 6, "op": "SCMP_CMP_EQ" }] },
            { "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096, "arg": [] },
        ],
    });
    let found: Vec<String> =
        problems("SeccompProfile", "v1", spec).iter().map(|p| format!("{} {}", p.code, p.path)).collect();
    for wanted in [
        "required spec.defaultAction",
        "type spec.architectures",
        "length spec.syscalls[0].names",
        "duplicate spec.syscalls[1].names[1]",
        "unknown-value spec.syscalls[1].action",
        "range spec.syscalls[1].args[0].index",
        "range spec.syscalls[2].errnoRet",
        "unknown-field spec.syscalls[2].arg",
    ] {
        assert!(found.contains(&wanted.to_owned()), "{wanted} is missing in {found:#?}");
    }
}

#[test]
fn unknown_kinds_versions_and_groups_say_what_there_is() {
    let found = problems("SeccompProfile", "v2", json!({}));
    assert_eq!(
        found[0].to_string(),
        "error[version]: apiVersion: SeccompProfile has no version \"v2\" (accepted: v1, v1beta1)"
    );
    let retired = problems("SelinuxProfile", "v1alpha1", json!({}));
    assert!(retired[0].help.as_deref().is_some_and(|h| h.contains("RawSelinuxProfile")), "{}", retired[0]);
    assert_eq!(problems("SecompProfile", "v1", json!({}))[0].code, "kind");
    assert_eq!(decode(&json!({ "kind": "Pod", "apiVersion": "v1" })).expect_err("foreign")[0].code, "group");
    assert_eq!(decode(&json!(3)).expect_err("no object")[0].code, "required");
    let binding = hub("ProfileBinding", "v1", minimal(Kind::ProfileBinding));
    assert!(encode(&binding, Version::V1beta1).is_err());
}

#[test]
fn a_forged_annotation_cannot_smuggle_in_what_the_schema_refuses() {
    let mut old = document("ProfileBinding", "v1alpha1", minimal(Kind::ProfileBinding));
    let forge = |text: &str| json!({ super::MEMORY: text });
    old["metadata"]["annotations"] = forge(r#"{"v1":[{"path":"/spec/podSelector","full":"everything"}]}"#);
    assert_eq!(decode(&old).expect_err("wrong type")[0].path.to_string(), "spec.podSelector");
    old["metadata"]["annotations"] = forge("no JSON");
    assert_eq!(decode(&old).expect_err("no annotation of ours")[0].code, "conversion-annotation");
    old["metadata"]["annotations"] = forge(r#"{"v1":[{"path":"/spec/nothing","full":1}]}"#);
    assert_eq!(decode(&old).expect_err("unknown field")[0].code, "unknown-field");
}

/// What judges a request in the version it was made in must judge what is stored.
#[test]
fn a_forged_annotation_cannot_change_what_its_version_shows() {
    let node = json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "SecurityProfileNodeStatus",
        "metadata": { "name": "web-node-a" }, "nodeName": "node-a", "status": "Installed" });
    let binding = document("ProfileBinding", "v1alpha1", minimal(Kind::ProfileBinding));
    let seccomp = document("SeccompProfile", "v1beta1", json!({ "defaultAction": "SCMP_ACT_ERRNO" }));
    for (old, place) in [
        (&node, json!({ "path": "/spec/nodeName", "shown": "node-a", "full": "node-b" })),
        (&node, json!({ "path": "/metadata/name", "shown": "web-node-a", "full": "web-node-b" })),
        (&node, json!({ "path": "/status/status", "shown": "Installed", "full": "Error" })),
        (&binding, json!({ "path": "/spec/image", "shown": "i", "full": "another" })),
        (
            &seccomp,
            json!({ "path": "/spec/defaultAction", "shown": "SCMP_ACT_ERRNO", "full": "SCMP_ACT_ALLOW" }),
        ),
        (&seccomp, json!({ "path": "/status", "full": { "status": "Installed" } })),
        (&seccomp, json!({ "path": "/spec/state", "full": "Disabled" })),
        (&seccomp, json!({ "path": "/spec/architectures", "full": ["SCMP_ARCH_X86"] })),
    ] {
        let mut old = old.clone();
        assert!(decode(&old).is_ok(), "{old}");
        old["metadata"]["annotations"] = json!({ super::MEMORY: json!({ "v1": [place] }).to_string() });
        let found = decode(&old).expect_err("forged");
        assert_eq!(found[0].code, "conversion-annotation", "{place}: {}", found[0]);
    }
    // What the version hides comes back, also where the object around it is not shown.
    let mut daemon = document("SecurityProfilesOperatorDaemon", "v1alpha1", json!({}));
    daemon["metadata"]["annotations"] = json!({ super::MEMORY:
        json!({ "v1": [{ "path": "/spec/security/deniedSyscalls", "full": ["bpf"] }] }).to_string() });
    let v1 = encode(&decode(&daemon).expect("hidden").object, Version::V1).expect("v1");
    assert_eq!(v1["spec"]["security"]["deniedSyscalls"], json!(["bpf"]));
}
