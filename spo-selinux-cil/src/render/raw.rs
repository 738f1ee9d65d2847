//! RawSelinuxProfile: CIL a user wrote, admitted by the real parser.

use std::collections::BTreeSet;

use spo_model::{Diagnostic, FieldPath, State, selinux::RawSelinuxProfileSpec};

use super::{
    BASE_TEMPLATE, Item, Options, Rendered, alias_block, block, check_names, check_template, disabled, finish,
};
use crate::syntax::{self, Forest, View, brief, word};

/// Most bytes of raw policy (`maxLength` of the CRD field).
const MAX_POLICY: usize = 500_000;

/// Renders a RawSelinuxProfile: its statements inside a block of the profile's name.
///
/// A block is no boundary in CIL, so what may be in it is: rules whose subject is a type of this block; types,
/// attributes, aliases, permission sets, booleans, macros, calls and optionals of its own; `blockinherit` of allowed
/// templates. Comments are not carried into the module.
///
/// # Errors
/// Diagnostics with the place in `spec.policy`: text that is not CIL, statements with effects outside the block,
/// rules about other subjects, and a policy that does not define the announced type `<name>.process`.
pub fn render_raw(
    name: &str,
    namespace: Option<&str>,
    spec: &RawSelinuxProfileSpec,
    options: &Options,
) -> Result<Rendered, Vec<Diagnostic>> {
    let path = FieldPath::of("spec.policy");
    let mut found = check_names(name, namespace, options);
    if spec.state == State::Disabled {
        found.push(disabled());
    }
    let policy = spec.policy.as_deref().unwrap_or("");
    if policy.trim().is_empty() {
        found.push(Diagnostic::error("selinux-empty-policy", path.clone(), "the policy is empty"));
    }
    if policy.len() > MAX_POLICY {
        let message = format!("the policy has {} bytes, at most {MAX_POLICY} are taken", policy.len());
        found.push(Diagnostic::error("selinux-policy-size", path.clone(), message));
    }
    if !found.is_empty() {
        return Err(found);
    }
    let at_field = |d: Diagnostic| Diagnostic { path: path.clone(), ..d };
    let forest = Forest::parse(policy).map_err(|d| vec![at_field(d)])?;
    syntax::check(&forest, options.version, false)
        .map_err(|all| all.into_iter().map(at_field).collect::<Vec<_>>())?;

    let mut admission = Admission { name, options, path: &path, scopes: Vec::new(), found: Vec::new() };
    admission.body(&forest.all_statements().collect::<Vec<_>>(), BTreeSet::new());
    let mut found = admission.found;
    let inherits: Vec<&str> = forest
        .all_statements()
        .filter(|s| s.head() == Some(word::BLOCKINHERIT))
        .filter_map(|s| s.children().nth(1).map(View::text))
        .collect();
    let announced = inherits.contains(&BASE_TEMPLATE) || declares(&forest, word::PROCESS);
    if !announced {
        let message =
            format!("the policy does not define the type `process`, so `{name}.process` would not exist");
        found.push(
            Diagnostic::error("selinux-raw-no-type", path.clone(), message)
                .with_help("add `(blockinherit container)`"),
        );
    }
    if !found.is_empty() {
        return Err(found);
    }
    let mut items = vec![block(name, forest.all_statements().map(Item::of))];
    // An alias of a type that is not there would not compile: `socket` comes with the base template only.
    let socket = forest.symbols().get("socket").is_some_and(|s| declares(&forest, s));
    if inherits.contains(&BASE_TEMPLATE) || socket {
        items.extend(alias_block(name, namespace));
    } else if let Some(Item::List(mut all)) = alias_block(name, namespace) {
        all.truncate(4);
        items.push(Item::List(all));
    }
    finish(name, &items, Vec::new())
}

fn declares(forest: &Forest<'_>, name: syntax::Symbol) -> bool {
    forest
        .all_statements()
        .any(|s| s.head() == Some(word::TYPE) && s.children().nth(1).and_then(View::atom) == Some(name))
}

/// The allow list of statements, and who rules may be about.
struct Admission<'o> {
    name: &'o str,
    options: &'o Options,
    path: &'o FieldPath,
    /// Names of types the enclosing containers declare or take as parameters, outermost first.
    scopes: Vec<BTreeSet<String>>,
    found: Vec<Diagnostic>,
}

