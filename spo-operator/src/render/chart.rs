//! The generated half of the Helm chart: the objects of the manifests, with expressions where the chart has a choice.
//!
//! An object is built as for a manifest, with markers in the place of what depends on values:
//!
//! | marker | becomes |
//! | --- | --- |
//! | [`NAMESPACE`] | the release's namespace |
//! | [`RESTRICTED`] | each namespace of `restrictToNamespaces` |
//! | a text of [`yaml`] | the value as a block of YAML |
//! | a text of [`quoted`] | the expression as a quoted text |

use serde_json::{Value, json};
use spo_model::kind::Scope;

use super::{
    Environment, account,
    container::variable,
    manifests::{self, File, FileError, Webhook, document},
    policy,
    replicas::MANAGER,
};

/// The chart's generated files.
///
/// # Errors
/// An object that cannot be written as YAML.
pub(super) fn files() -> Result<Vec<File>, FileError> {
    let environment = Environment::new(NAMESPACE);
    let mut all = vec![description()];
    all.push(template("crds", definitions())?);
    all.push(template("rbac", roles())?);
    let admission = policy::own_node(NAMESPACE).into_iter().chain(policy::startup_taint(NAMESPACE));
    let mut policies: Vec<Part> = admission.map(Part::always).collect();
    policies.extend(
        policy::network(NAMESPACE).into_iter().map(|p| Part::when("$.Values.networkPolicy.enabled", p)),
    );
    policies.push(Part::always(policy::quota(NAMESPACE)));
    policies.push(Part::when("$.Values.podDisruptionBudget.enabled", MANAGER.budget(NAMESPACE)));
    all.push(template("policies", policies)?);
    let token = account::metrics_token(NAMESPACE);
    all.push(template(
        "manager",
        vec![
            Part::always(manifests::profiles(NAMESPACE)),
            Part::always(deployment(&environment)),
            Part::when("$.Values.metrics.tokenSecret", token),
        ],
    )?);
    Ok(all)
}

/// Stands for the release's namespace.
const NAMESPACE: &str = "spo-marker-namespace";
/// Stands for a namespace that the operator is restricted to.
const RESTRICTED: &str = "spo-marker-restricted";

/// An object, and what has to hold for it to be there.
struct Part {
    head: Option<String>,
    object: Value,
}

impl Part {
    fn always(object: Value) -> Self {
        Self { head: None, object }
    }

    fn when(condition: &str, object: Value) -> Self {
        Self { head: Some(format!("if {condition}")), object }
    }
}

fn description() -> File {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "# Written by `spo-operator manifests`; do not edit.\n\
         apiVersion: v2\n\
         name: security-profiles-operator\n\
         description: seccomp, AppArmor and SELinux profiles as Kubernetes resources.\n\
         type: application\n\
         version: {version}\n\
         appVersion: \"{version}\"\n\
         kubeVersion: \">=1.30.0-0\"\n\
         home: {home}\n\
         sources:\n- {home}\n\
         keywords:\n- seccomp\n- apparmor\n- selinux\n- security\n",
        home = env!("CARGO_PKG_REPOSITORY"),
    );
    File { path: "helm/Chart.yaml".to_owned(), text }
}

fn definitions() -> Vec<Part> {
    let all = manifests::definitions(Scope::Namespaced, NAMESPACE).into_iter();
    all.map(|mut definition| {
        // Removed as a whole where it is empty; a definition that goes takes every profile with it.
        definition["metadata"]["annotations"] = json!(KEEP);
        Part::when("$.Values.crds.install", definition)
    })
    .collect()
}

const KEEP: &str = "@@crd-annotations@@";

fn roles() -> Vec<Part> {
    let objects = |restricted_to: Vec<String>| {
        account::objects(&account::Where {
            namespace: NAMESPACE.to_owned(),
            restricted_to,
            cluster_scope: false,
        })
    };
    let everywhere = objects(Vec::new());
    let mut parts = Vec::new();
    for object in &everywhere {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let of_users = object["kind"] == "ClusterRoleBinding" && name.ends_with("-profiles");
        let aggregated =
            object["kind"] == "ClusterRole" && ["spo-view", "spo-edit", "spo-admin"].contains(&name);
        parts.push(match (of_users, aggregated) {
            (true, _) => Part::when("not $.Values.restrictToNamespaces", object.clone()),
            (_, true) => Part::when("$.Values.userRoles.create", object.clone()),
            _ => Part::always(object.clone()),
        });
    }
    for object in objects(vec![RESTRICTED.to_owned()]) {
        let bound = object["kind"] == "RoleBinding" && object["roleRef"]["kind"] == "ClusterRole";
        // The operator's own namespace comes with the list.
        if bound && object["metadata"]["namespace"] == RESTRICTED {
            parts.push(Part {
                head: Some("range include \"spo.namespaces\" $ | fromJsonArray".to_owned()),
                object,
            });
        }
    }
    parts
}

