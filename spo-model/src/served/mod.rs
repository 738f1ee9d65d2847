//! The served versions beside the hub, each described by a short list of differences.
//!
//! The hub is v1. What an older version has differently is a list of [`Difference`]s per kind, and everything
//! else follows from that list: reading ([`lift`]: old document → v1 document), writing ([`lower`]: v1
//! document → old document) and the old version's schema ([`crate::schema`]). Both shapes that a version had
//! in its life are in its list, so a manifest of any release is read.

use serde_json::{Map, Value};

pub(crate) mod pointer;

use crate::{
    diagnostic::{Diagnostic, FieldPath},
    kind::{Kind, Version},
};
use pointer::{at, at_mut, each, insert, remove};

/// How an older version differs from v1 in one place. Paths are dotted; `[]` stands for every list element.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Difference {
    /// A boolean of 0.10 and before that v1 has as one of two words.
    Flag { old: &'static str, new: &'static str, yes: &'static str, no: &'static str },
    /// The value stood elsewhere; both places are read, the new one is written.
    Moved { old: &'static str, new: &'static str },
    /// The whole of an object was a text, now one of its fields.
    Text { at: &'static str, field: &'static str },
    /// Words are written in lower case, and read in any.
    LowerCase { at: &'static str },
    /// Words are written in upper case, and read in any.
    UpperCase { at: &'static str },
    /// Words are read in any case.
    AnyCase { at: &'static str },
    /// An empty text means that the field is absent.
    Blank { at: &'static str },
    /// The version has no such field.
    Hidden { at: &'static str },
    /// The version's list lacks some words.
    HiddenWords { at: &'static str, words: &'static [&'static str] },
    /// The list may hold an element twice.
    Repeats { at: &'static str },
    /// A number may be written as text.
    NumberText { at: &'static str },
    /// A text that v1 requires may be absent, which means empty.
    OptionalText { at: &'static str },
    /// A field that had a meaning once and has none now; it is read and left out.
    Retired { at: &'static str },
}

use Difference::{
    AnyCase, Blank, Flag, Hidden, HiddenWords, LowerCase, Moved, NumberText, OptionalText, Repeats, Retired,
    Text, UpperCase,
};

const DISABLED: Difference = Flag { old: "spec.disabled", new: "spec.state", yes: "Disabled", no: "Enabled" };
const STATE_CASE: Difference = AnyCase { at: "spec.state" };
const STATUS_BLANK: Difference = Blank { at: "status.status" };
const MESSAGE: Difference = OptionalText { at: "status.conditions[].message" };
const WORKLOADS: Difference = Repeats { at: "status.activeWorkloads" };

const SECCOMP: &[Difference] = &[
    DISABLED,
    STATE_CASE,
    STATUS_BLANK,
    MESSAGE,
    WORKLOADS,
    Blank { at: "spec.baseProfileName" },
    Blank { at: "spec.listenerPath" },
    Hidden { at: "spec.defaultErrnoRet" },
    HiddenWords {
        at: "spec.architectures",
        words: &["SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"],
    },
    Repeats { at: "spec.architectures" },
    Repeats { at: "spec.flags" },
    Repeats { at: "spec.syscalls[].names" },
    NumberText { at: "spec.syscalls[].errnoRet" },
];

const SELINUX: &[Difference] = &[
    DISABLED,
    Flag { old: "spec.permissive", new: "spec.mode", yes: "Permissive", no: "Enforcing" },
    STATE_CASE,
    AnyCase { at: "spec.mode" },
    Blank { at: "spec.inherit[].kind" },
    STATUS_BLANK,
    MESSAGE,
    WORKLOADS,
];

const RAW_SELINUX: &[Difference] = &[DISABLED, STATE_CASE, STATUS_BLANK, MESSAGE, WORKLOADS];

const APPARMOR: &[Difference] = &[
    DISABLED,
    Flag { old: "spec.complainMode", new: "spec.mode", yes: "Complain", no: "Enforce" },
    STATE_CASE,
    AnyCase { at: "spec.mode" },
    Moved { old: "spec.profile", new: "spec.policy" },
    Repeats { at: "spec.abstract.executable.allowedExecutables" },
    Repeats { at: "spec.abstract.executable.allowedLibraries" },
    Repeats { at: "spec.abstract.filesystem.readOnlyPaths" },
    Repeats { at: "spec.abstract.filesystem.writeOnlyPaths" },
    Repeats { at: "spec.abstract.filesystem.readWritePaths" },
    Repeats { at: "spec.abstract.capability.allowedCapabilities" },
    STATUS_BLANK,
    MESSAGE,
];

const RECORDING: &[Difference] = &[
    LowerCase { at: "spec.recorder" },
    LowerCase { at: "spec.mergeStrategy" },
    Blank { at: "spec.mergeStrategy" },
    Repeats { at: "spec.containers" },
    WORKLOADS,
];

const BINDING: &[Difference] = &[
    Hidden { at: "spec.podSelector" },
    Hidden { at: "spec.onConflict" },
    Hidden { at: "spec.imageMatch" },
    WORKLOADS,
];

const NODE_STATUS: &[Difference] = &[
    Hidden { at: "status.observedGeneration" },
    Hidden { at: "status.message" },
    Hidden { at: "status.profiles" },
    Text { at: "status", field: "status" },
    STATUS_BLANK,
    Moved { old: "nodeName", new: "spec.nodeName" },
];

/// The flat SPOD of 0.10 and before. The guide patches these fields into whatever version `kubectl` prefers, so
/// v1 reads them too.
const FLAT_DAEMON: &[Difference] = &[
    Moved { old: "spec.enableSelinux", new: "spec.selinux.enable" },
    Moved { old: "spec.selinuxTypeTag", new: "spec.selinux.typeTag" },
    Moved { old: "spec.selinuxOptions", new: "spec.selinux.options" },
    Moved { old: "spec.enableLogEnricher", new: "spec.enricher.enableLogEnricher" },
    Moved { old: "spec.logEnricherFilters", new: "spec.enricher.logEnricherFilters" },
    Moved { old: "spec.logEnricherSource", new: "spec.enricher.logEnricherSource" },
    Moved { old: "spec.enableJsonEnricher", new: "spec.enricher.enableJsonEnricher" },
    Moved { old: "spec.jsonEnricherFilters", new: "spec.enricher.jsonEnricherFilters" },
    Moved { old: "spec.jsonEnricherOptions", new: "spec.enricher.jsonEnricherOptions" },
    Moved { old: "spec.enableBpfRecorder", new: "spec.enricher.enableBpfRecorder" },
    Moved { old: "spec.staticWebhookConfig", new: "spec.webhook.staticConfig" },
    Moved { old: "spec.webhookOptions", new: "spec.webhook.options" },
    Moved { old: "spec.tolerations", new: "spec.scheduling.tolerations" },
    Moved { old: "spec.affinity", new: "spec.scheduling.affinity" },
    Moved { old: "spec.priorityClassName", new: "spec.scheduling.priorityClassName" },
    Moved { old: "spec.allowedSyscalls", new: "spec.security.allowedSyscalls" },
    Moved { old: "spec.allowedSeccompActions", new: "spec.security.allowedSeccompActions" },
    Moved {
        old: "spec.disableOciArtifactSignatureVerification",
        new: "spec.security.disableOciArtifactSignatureVerification",
    },
    Repeats { at: "spec.security.allowedSyscalls" },
    Repeats { at: "spec.selinux.options.allowedSystemProfiles" },
    AnyCase { at: "spec.enricher.logEnricherSource" },
    Blank { at: "spec.enricher.logEnricherSource" },
];

const OLD_DAEMON: &[Difference] = &[
    Hidden { at: "spec.statusMode" },
    Hidden { at: "spec.webhook.mode" },
    Hidden { at: "spec.webhook.scheduling" },
    Hidden { at: "spec.scheduling.startupTaint" },
    LowerCase { at: "spec.enricher.logEnricherSource" },
    UpperCase { at: "status.state" },
    Blank { at: "status.state" },
    MESSAGE,
    Retired { at: "spec.labelPodDenials" },
    Hidden { at: "spec.security.deniedSyscalls" },
    Hidden { at: "spec.security.enforcedSyscalls" },
    Hidden { at: "spec.security.forbiddenProfiles" },
    Hidden { at: "spec.security.allowedIdentityRegexp" },
    Hidden { at: "spec.security.allowedOidcIssuerRegexp" },
    Hidden { at: "spec.selinux.options.deniedTypes" },
    Hidden { at: "spec.selinux.options.deniedClasses" },
    Hidden { at: "spec.selinux.options.deniedPermissions" },
    Hidden { at: "spec.selinux.options.allowedTypes" },
    Hidden { at: "spec.selinux.options.allowedClasses" },
    Hidden { at: "spec.selinux.options.allowedPermissions" },
];

/// How a served version of a kind differs from the hub.
pub(crate) fn differences(kind: Kind, version: Version) -> impl Iterator<Item = Difference> {
    let old = version != Version::V1;
    let (always, only_old): (&[Difference], &[Difference]) = match kind {
        Kind::SeccompProfile => (&[], SECCOMP),
        Kind::SelinuxProfile => (&[], SELINUX),
        Kind::RawSelinuxProfile => (&[], RAW_SELINUX),
        Kind::AppArmorProfile => (&[], APPARMOR),
        Kind::ProfileRecording => (&[], RECORDING),
        Kind::ProfileBinding => (&[], BINDING),
        Kind::SecurityProfileNodeStatus => (&[], NODE_STATUS),
        Kind::SecurityProfilesOperatorDaemon => (FLAT_DAEMON, OLD_DAEMON),
    };
    let only_old = if old { only_old } else { &[] };
    // The old version's first: what it hides is not in the places that values moved from either.
    only_old.iter().chain(always).copied()
}

/// Turns a document of a served version into a v1 document, in place.
///
/// # Errors
/// Two fields that say the same thing and contradict each other, each such pair with both paths.
pub(crate) fn lift(kind: Kind, version: Version, document: &mut Value) -> Result<(), Vec<Diagnostic>> {
    let mut problems = Vec::new();
    // Once before, so that words are compared in one spelling, and once behind, for words that moved.
    canonical_words(kind, version, document);
    for difference in differences(kind, version) {
        match difference {
            Flag { old, new, yes, no } => {
                if let Some(flag) = remove(document, old) {
                    // The schema has been checked, so this is a boolean.
                    let word = if flag.as_bool() == Some(true) { yes } else { no };
                    meet(document, old, &flag, new, Value::from(word), &mut problems);
                }
            }
            Moved { old, new } => {
                if let Some(value) = remove(document, old) {
                    meet(document, old, &value.clone(), new, value, &mut problems);
                }
            }
            Text { at: place, field } => {
                if let Some(text @ Value::String(_)) = at_mut(document, place) {
                    let object = Map::from_iter([(field.to_owned(), text.take())]);
                    *text = Value::Object(object);
                }
            }
            Blank { at: place } => {
                let blank: Vec<_> = each(document, place)
                    .into_iter()
                    .filter(|path| at(document, path).is_some_and(|v| v.as_str() == Some("")))
                    .collect();
                for path in blank {
                    remove(document, &path);
                }
            }
            Repeats { at: place } => for_each(document, place, drop_repeats),
            NumberText { at: place } => for_each(document, place, read_number),
            Retired { at: place } => {
                remove(document, place);
            }
            OptionalText { at: place } => {
                let (parent, field) = place.rsplit_once('.').unwrap_or(("", place));
                for_each(document, parent, |object| {
                    if let Some(fields) = object.as_object_mut() {
                        fields.entry(field).or_insert_with(|| Value::from(""));
                    }
                });
            }
            LowerCase { .. } | UpperCase { .. } | AnyCase { .. } => {}
            Hidden { .. } | HiddenWords { .. } => {}
        }
    }
    canonical_words(kind, version, document);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Turns a v1 document into one of a served version, in place. What the version cannot show is left out.
pub(crate) fn lower(kind: Kind, version: Version, document: &mut Value) {
    for difference in differences(kind, version) {
        match difference {
            Hidden { at: place } => {
                remove(document, place);
            }
            HiddenWords { at: place, words } => for_each(document, place, |value| {
                if let Some(list) = value.as_array_mut() {
                    list.retain(|word| !word.as_str().is_some_and(|w| words.contains(&w)));
                }
            }),
            LowerCase { at: place } => for_each(document, place, |v| respell(v, str::to_ascii_lowercase)),
            UpperCase { at: place } => for_each(document, place, |v| respell(v, str::to_ascii_uppercase)),
            // What a version without defaults reads as the default need not be written.
            Flag { new, no, .. } if at(document, new).is_some_and(|v| v.as_str() == Some(no)) => {
                remove(document, new);
            }
            _ => {}
        }
    }
    if version != Version::V1 && at(document, "spec.state").is_some_and(|v| v.as_str() == Some("Enabled")) {
        remove(document, "spec.state");
    }
}

/// Puts a value that stood at an old place to the new one, or reports that another value stands there.
fn meet(
    document: &mut Value,
    old: &str,
    old_value: &Value,
    new: &str,
    value: Value,
    problems: &mut Vec<Diagnostic>,
) {
    match at(document, new) {
        None => insert(document, new, value),
        Some(there) if *there == value => {}
        // Both are objects: they may speak of different fields.
        Some(Value::Object(_)) if value.is_object() => {
            if let Value::Object(fields) = value {
                for (field, value) in fields {
                    let (old, new) = (format!("{old}.{field}"), format!("{new}.{field}"));
                    meet(document, &old, &value.clone(), &new, value, problems);
                }
            }
        }
        Some(there) => problems.push(
            Diagnostic::error(
                "contradiction",
                FieldPath::of(old),
                format!("{old} is {old_value}, but {new} is {there}"),
            )
            .with_help(format!("keep {new} and remove {old}")),
        ),
    }
}

/// Spells the words of an old version as v1 does.
fn canonical_words(kind: Kind, version: Version, document: &mut Value) {
    for difference in differences(kind, version) {
        let (LowerCase { at: place } | UpperCase { at: place } | AnyCase { at: place }) = difference else {
            continue;
        };
        let words = crate::schema::words_at(kind, place);
        for_each(document, place, |value| {
            let found = value.as_str().and_then(|text| words.iter().find(|w| w.eq_ignore_ascii_case(text)));
            if let Some(word) = found {
                *value = Value::from(word.as_str());
            }
        });
    }
}

fn for_each(document: &mut Value, place: &str, change: impl Fn(&mut Value)) {
    for path in each(document, place) {
        if let Some(value) = at_mut(document, &path) {
            change(value);
        }
    }
}

fn drop_repeats(value: &mut Value) {
    if let Some(list) = value.as_array_mut() {
        let mut seen = std::collections::HashSet::new();
        list.retain(|element| seen.insert(element.to_string()));
    }
}

fn read_number(value: &mut Value) {
    if let Some(number) = value.as_str().and_then(|text| text.parse::<u32>().ok()) {
        *value = Value::from(number);
    }
}

fn respell(value: &mut Value, spell: fn(&str) -> String) {
    if let Some(text) = value.as_str() {
        *value = Value::from(spell(text));
    }
}
