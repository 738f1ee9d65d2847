//! [`crate::tree::Policy`] → [`Unit`]: includes, variables, aliases and conditionals resolved, every rule flat.

mod cache;
mod check;
mod flatten;
mod kinds;
mod resolver;
mod variables;

use std::sync::Arc;

use spo_model::{Diagnostic, FieldPath, Severity};

pub use cache::IncludeCache;
pub use resolver::{Files, Included, NoIncludes, Resolver, is_left_behind};
pub(crate) use variables::next_variable;

use crate::{
    LineIndex, ParseOptions, TextRange,
    parse::Need,
    spelling::{WordRule, is_word},
    tree::{Abi, Mode, ProfileKind, Rule, Value},
};

/// A policy text with all it includes, ready to be judged and compiled.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// The profiles, children and hats behind their parent.
    pub profiles: Vec<FlatProfile>,
    /// The files that took part; index 0 is the text itself, named by an empty string.
    pub files: Vec<String>,
    /// The abi rule that applies to the text, when it has one.
    pub abi: Option<Abi>,
    /// What was wrong. Nothing may be compiled when one of them is an error.
    pub diagnostics: Vec<Diagnostic>,
    /// Constructs that need a release newer than 3.0.
    pub needs: Vec<Need>,
    /// Includes in the old spelling `#include`.
    pub hash_includes: Vec<Origin>,
    /// Variables that the text itself assigns and nothing uses, with the place of their assignment.
    pub unused_variables: Vec<(String, Origin)>,
}

impl Unit {
    /// Whether no diagnostic is an error.
    pub fn is_ok(&self) -> bool {
        self.diagnostics.iter().all(|d| d.severity != Severity::Error)
    }

    /// The profile of this full name (`parent//child`).
    pub fn profile(&self, name: &str) -> Option<&FlatProfile> {
        self.profiles.iter().find(|p| p.name == name)
    }

    /// `file:line` of an origin, `line` alone in the text itself; `text` is that text.
    pub fn place(&self, origin: Origin, text: &str) -> String {
        match self.files.get(origin.file as usize) {
            Some(file) if origin.file > 0 => format!("{file}:{}", origin.line),
            _ => LineIndex::new(text).span(origin.range).line.to_string(),
        }
    }
}

/// A profile, child or hat with everything it says.
#[derive(Clone, Debug)]
pub struct FlatProfile {
    /// The full name without the namespace: `parent//child`.
    pub name: String,
    /// The policy namespace.
    pub namespace: Option<String>,
    /// Index of the parent in [`Unit::profiles`].
    pub parent: Option<usize>,
    /// What kind it is.
    pub kind: ProfileKind,
    /// The programs it attaches to, as globs.
    pub attachments: Vec<String>,
    /// The flags.
    pub flags: Vec<String>,
    /// The rules, prefixes of blocks included, variables expanded.
    pub rules: Vec<FlatRule>,
    /// The includes of the body, nested ones as well.
    pub includes: Vec<(String, Origin)>,
    /// Where the header stands.
    pub origin: Origin,
}

impl FlatProfile {
    /// The mode, `None` without a mode flag.
    pub fn mode(&self) -> Option<Mode> {
        use Mode::{Complain, DefaultAllow, Enforce, Kill, Prompt, Unconfined};
        [Enforce, Complain, Kill, Unconfined, Prompt, DefaultAllow]
            .into_iter()
            .find(|m| self.flags.iter().any(|f| f == m.as_str()))
    }
}

/// A rule without variables.
#[derive(Clone, Debug)]
pub struct FlatRule {
    /// The rule; a rule whose path has several expansions gives several of these.
    pub rule: Arc<Rule>,
    /// The number of the written rule, the same for all its expansions.
    pub source: usize,
    /// Where it was written.
    pub origin: Origin,
}

/// Where something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Index into [`Unit::files`].
    pub file: u32,
    /// The place in that file.
    pub range: TextRange,
    /// The line in that file, 0 when the file is the text itself (whose caller can compute it).
    pub line: u32,
}

/// Reads a text and all it includes, and checks everything the real parser checks: syntax, variables,
/// globs, duplicate profiles, and conflicting ways to execute one path.
///
/// ```
/// use spo_apparmor::{NoIncludes, ParseOptions, load};
///
/// let unit = load("profile p {\n  /etc/** r,\n  /a ix,\n  /a px,\n}\n", &NoIncludes, ParseOptions::default());
/// assert_eq!(unit.diagnostics[0].code, "exec-conflict");
/// ```
pub fn load(text: &str, resolver: &dyn Resolver, options: ParseOptions) -> Unit {
    load_cached(text, resolver, options, &mut IncludeCache::new())
}

/// The same for many texts that include the same files: each file is parsed once.
pub fn load_cached(
    text: &str,
    resolver: &dyn Resolver,
    options: ParseOptions,
    cache: &mut IncludeCache,
) -> Unit {
    let parsed = crate::parse(text, options);
    let mut unit = flatten::flatten(text, parsed, resolver, options, cache);
    if unit.is_ok() {
        check::check(&mut unit, text);
    }
    unit
}

/// A diagnostic at an origin.
pub(crate) fn diagnostic_at(
    severity: Severity,
    code: &str,
    message: String,
    origin: Origin,
    files: &[String],
    text: &str,
) -> Diagnostic {
    if origin.file == 0 {
        let span = LineIndex::new(text).span(origin.range);
        return Diagnostic::new(severity, code, FieldPath::root(), message).with_span(span);
    }
    let file = files.get(origin.file as usize).map_or("", String::as_str);
    Diagnostic::new(severity, code, FieldPath::root(), format!("{file}:{}: {message}", origin.line))
}

/// A value without quotes and position, as rules of a unit hold it.
pub(crate) fn plain(text: String, range: TextRange) -> Value {
    let quoted = !is_word(&text, WordRule::Id);
    Value { text, quoted, range }
}
