//! What text says, where it says it, and what it may not make us do.

use proptest::prelude::*;
use serde_json::json;

use super::{Content, Limits, documents, read};
use crate::{Diagnostic, FieldPath};

fn values(text: &str) -> Vec<serde_json::Value> {
    documents(text, &Limits::default())
        .unwrap_or_else(|e| panic!("{e}"))
        .iter()
        .map(super::Document::to_value)
        .collect()
}

fn refused(text: &str) -> Diagnostic {
    documents(text, &Limits::default()).expect_err("is refused")
}

fn findings(text: &str) -> Vec<String> {
    let entries = read(text, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
    entries.iter().flat_map(|e| e.diagnostics.iter().map(ToString::to_string)).collect()
}

#[test]
fn several_documents_comments_and_json() {
    assert_eq!(
        values("a: 1 # one\n---\n# nothing\n---\nb: [x, 'y']\n"),
        [json!({ "a": 1 }), json!({ "b": ["x", "y"] })]
    );
    assert_eq!(
        values("{\"a\": \"\\u00e4\", \"b\": [1, null, true]}"),
        [json!({ "a": "ä", "b": [1, null, true] })]
    );
    assert_eq!(values(""), Vec::<serde_json::Value>::new());
}

#[test]
fn what_kubectl_prints_as_a_list_is_its_items() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {kind: A}\n- {kind: B}\n";
    assert_eq!(values(text), [json!({ "kind": "A" }), json!({ "kind": "B" })]);
}

#[test]
fn anchors_and_merge_keys_mean_what_they_mean_to_kubectl() {
    let text = "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nsame: *b\n";
    let [value] = &values(text)[..] else { panic!() };
    assert_eq!(value["other"], json!({ "x": 1, "y": 3 }));
    assert_eq!(value["same"], value["base"]);
}

#[test]
fn findings_have_line_and_column_of_what_they_speak_of() {
    let text = "\
# a comment with ümläuts
apiVersion: security-profiles-operator.x-k8s.io/v1
kind: SeccompProfile
metadata:
  name: x
spec:
  defaultAction: SCMP_ACT_ERRNO
  defaultActon: SCMP_ACT_KILL
  syscalls:
  - names: [read, read]
    action: SCMP_ACT_ALLOW
    args:
    - index: 7
      op: SCMP_CMP_EQ
  - action: SCMP_ACT_ALLOW
";
    assert_eq!(
        findings(text),
        [
            "8:3: error[unknown-field]: spec.defaultActon: there is no field \"defaultActon\" here \
             (did you mean \"defaultAction\"?)",
            "10:19: error[duplicate]: spec.syscalls[0].names[1]: the text \"read\" stands in the list twice \
             (remove one of them)",
            "13:14: error[range]: spec.syscalls[0].args[0].index: 7 is out of range, want a number from 0 to 5",
            "15:5: error[required]: spec.syscalls[1].names: names is missing",
        ]
    );
}

#[test]
fn unknown_kinds_and_versions_of_our_group_are_errors_and_foreign_ones_are_not() {
    let ours =
        "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SecurityProfile\nmetadata: {name: x}\n";
    let found = findings(ours);
    assert!(found[0].starts_with("2:7: error[kind]: kind: unknown value \"SecurityProfile\""), "{found:?}");
    let old = ours.replace("/v1\n", "/v1alpha7\n").replace("SecurityProfile\n", "ProfileBinding\n");
    assert!(findings(&old)[0].starts_with("1:13: error[version]"), "{:?}", findings(&old));
    let pod = read("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: n}\n", &Limits::default())
        .expect("reads");
    assert!(matches!(pod[0].content, Content::Foreign));
    assert_eq!(
        (pod[0].kind.as_str(), pod[0].name.as_str(), pod[0].namespace.as_deref()),
        ("Pod", "p", Some("n"))
    );
    assert!(findings("just text")[0].contains("no object"));
}

#[test]
fn a_key_that_stands_twice_is_an_error_with_both_lines() {
    let problem = refused("a: 1\nb: 2\na: 3\n");
    assert_eq!(problem.span.map(|s| (s.line, s.column)), Some((3, 1)));
    assert!(problem.help.is_some_and(|h| h.contains("line 1")));
}

#[test]
fn limits_hold() {
    let limits = Limits { bytes: 100, depth: 3, values: 10 };
    let code = |text: &str| documents(text, &limits).expect_err("is refused").code;
    assert_eq!(code(&"a".repeat(101)), "too-large");
    assert_eq!(code("[[[[1]]]]"), "too-deep");
    assert_eq!(code("[1,2,3,4,5,6,7,8,9,10,11]"), "too-many-values");
    assert_eq!(code("a: &a [1, 2, 3]\nb: [*a, *a, *a]\n"), "too-many-values");
    assert!(documents("[[[1]]]", &limits).is_ok());
}

#[test]
fn an_alias_that_contains_itself_is_an_error() {
    assert_eq!(refused("a: &a [*a]\n").code, "syntax");
    assert_eq!(refused("a: *b\n").code, "syntax");
}

#[test]
fn the_place_of_a_missing_value_is_that_of_what_lacks_it() {
    let text = "a:\n  b: {c: 1}\n";
    let document = &documents(text, &Limits::default()).expect("reads")[0];
    let place = |path| document.span_of(&FieldPath::of(path));
    assert_eq!((place("a.b.c").line, place("a.b.c").column), (2, 10));
    assert_eq!((place("a.b.x").line, place("a.b.x").column), (2, 3), "the key of the object");
    assert_eq!(&text[place("a.b.c").start..place("a.b.c").end], "1");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the text, reading ends, and every place it names is in the text.
    #[test]
    fn any_text_is_read_or_refused(text in any_text()) {
        match read(&text, &Limits { bytes: 4096, depth: 16, values: 200 }) {
            Ok(entries) => for entry in &entries {
                for span in entry.diagnostics.iter().filter_map(|d| d.span).chain([entry.span]) {
                    prop_assert!(span.start <= span.end && span.end <= text.len());
                    prop_assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
                }
            },
            Err(problem) => prop_assert!(!problem.message.is_empty()),
        }
    }
}

/// Text in which YAML's own characters are frequent, and pieces of manifests.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[-a-z0-9:{}\\[\\]&*!|>'\"%@`#,? \n\täß€\u{0}\u{85}]{0,12}",
        prop::sample::select(vec![
            "apiVersion: security-profiles-operator.x-k8s.io/v1\n",
            "kind: SeccompProfile\n",
            "metadata: {name: x}\n",
            "spec:\n  defaultAction: SCMP_ACT_ERRNO\n",
            "  syscalls:\n  - names: [read]\n    action: ",
            "---\n",
            "&a ",
            "*a",
            "<<: ",
            "!!binary ",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
