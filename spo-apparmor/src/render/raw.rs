//! The raw body: text of the user, checked and otherwise left as it is.

use spo_model::{Diagnostic, FieldPath, apparmor::AppArmorMode};

use super::{NameMismatch, RenderOptions, mode_flag};
use crate::{
    LineIndex, ParseOptions, TextRange,
    print::{Edit, apply},
    tree::{IncludeTarget, Item, Mode, Profile, Value},
};

pub(super) fn text(
    name: &str,
    text: &str,
    mode: AppArmorMode,
    options: &RenderOptions<'_>,
) -> Result<(String, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut text = text.replace("\r\n", "\n");
    if !text.ends_with('\n') {
        // YAML drops the last newline easily, and a last comment without one is an error of the language.
        text.push('\n');
    }
    let field = FieldPath::of("spec.policy");
    let parsed = crate::parse(&text, ParseOptions { version: options.version, tokens: false });
    if !parsed.is_ok() {
        return Err(parsed
            .diagnostics
            .into_iter()
            .map(|d| Diagnostic { path: field.clone(), ..d })
            .collect());
    }
    let lines = LineIndex::new(&text);
    let mut check = Check { lines: &lines, field: &field, options, errors: Vec::new(), warnings: Vec::new() };
    let profiles: Vec<&Profile> = parsed.policy.profiles().collect();
    let mut edits = Vec::new();
    match profiles.as_slice() {
        [profile] => {
            check.name(profile, name, &mut edits);
            check.mode(profile, mode, &mut edits);
            check.attachment(profile);
        }
        [] => check.error("no-profile", TextRange::default(), "the text has no profile".to_owned()),
        [_, second, ..] => {
            let message = format!("the text has {} profiles, want one", profiles.len());
            check.error("several-profiles", second.head, message);
        }
    }
    check.items(&parsed.policy.items);
    if !check.errors.is_empty() {
        return Err(check.errors);
    }
    let warnings = check.warnings;
    Ok((apply(&text, &edits), warnings))
}

struct Check<'a> {
    lines: &'a LineIndex<'a>,
    field: &'a FieldPath,
    options: &'a RenderOptions<'a>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Check<'_> {
    fn error(&mut self, code: &str, range: TextRange, message: String) {
        self.errors
            .push(Diagnostic::error(code, self.field.clone(), message).with_span(self.lines.span(range)));
    }

    fn name(&mut self, profile: &Profile, name: &str, edits: &mut Vec<Edit>) {
        if profile.name.text == name {
            return;
        }
        let found = &profile.name.text;
        if self.options.name_mismatch == NameMismatch::Rewrite
            && profile.namespace.is_none()
            && !found.starts_with('/')
        {
            edits.push(Edit { range: profile.name.range, text: Value::new(name).to_string() });
            return;
        }
        let message = format!("the profile is named {found:?}, the resource {name:?}");
        self.errors.push(
            Diagnostic::error("name-mismatch", self.field.clone(), message)
                .with_span(self.lines.span(profile.name.range))
                .with_help("the kernel knows the profile by the name in the text; make them equal"),
        );
    }

    fn mode(&mut self, profile: &Profile, mode: AppArmorMode, edits: &mut Vec<Edit>) {
        let found = profile.mode();
        match (found, mode_flag(mode)) {
            (None | Some(Mode::Enforce), None) | (Some(Mode::Complain), Some(_)) => {}
            // A killing profile is stricter than an enforcing one.
            (Some(Mode::Kill | Mode::Prompt), None) => {}
            (Some(Mode::Unconfined | Mode::DefaultAllow), _) => {}
            (None, Some(flag)) => edits.push(match &profile.flags {
                Some(flags) => {
                    let at = flags.first().map_or(0, |f| f.range.start);
                    Edit { range: TextRange { start: at, end: at }, text: format!("{flag},") }
                }
                None => {
                    let at = profile.head.end;
                    Edit { range: TextRange { start: at, end: at }, text: format!(" flags=({flag})") }
                }
            }),
            (Some(found), _) => {
                let wanted = if mode == AppArmorMode::Enforce { "Enforce" } else { "Complain" };
                let message = format!("the text says {} and spec.mode says {wanted}", found.as_str());
                self.errors.push(
                    Diagnostic::error("mode-conflict", self.field.clone(), message)
                        .with_span(self.lines.span(profile.head))
                        .with_help("take the flag out of the text, or change spec.mode"),
                );
            }
        }
    }

    fn attachment(&mut self, profile: &Profile) {
        let Some(value) = profile.attaches_to() else { return };
        if !self.options.attachments {
            let message =
                format!("the profile attaches to {:?} and would confine programs of the host", value.text);
            self.error("attachment", value.range, message);
        }
    }

    /// What holds for every nested profile and include.
    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Profile(profile) => {
                    if let Some(namespace) = &profile.namespace {
                        let message = format!("the profile belongs to the policy namespace {namespace:?}");
                        self.error("namespace", profile.name.range, message);
                    }
                    for flag in profile.flags.iter().flatten() {
                        if matches!(flag.mode, Some(Mode::Unconfined | Mode::DefaultAllow))
                            && !self.options.unconfined
                        {
                            self.error(
                                "unconfined",
                                flag.range,
                                format!("the mode {} confines nothing", flag.text),
                            );
                        }
                    }
                    self.items(&profile.items);
                }
                Item::Include(include) => self.include(&include.target, include.range),
                Item::Block(block) => self.items(&block.items),
                Item::If(condition) => {
                    self.items(&condition.then);
                    self.items(condition.otherwise.as_deref().unwrap_or_default());
                }
                Item::Abi(_) | Item::Alias(_) | Item::Assign(_) | Item::Rule(_) => {}
            }
        }
    }

    fn include(&mut self, target: &IncludeTarget, range: TextRange) {
        let allowed = match target {
            IncludeTarget::System(path) => {
                self.options.includes.iter().any(|prefix| path.starts_with(prefix))
                    && !path.split('/').any(|part| part == "..")
            }
            IncludeTarget::Local(_) => false,
        };
        if !allowed {
            let message = format!("the include of {:?} is not allowed", target.path());
            self.error("include-not-allowed", range, message);
        }
    }
}
