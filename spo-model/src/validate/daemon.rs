//! Rules about the operator's configuration.

use serde_json::Value;

use super::workloads::selector;
use crate::{
    daemon::{WebhookMode, WebhookSettings},
    diagnostic::{Diagnostic, FieldPath},
    object::SecurityProfilesOperatorDaemon,
    seccomp::{Action, SyscallName},
};

/// The webhooks whose settings can be changed.
const WEBHOOKS: [&str; 7] = [
    "binding.spo.io",
    "recording.spo.io",
    "execmetadata.spo.io",
    "nodedebuggingpod.spo.io",
    "rawselinuxprofile-validation.spo.io",
    "profile-validation.spo.io",
    "operator-validation.spo.io",
];

pub(super) fn daemon(daemon: &SecurityProfilesOperatorDaemon, problems: &mut Vec<Diagnostic>) {
    let spec = &daemon.spec;
    if let Some(enricher) = &spec.enricher {
        let path = FieldPath::of("spec.enricher");
        filters(enricher.log_enricher_filters.as_deref(), path.key("logEnricherFilters"), problems);
        filters(enricher.json_enricher_filters.as_deref(), path.key("jsonEnricherFilters"), problems);
    }
    if let Some(webhook) = &spec.webhook {
        mode(webhook, problems);
    }
    for (i, options) in spec.webhook.iter().flat_map(|w| w.options.iter().flatten()).enumerate() {
        let path = FieldPath::of("spec.webhook.options").index(i);
        if !WEBHOOKS.contains(&options.name.as_str()) {
            let message = format!("there is no webhook {:?}", crate::diagnostic::shorten(&options.name));
            let help = format!("the webhooks are {}", WEBHOOKS.join(", "));
            problems.push(Diagnostic::warning("unknown-webhook", path.key("name"), message).with_help(help));
        }
        for (field, labels) in
            [("namespaceSelector", &options.namespace_selector), ("objectSelector", &options.object_selector)]
        {
            if let Some(labels) = labels {
                selector(labels, &path.key(field), problems);
            }
        }
    }
    let Some(security) = &spec.security else { return };
    let path = FieldPath::of("spec.security");
    for (field, list) in [
        ("allowedSyscalls", &security.allowed_syscalls),
        ("deniedSyscalls", &security.denied_syscalls),
        ("enforcedSyscalls", &security.enforced_syscalls),
    ] {
        for (i, name) in list.iter().flatten().enumerate() {
            if !name.parse::<SyscallName>().is_ok_and(|name| name.is_known()) {
                let message = format!("no kernel has a syscall {:?}", crate::diagnostic::shorten(name));
                let mut problem = Diagnostic::warning("unknown-syscall", path.key(field).index(i), message);
                if let Some(near) = crate::syscall_names::suggest(name) {
                    problem = problem.with_help(format!("did you mean {near:?}?"));
                }
                problems.push(problem);
            }
        }
    }
    problems.extend(security.contradictions());
    for (i, action) in security.allowed_seccomp_actions.iter().flatten().enumerate() {
        if !matches!(action, Action::Allow | Action::Log | Action::Trace | Action::Notify) {
            let message = format!("{action} lets no syscall through, so there is nothing to restrict");
            problems.push(Diagnostic::warning(
                "seccomp-action",
                path.key("allowedSeccompActions").index(i),
                message,
            ));
        }
    }
    for (field, text) in [
        ("allowedIdentityRegexp", &security.allowed_identity_regexp),
        ("allowedOidcIssuerRegexp", &security.allowed_oidc_issuer_regexp),
    ] {
        if let Some(text) = text
            && let Err(error) = regex_lite::Regex::new(text)
        {
            // An expression that does not compile must not turn into one that matches everything.
            problems.push(Diagnostic::error(
                "regexp",
                path.key(field),
                format!("not a regular expression: {error}"),
            ));
        }
    }
}

/// What [`WebhookSettings::effective_mode`] says, as the CustomResourceDefinition does.
pub(super) const MODE: &str = "spec.webhook.mode and spec.webhook.staticConfig contradict each other";

fn mode(webhook: &WebhookSettings, problems: &mut Vec<Diagnostic>) {
    let path = FieldPath::of("spec.webhook.mode");
    match webhook.effective_mode() {
        Ok(WebhookMode::Static) if webhook.scheduling.is_some() => problems.push(
            Diagnostic::warning(
                "no-effect",
                FieldPath::of("spec.webhook.scheduling"),
                "where somebody else keeps the webhook, its pods are not placed by the manager",
            )
            .with_help("place them in the Deployment of the manifest, or let the mode be Managed"),
        ),
        Ok(WebhookMode::Managed | WebhookMode::Static) => {}
        Ok(WebhookMode::Disabled) => problems.push(
            Diagnostic::warning(
                "admission-off",
                path,
                "without admission no binding takes effect, no pod is marked for recording, and no profile is checked \
                 before it is stored",
            )
            .with_help("agents still refuse bad profiles; Managed brings admission back"),
        ),
        Err(contradiction) => problems.push(
            Diagnostic::error("contradiction", path, contradiction.to_string()).with_help(
                "keep spec.webhook.mode and remove spec.webhook.staticConfig, whose true means the mode Static",
            ),
        ),
    }
}

/// Filters are a JSON list as text; each element has a priority, a level, keys and maybe values.
fn filters(text: Option<&str>, path: FieldPath, problems: &mut Vec<Diagnostic>) {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return };
    let good = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(list)) => list.iter().all(is_filter),
        _ => false,
    };
    if !good {
        problems.push(
            Diagnostic::error("enricher-filters", path, "the filters are not a JSON list of filters").with_help(
                r#"for example [{"priority": 100, "level": "None", "matchKeys": ["requestUID"], "matchValues": ["x"]}]"#,
            ),
        );
    }
}

fn is_filter(filter: &Value) -> bool {
    let texts = |field: &str| filter[field].as_array().is_some_and(|list| list.iter().all(Value::is_string));
    filter["priority"].is_i64()
        && matches!(filter["level"].as_str(), Some("Metadata" | "None"))
        && texts("matchKeys")
        && (filter["matchValues"].is_null() || texts("matchValues"))
}