impl Admission<'_> {
    /// Containers nest at most as deep as the form check allows. What an optional declares is own inside it only:
    /// were it dropped, the name would mean a type of the policy outside.
    fn body(&mut self, statements: &[View<'_, '_>], mut own: BTreeSet<String>) {
        for s in statements {
            match s.head() {
                Some(word::TYPE | word::TYPEATTRIBUTE | word::TYPEALIAS) => {
                    own.extend(s.children().nth(1).map(|n| n.text().to_owned()));
                }
                Some(word::BLOCKINHERIT) if s.children().nth(1).map(View::text) == Some(BASE_TEMPLATE) => {
                    own.extend(["process", "socket"].map(str::to_owned));
                }
                _ => {}
            }
        }
        self.scopes.push(own);
        for &s in statements {
            self.statement(s);
        }
        self.scopes.pop();
    }

    fn statement(&mut self, s: View<'_, '_>) {
        let args: Vec<_> = s.children().skip(1).collect();
        let first = args.first().copied().unwrap_or(s);
        match s.head() {
            Some(
                word::TYPE
                | word::TYPEATTRIBUTE
                | word::TYPEALIAS
                | word::CLASSPERMISSION
                | word::PERMISSIONX
                | word::BOOLEAN
                | word::CLASSPERMISSIONSET,
            ) => {}
            Some(word::TYPEALIASACTUAL) => {
                self.own(first);
                self.own(args.get(1).copied().unwrap_or(s));
            }
            Some(
                word::ALLOW
                | word::DONTAUDIT
                | word::AUDITALLOW
                | word::ALLOWX
                | word::AUDITALLOWX
                | word::DONTAUDITX
                | word::TYPEPERMISSIVE,
            ) => self.own(first),
            Some(word::TYPETRANSITION) => {
                self.own(first);
                if let Some(&result) = args.last() {
                    self.own(result);
                }
            }
            // A type may join an attribute of the policy only if it is this block's; what members that brings is
            // checked on the expanded rules.
            Some(word::TYPEATTRIBUTESET) => match args.get(1) {
                Some(&members) => self.members(members),
                None => self.refuse(s),
            },
            Some(word::ROLETYPE) => match args.get(1) {
                Some(&member) => self.own(member),
                None => self.refuse(s),
            },
            Some(word::BLOCKINHERIT) => {
                if let Err(d) = check_template(first.text(), self.path, self.options) {
                    self.found.push(d.with_span(first.span()));
                }
            }
            Some(word::CALL) => self.call(first, args.get(1).copied()),
            Some(word::OPTIONAL) => self.body(&args[1..], BTreeSet::new()),
            Some(word::MACRO) => {
                let parameters = args.get(1).into_iter().flat_map(|l| l.children());
                let types = parameters.filter(|p| p.head() == Some(word::TYPE));
                let names = types.filter_map(|p| p.children().nth(1)).map(|n| n.text().to_owned()).collect();
                self.body(&args[2..], names);
            }
            Some(word::BOOLEANIF) => {
                for branch in &args[1..] {
                    self.body(&branch.children().skip(1).collect::<Vec<_>>(), BTreeSet::new());
                }
            }
            _ => self.refuse(s),
        }
    }

    /// A macro of this policy, called by its plain name, with own types as arguments.
    fn call(&mut self, name: View<'_, '_>, arguments: Option<View<'_, '_>>) {
        if name.text().contains('.') || !self.is_macro(name) {
            self.fail(name, format!("{:?} is no macro of this policy", brief(name.text())));
        }
        // Which parameter is a subject is not known here, so every plain name that is passed must be harmless as one.
        for argument in arguments.into_iter().flat_map(View::children) {
            self.own(argument);
        }
    }

    fn is_macro(&self, name: View<'_, '_>) -> bool {
        let found = |s: View<'_, '_>| {
            s.head() == Some(word::MACRO) && s.children().nth(1).and_then(View::atom) == name.atom()
        };
        name.forest().all_statements().any(found)
    }

    fn members(&mut self, members: View<'_, '_>) {
        if !members.is_list() {
            return self.own(members);
        }
        for member in members.children() {
            if member.is_list() {
                self.fail(member, "only own types may be listed as members".to_owned());
            } else {
                self.own(member);
            }
        }
    }

    /// A name that resolves to a type of this block, whatever the rest of the policy declares.
    fn own(&mut self, name: View<'_, '_>) {
        let text = name.text();
        let absolute = text.trim_start_matches('.').strip_prefix(self.name).and_then(|r| r.strip_prefix('.'));
        let own = match absolute {
            Some(inner) => self.scopes.first().is_some_and(|s| s.contains(inner)),
            None => self.scopes.iter().any(|s| s.contains(text)),
        };
        if !own {
            let message = format!("{:?} is no type of this profile", brief(text));
            self.fail(name, message);
        }
    }

    fn refuse(&mut self, s: View<'_, '_>) {
        let keyword = s.children().next().map_or("", View::text);
        self.fail(s, format!("the statement {:?} may not be used in a profile", brief(keyword)));
    }

    fn fail(&mut self, at: View<'_, '_>, message: String) {
        if self.found.len() < 100 {
            self.found.push(
                Diagnostic::error("selinux-raw-statement", self.path.clone(), message).with_span(at.span()),
            );
        }
    }
}
