//! Declarations inside `tunableif`, whichever branch is taken.
//!
//! The compiler enters what is declared when it builds the tree, before it looks at tunables; so a branch that is not
//! taken must not declare a thing twice either. Each branch has a table of its own, as blocks and macros have; optionals
//! have none (`cil_get_symtab` of libsepol's `cil.c`).

use std::collections::HashMap;

use super::{
    Fault, Options, Resolved,
    expand::{declared_by, name_of},
    fault,
    frames::{DeclKind, Ns},
};
use crate::syntax::{self, Symbol, View, word};

type Scope = HashMap<(Ns, Symbol), DeclKind>;

/// Checks the branches of a `tunableif` and of everything inside.
///
/// # Errors
/// The first thing that is declared twice. The form check bounds the recursion.
pub(super) fn check<'f, 'a>(tunable: View<'f, 'a>, options: &Options) -> Resolved<()> {
    tunable.children().skip(2).try_for_each(|branch| body(branch, 1, &mut Scope::new(), options))
}

fn body(container: View<'_, '_>, skip: usize, scope: &mut Scope, options: &Options) -> Resolved<()> {
    for statement in container.children().skip(skip) {
        let Some(keyword) = statement.head() else { continue };
        let (ns, kind) = match keyword {
            word::BLOCK => (Ns::Block, DeclKind::Block),
            word::MACRO => (Ns::Block, DeclKind::Macro),
            word::OPTIONAL => (Ns::Block, DeclKind::Optional),
            word::TUNABLEIF => {
                check(statement, options)?;
                continue;
            }
            word::IN => {
                let skip = syntax::in_parts(statement).map_or(2, |p| p.2);
                body(statement, skip, &mut Scope::new(), options)?;
                continue;
            }
            _ => match declared_by(keyword) {
                Some(declared) => declared,
                None => continue,
            },
        };
        let name = name_of(statement);
        if let Some(old) = scope.insert((ns, name), kind)
            && !options.may_repeat(ns, kind, old)
        {
            let text = statement.children().nth(1).map_or("", View::text);
            let message = format!("{:?} is declared already in this branch", syntax::brief(text));
            return fault(Fault::new(statement.id(), "cil-duplicate", message));
        }
        match kind {
            DeclKind::Block => body(statement, 2, &mut Scope::new(), options)?,
            DeclKind::Macro => body(statement, 3, &mut Scope::new(), options)?,
            DeclKind::Optional => body(statement, 2, scope, options)?,
            _ => {}
        }
    }
    Ok(())
}