fn deployment(environment: &Environment) -> Value {
    let mut deployment = manifests::deployment(environment, Webhook::Managed);
    let spec = &mut deployment["spec"];
    spec["replicas"] = json!(plain("$.Values.replicaCount"));
    spec["template"]["metadata"]["annotations"] = json!(yaml("$.Values.podAnnotations"));
    let pod = &mut spec["template"]["spec"];
    pod["imagePullSecrets"] = json!(yaml("$.Values.imagePullSecrets"));
    pod["nodeSelector"] = json!(yaml("$.Values.nodeSelector"));
    pod["tolerations"] = json!(yaml("include \"spo.tolerations\" $ | fromJsonArray"));
    pod["affinity"] = json!(yaml("include \"spo.affinity\" $ | fromJson"));
    pod["priorityClassName"] = json!(quoted("$.Values.priorityClassName"));
    pod["topologySpreadConstraints"] = json!(yaml("$.Values.topologySpreadConstraints"));
    let container = &mut pod["containers"][0];
    let image = quoted("include \"spo.image\" $");
    container["image"] = json!(image);
    container["imagePullPolicy"] = json!(quoted("$.Values.spoImage.pullPolicy"));
    container["resources"] = json!(yaml("$.Values.resources"));
    let fixed = ["SPO_IMAGE", "KUBELET_DIR", "SPO_VERBOSITY"];
    if let Some(variables) = container["env"].as_array_mut() {
        variables.retain(|variable| !fixed.iter().any(|name| variable["name"] == *name));
        variables.extend([
            variable("SPO_IMAGE", &image),
            variable("KUBELET_DIR", &quoted("$.Values.kubeletDir")),
            variable("SPO_VERBOSITY", &quoted("$.Values.verbosity")),
            variable("SPO_CERTIFICATES", &quoted("$.Values.webhook.certs.mode")),
            variable("SPO_METRICS_TOKEN", &quoted("$.Values.metrics.tokenSecret")),
            variable("RESTRICT_TO_NAMESPACE", &quoted("join \",\" $.Values.restrictToNamespaces")),
            // What the manager makes, and keeps, of the values: the kind's definition comes with this chart, so an
            // object of it cannot.
            variable("SPO_SPOD", &quoted("include \"spo.spod\" $")),
        ]);
    }
    deployment
}

/// The value of an expression as a block of YAML.
fn yaml(expression: &str) -> String {
    format!("@@yaml {expression}@@")
}

/// The value of an expression as a quoted text.
fn quoted(expression: &str) -> String {
    format!("@@quoted {expression}@@")
}

/// The value of an expression as it is.
fn plain(expression: &str) -> String {
    format!("@@plain {expression}@@")
}

fn template(name: &str, parts: Vec<Part>) -> Result<File, FileError> {
    let path = format!("helm/templates/{name}.yaml");
    let mut text = "{{- /* Written by `spo-operator manifests`; do not edit. */ -}}\n".to_owned();
    for part in parts {
        let body = expressions(&document(&path, &part.object)?);
        match part.head {
            None => text.push_str(&format!("---\n{body}")),
            Some(head) => text.push_str(&format!("{{{{- {head} }}}}\n---\n{body}{{{{- end }}}}\n")),
        }
    }
    let text = text
        .replace(RESTRICTED, "{{ . }}")
        .replace(NAMESPACE, "{{ $.Release.Namespace }}")
        // A namespace has to be a text also where it looks like a number.
        .replace("namespace: {{ $.Release.Namespace }}", "namespace: {{ $.Release.Namespace | quote }}")
        .replace("- {{ $.Release.Namespace }}\n", "- {{ $.Release.Namespace | quote }}\n")
        .replace("namespace: {{ . }}", "namespace: {{ . | quote }}");
    Ok(File { path, text })
}

/// Markers as expressions, line by line: a marker is always the whole value of a field or an element.
fn expressions(yaml: &str) -> String {
    let mut text = String::new();
    for line in yaml.lines() {
        text.push_str(&expression(line).unwrap_or_else(|| line.to_owned()));
        text.push('\n');
    }
    text
}

fn expression(line: &str) -> Option<String> {
    let (field, rest) = line.split_once("@@")?;
    let marker = rest.rsplit_once("@@")?.0.replace("\\\"", "\"");
    let field = field.trim_end_matches(['"', '\'', ' ']);
    let indent = field.len() - field.trim_start_matches([' ', '-']).len();
    Some(match marker.split_once(' ') {
        Some(("yaml", expression)) => {
            let indent = indent + 2;
            format!("{field} {{{{- toYaml ({expression}) | nindent {indent} }}}}")
        }
        Some(("quoted", expression)) => format!("{field} {{{{ {expression} | quote }}}}"),
        Some(("plain", expression)) => format!("{field} {{{{ {expression} }}}}"),
        _ => format!(
            "{field}\n{blank}spo.x-k8s.io/chart: {{{{ $.Chart.Version | quote }}}}\n\
             {blank}{{{{- if $.Values.crds.keep }}}}\n{blank}helm.sh/resource-policy: keep\n{blank}{{{{- end }}}}",
            blank = " ".repeat(indent + 2)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_become_expressions() {
        for (line, want) in [
            ("  replicas: \"@@plain .Values.n@@\"", "  replicas: {{ .Values.n }}"),
            ("    - value: \"@@quoted join \\\",\\\" .x@@\"", "    - value: {{ join \",\" .x | quote }}"),
            ("      value: '@@quoted include \"a\" $@@'", "      value: {{ include \"a\" $ | quote }}"),
            (
                "  nodeSelector: \"@@yaml .Values.s@@\"",
                "  nodeSelector: {{- toYaml (.Values.s) | nindent 4 }}",
            ),
            ("  plain: text", "  plain: text"),
        ] {
            assert_eq!(expressions(line).trim_end(), want);
        }
    }

    /// What the code means as a template is in the templates; what merely looks like one would be run by Helm.
    #[test]
    fn no_marker_is_left_and_no_text_is_taken_for_an_expression() {
        for file in files().expect("files") {
            assert!(!file.text.contains("spo-marker-") && !file.text.contains("@@"), "{}", file.path);
        }
        for definition in manifests::definitions(Scope::Namespaced, NAMESPACE) {
            assert!(!definition.to_string().contains("{{"));
        }
    }
}
