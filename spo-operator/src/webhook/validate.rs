//! Validation at admission: what is wrong with an object of the group, before it is stored.
//!
//! Errors refuse the object and are told all at once; what its author should know comes back as warnings, which
//! `kubectl apply` prints. Profiles are compiled as nodes compile them, with the bases that are there.
//!
//! Objects may be applied in any order, so what only waits for another object (a base profile that is not there
//! yet, or is not shared yet) is a warning here; the nodes report it until it is there. An object that is being deleted, and an update that
//! leaves `spec` alone, always pass: finalizers must come off whatever the rules have become.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spo_model::{
    Diagnostic, FieldPath, Severity, State,
    base::{self, BaseError, BaseProfiles},
    convert::{self, Decoded},
    daemon::ObjectName,
    kind::{GROUP, Kind, Scope, Version},
    names::{NamespaceName, ProfileKey},
    object::{AnyObject, SeccompProfile},
    validate::validate,
};
use spo_node::{
    compile::{self, Library},
    restrictions::Restrictions,
};
use spo_seccomp::AllowList;

use super::{
    configuration::Configuration,
    index::Index,
    review::{Answer, Request, clip},
};

/// Decides about an object of the group.
pub fn admit(request: &Request, index: &Index) -> Answer {
    let operation = request.operation.as_str();
    let update = operation == "UPDATE";
    if request.resource.group != GROUP
        || !request.sub_resource.is_empty()
        || !(update || operation == "CREATE")
    {
        return Answer::allow();
    }
    let same = |field: &str| request.object.get(field) == request.old_object.get(field);
    let terminating = request.object.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null());
    if update && (terminating || same("spec") && same("apiVersion")) {
        return Answer::allow();
    }
    let decoded = match convert::decode(&request.object) {
        Ok(decoded) => decoded,
        Err(problems) => return refuse(&problems),
    };
    let mut found = Findings::default();
    found.extend(validate(&decoded.object));
    if decoded.object.kind() == Kind::SecurityProfilesOperatorDaemon {
        found.extend(old_fields(&decoded, &request.object));
    }
    // What breaks a rule between fields need not compile; the author gets the rule's own words.
    if found.errors.is_empty() {
        let mut object = decoded.object;
        enable(&mut object);
        name(&mut object);
        compiled(&object, index, &mut found);
    }
    if !found.errors.is_empty() {
        return refuse(&found.errors);
    }
    let warnings = found.warnings.iter().map(sentence).collect();
    Answer { warnings, ..Answer::allow() }
}

#[derive(Debug, Default)]
struct Findings {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Findings {
    fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            match diagnostic.severity {
                Severity::Error => self.errors.push(diagnostic),
                Severity::Warning => self.warnings.push(diagnostic),
                Severity::Info => {}
            }
        }
    }

    /// Findings that become right by themselves once another object is there.
    fn wait_for(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        self.extend(diagnostics.into_iter().map(|d| Diagnostic { severity: Severity::Warning, ..d }));
    }
}

fn compiled(object: &AnyObject, index: &Index, found: &mut Findings) {
    let restrictions = match index.configuration() {
        Configuration::Absent => Ok(Restrictions::default()),
        Configuration::Settings(settings) => Restrictions::of(settings),
        Configuration::Unreadable(reason) => {
            let message = format!("it cannot be read, so nobody knows what it allows: {reason}");
            Err(vec![Diagnostic::error("settings", FieldPath::root(), message)])
        }
    };
    let mut restrictions = match restrictions {
        Ok(restrictions) => restrictions,
        // Settings that cannot be read must not be taken for others that allow more.
        Err(problems) if object.kind().is_profile() => {
            found.extend(problems.into_iter().map(|d| Diagnostic {
                message: format!("the SecurityProfilesOperatorDaemon: {}", d.message),
                ..d
            }));
            return;
        }
        Err(_) => Restrictions::default(),
    };
    let mut whole = true;
    let mut object = object.clone();
    if let AnyObject::SeccompProfile(profile) = &mut object {
        whole = has_bases(profile, index, found);
        if !whole {
            profile.spec.base_profile_name = None;
        }
        allowed(profile, &std::mem::take(&mut restrictions.seccomp), index, found);
    }
    match compile::compile_allowed(&object, index.library(), &restrictions) {
        // Without its bases a profile lacks what the lints would miss.
        Some(Ok(compiled)) if whole => found.extend(compiled.diagnostics),
        Some(Err(problems)) => {
            let (waiting, wrong): (Vec<_>, Vec<_>) =
                problems.into_iter().partition(|d| WAITING.contains(&d.code.as_str()));
            found.wait_for(waiting);
            found.extend(wrong);
        }
        Some(Ok(_)) | None => {}
    }
}

/// The codes of `spo-selinux-cil` for a profile that inherits one that is not there.
const WAITING: [&str; 2] = ["selinux-inherit-missing", "selinux-inherit-disabled"];

/// Whether every base of a profile can be looked at here.
fn has_bases(profile: &SeccompProfile, index: &Index, found: &mut Findings) -> bool {
    let bases = Reviewed { profile, library: index.library() };
    let Err(error) = base::chain(profile, &bases) else { return true };
    let path = FieldPath::of("spec.baseProfileName");
    let problem = Diagnostic::error("base-profile", path, error.to_string());
    match error {
        // The nodes pull it.
        BaseError::Remote { .. } => {}
        BaseError::NotShared { .. } if index.settings().scope == Scope::Cluster => found.extend([problem]),
        BaseError::Missing { .. }
        | BaseError::NotShared { .. }
        | BaseError::Disabled { .. }
        | BaseError::Partial { .. } => {
            found.wait_for([problem.with_help("the profile is not installed before its base is")]);
        }
        _ => found.extend([problem]),
    }
    false
}

