//! From trees to a [`Policy`]: blocks, inheritance, macros, optionals, names, sets, and the compiler's checks.
//!
//! ```text
//! Forest ──grammar──► well-formed statements
//!        ──expand───► (node, frame) pairs: tunables chosen, `in` placed, blocks inherited, macros called
//!        ──optionals► optionals with a name that does not resolve are dropped as a whole, to a fixed point
//!        ──facts────► types, sets, rules, contexts, all numbered
//!        ──verify───► the rules of a valid policy; conflicts, neverallow, bounds
//! ```
//!
//! The order of the passes is the compiler's (`cil_resolve_ast.c`). Growth is bounded: inheritance and calls may
//! not make a policy more than [`MAX_GROWTH`] times as long as it is written.

mod branches;
mod classes;
mod constraints;
mod expand;
mod facts;
mod frames;
mod labels;
mod levels;
mod names;
mod neverallow;
mod numbering;
mod optionals;
mod rules;
mod sets;
mod verify;

pub(crate) use sets::evaluate;

use frames::{DeclKind, Ns};
use spo_model::{Diagnostic, FieldPath};

use crate::{
    policy::Policy,
    syntax::{self, Forest, NodeId, Version},
};

/// How much longer than written a policy may become, beyond a million statements.
pub const MAX_GROWTH: usize = 10;

/// How a policy is resolved; the defaults are the compiler's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The release of the compiler whose verdict is wanted.
    pub version: Version,
    /// Types, attributes and roles may be declared more than once (`-m`).
    pub multiple_declarations: bool,
    /// Declared names may hold dots and there are no blocks (`-Q`).
    pub qualified_names: bool,
    /// Whether `neverallow` rules and type bounds are checked (not `-N`).
    pub neverallow: bool,
    /// Whether a whole policy is wanted: initial SIDs and at least one rule must be there. Without, the forest may
    /// be a fragment.
    pub complete: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::default(),
            multiple_declarations: false,
            qualified_names: false,
            neverallow: true,
            complete: true,
        }
    }
}

impl Options {
    /// The same options for another release of the compiler.
    #[must_use]
    pub fn for_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The same options with repeated declarations allowed or not.
    #[must_use]
    pub fn with_multiple_declarations(mut self, allowed: bool) -> Self {
        self.multiple_declarations = allowed;
        self
    }

    /// The same options with qualified names allowed or not.
    #[must_use]
    pub fn with_qualified_names(mut self, allowed: bool) -> Self {
        self.qualified_names = allowed;
        self
    }

    /// The same options with `neverallow` and bounds checked or not.
    #[must_use]
    pub fn with_neverallow(mut self, checked: bool) -> Self {
        self.neverallow = checked;
        self
    }

    /// The same options with completeness checked or not.
    #[must_use]
    pub fn with_complete(mut self, complete: bool) -> Self {
        self.complete = complete;
        self
    }

    /// Whether something may be declared again (`cil_is_datum_multiple_decl`).
    fn may_repeat(&self, ns: Ns, kind: DeclKind, old: DeclKind) -> bool {
        use DeclKind::{Optional, Role, RoleAttribute, Type, TypeAttribute};
        let multiple =
            self.multiple_declarations && matches!(kind, Type | TypeAttribute | Role | RoleAttribute);
        let capability = ns == Ns::PolicyCap && self.version.minor >= 9;
        kind == old && (multiple || capability || kind == Optional)
    }
}

/// Resolves all files of a forest as one policy.
///
/// # Errors
/// Diagnostics with the place in the text and, for names, the nearest name. Codes say what kind of check failed:
/// `cil-form`, `cil-duplicate`, `cil-resolve`, `cil-verify`, `cil-conflict`, `cil-neverallow`, `cil-bounds`.
pub fn resolve(forest: &Forest<'_>, options: &Options) -> Result<Policy, Vec<Diagnostic>> {
    syntax::check(forest, options.version, options.qualified_names)?;
    let mut resolver = expand::Resolver::new(forest, options);
    match resolver.run() {
        Ok(policy) => Ok(policy),
        Err(faults) => Err(faults.into_iter().map(|f| resolver.diagnostic(f)).collect()),
    }
}

/// Why a statement is refused. Small, because inside optionals faults are ordinary.
#[derive(Clone, Debug)]
struct Fault {
    at: NodeId,
    why: Why,
}

#[derive(Clone, Debug)]
enum Why {
    /// The name at the node is not declared.
    Unknown(Ns),
    /// The class at the node (by its text) has no such permission.
    Permission { class: String },
    /// Something else that is not there, in words.
    Missing(String),
    /// Any other fault: its code and what is wrong.
    Other(&'static str, String),
}

impl Fault {
    fn new(at: NodeId, code: &'static str, message: impl Into<String>) -> Self {
        Self { at, why: Why::Other(code, message.into()) }
    }

    fn resolve(at: NodeId, message: impl Into<String>) -> Self {
        Self::new(at, "cil-resolve", message)
    }

    /// Whether it is a name that is not declared: then an optional around it is dropped. Any other fault is one wherever
    /// it is.
    fn is_missing(&self) -> bool {
        !matches!(self.why, Why::Other(..))
    }

    fn verify(at: NodeId, message: impl Into<String>) -> Self {
        Self::new(at, "cil-verify", message)
    }
}

type Resolved<T> = Result<T, Box<Fault>>;

/// A fault as `Err`.
fn fault<T>(fault: Fault) -> Resolved<T> {
    Err(Box::new(fault))
}

impl expand::Resolver<'_, '_> {
    fn diagnostic(&self, fault: Fault) -> Diagnostic {
        let view = (!self.forest.is_empty()).then(|| self.forest.view(fault.at));
        let text = view.map_or("", |v| v.text());
        let (code, message, help) = match fault.why {
            Why::Unknown(ns) => {
                let message = format!("no {} {:?}", ns.noun(), syntax::brief(text));
                ("cil-resolve", message, self.suggest(ns, text))
            }
            Why::Permission { class } => {
                let message = format!("the class {class:?} has no permission {:?}", syntax::brief(text));
                ("cil-resolve", message, self.suggest_permission(&class, text))
            }
            Why::Missing(message) => ("cil-resolve", message, None),
            Why::Other(code, message) => (code, message, None),
        };
        let mut d = Diagnostic::error(code, FieldPath::root(), message);
        if let Some(view) = view {
            d = d.with_span(view.span());
            if let Some(name) = view.file().map(|f| self.forest.name(f)).filter(|n| !n.is_empty()) {
                d.path = d.path.key(name);
            }
        }
        match help {
            Some(near) => d.with_help(format!("did you mean {near:?}?")),
            None => d,
        }
    }
}