/// The profiles that are there, and the one that is about to be: a cycle through it must be seen.
struct Reviewed<'a> {
    profile: &'a SeccompProfile,
    library: &'a Library,
}

impl BaseProfiles for Reviewed<'_> {
    fn local(&self, user: &ProfileKey, name: &str) -> Option<&SeccompProfile> {
        let metadata = &self.profile.metadata;
        let named = metadata.name.as_ref().is_some_and(|own| own.as_str() == name);
        if named && metadata.namespace == user.namespace {
            return Some(self.profile);
        }
        let there = self.library.local(user, name);
        there.or_else(|| (named && metadata.namespace.is_none()).then_some(self.profile))
    }

    fn named(&self, key: &ProfileKey) -> Option<&SeccompProfile> {
        let metadata = &self.profile.metadata;
        let own = metadata.name.as_ref() == Some(&key.name) && metadata.namespace == key.namespace;
        if own { Some(self.profile) } else { self.library.named(key) }
    }

    fn sees(&self, namespace: &NamespaceName) -> bool {
        self.library.sees(namespace)
    }

    fn remote(&self, reference: &str) -> Result<&SeccompProfile, String> {
        self.library.remote(reference)
    }
}

/// What the configuration allows seccomp profiles to permit, those they inherit from included.
fn allowed(profile: &SeccompProfile, list: &AllowList, index: &Index, found: &mut Findings) {
    if list.syscalls.is_empty() && list.denied.is_empty() {
        return;
    }
    let merged = compile::effective(profile, index.library());
    // Of a profile without a base the places are those of its author's rules, as on the nodes.
    let spec = match &merged {
        Ok(merged) if profile.spec.base_profile_name.is_some() => &merged.effective.profile,
        _ => &profile.spec,
    };
    found.extend(spo_seccomp::check_allowed(spec, list).into_iter().map(|d| {
        d.with_help("the SecurityProfilesOperatorDaemon restricts what profiles permit (spec.security)")
    }));
}

/// The fields of release 0.10 in a configuration: they work, and should be written where they are now.
fn old_fields(decoded: &Decoded, document: &Value) -> Vec<Diagnostic> {
    let grouped = convert::encode(&decoded.object, Version::V1).unwrap_or_default();
    let written = document["spec"].as_object().into_iter().flatten();
    let old =
        written.filter(|(field, value)| !value.is_null() && grouped["spec"].get(field.as_str()).is_none());
    old.map(|(field, value)| {
        let message = format!("spec.{field} is a field of release 0.10");
        let diagnostic = Diagnostic::warning("old-field", FieldPath::of("spec").key(field.as_str()), message);
        match place_of(field, value, document) {
            Some(place) => diagnostic.with_help(format!("write {place}")),
            None => diagnostic,
        }
    })
    .collect()
}

/// Where an old field belongs: where it is when it is alone.
fn place_of(field: &str, value: &Value, document: &Value) -> Option<String> {
    let alone = json!({
        "apiVersion": document["apiVersion"], "kind": document["kind"],
        "metadata": {"name": "spod"}, "spec": {field: value},
    });
    let read = convert::decode(&alone).ok()?;
    let grouped = convert::encode(&read.object, Version::V1).ok()?;
    let (group, fields) = grouped["spec"].as_object()?.iter().next()?;
    Some(format!("spec.{group}.{}", fields.as_object()?.keys().next()?))
}

/// A disabled profile is not installed, and should be right all the same: it will be enabled one day.
fn enable(object: &mut AnyObject) {
    match object {
        AnyObject::SeccompProfile(p) => p.spec.state = State::Enabled,
        AnyObject::SelinuxProfile(p) => p.spec.state = State::Enabled,
        AnyObject::RawSelinuxProfile(p) => p.spec.state = State::Enabled,
        AnyObject::AppArmorProfile(p) => p.spec.state = State::Enabled,
        _ => {}
    }
}

/// An object whose name is still to be generated is looked at under one that it could get.
fn name(object: &mut AnyObject) {
    let metadata = object.metadata_mut();
    if metadata.name.is_none() {
        let prefix = metadata.other.get("generateName").and_then(Value::as_str).unwrap_or_default();
        metadata.name = format!("{prefix}xxxxx").parse::<ObjectName>().ok();
    }
}

fn refuse(problems: &[Diagnostic]) -> Answer {
    let mut seen = BTreeSet::new();
    let lines: Vec<String> = problems.iter().map(sentence).filter(|line| seen.insert(line.clone())).collect();
    Answer::invalid(match lines.as_slice() {
        [one] => one.clone(),
        _ => {
            let mut text = format!("{} problems:", lines.len());
            for line in lines.iter().take(MOST_PROBLEMS) {
                text.push_str("\n- ");
                text.push_str(line);
            }
            if lines.len() > MOST_PROBLEMS {
                text.push_str(&format!("\nand {} more", lines.len() - MOST_PROBLEMS));
            }
            text
        }
    })
}

/// More than that nobody reads in a terminal.
const MOST_PROBLEMS: usize = 25;

/// A finding in one line: place, message, way out, rule. The place comes first, since long lines are cut.
fn sentence(diagnostic: &Diagnostic) -> String {
    let mut text = String::new();
    if !diagnostic.path.is_root() {
        text.push_str(&clip(&diagnostic.path.to_string(), 120));
        text.push_str(": ");
    }
    if let Some(span) = diagnostic.span {
        text.push_str(&format!("line {}:{}: ", span.line, span.column));
    }
    text.push_str(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!(" ({help})"));
    }
    text.push_str(&format!(" [{}]", diagnostic.code));
    clip(&text.replace('\n', " "), 1024)
}

#[cfg(test)]
mod tests;
