//! Whether every statement is one, looks as it must (`forms`), and stands where it may (`place`).
//!
//! Source of the rules: the CIL reference guide of the SELinux userspace and what `secilc` accepts. This is the
//! compiler's "build" step: it needs no name to resolve.

use spo_model::{Diagnostic, FieldPath};

use super::{
    MAX_NAME,
    forms::{Arg, FORMS},
    place::{MAX_NESTING, Place},
    shapes::{
        Checked, Fault, address, boolean_expression, class_permissions, constraint, context, decimal, level,
        names, number, numbers, range, set_expression,
    },
    symbol::{Symbol, word},
    tree::{Forest, View, brief},
};

/// The release of the compiler whose rules apply, where releases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The `4` of release 3.4.
    pub minor: u8,
}

impl Version {
    /// Release 3.4, of Debian 12.
    pub const V3_4: Self = Self { minor: 4 };
    /// Release 3.11.
    pub const V3_11: Self = Self { minor: 11 };
}

impl Default for Version {
    /// The newest release known.
    fn default() -> Self {
        Self::V3_11
    }
}

/// Checks the form of every statement.
///
/// With `dots`, declared names may hold dots and there are no blocks, as the compiler's option `-Q` has it.
///
/// # Errors
/// One diagnostic per statement at fault, at most 100.
pub fn check(forest: &Forest<'_>, version: Version, dots: bool) -> Result<(), Vec<Diagnostic>> {
    let mut checker = Checker { version, dots, found: Vec::new() };
    for statement in forest.all_statements() {
        checker.statement(statement, Place::default());
    }
    if checker.found.is_empty() { Ok(()) } else { Err(checker.found) }
}

/// Whether a word is the keyword of a statement.
pub(crate) fn is_statement(text: &str) -> bool {
    FORMS.iter().any(|f| word::ALL[f.keyword.index()] == text)
        || matches!(
            text,
            "true" | "false" | "block" | "optional" | "in" | "macro" | "booleanif" | "tunableif"
        )
}

/// Whether a statement of this keyword holds statements.
pub(crate) fn is_container(keyword: Symbol) -> bool {
    matches!(
        keyword,
        word::BLOCK | word::OPTIONAL | word::IN | word::MACRO | word::BOOLEANIF | word::TUNABLEIF
    )
}

/// The parts of an `in` statement: whether it acts after inheritance, and the name of its block.
pub(crate) fn in_parts<'f, 'a>(view: View<'f, 'a>) -> Option<(bool, View<'f, 'a>, usize)> {
    let mut parts = view.children().skip(1);
    let first = parts.next()?;
    match first.atom()? {
        word::AFTER | word::BEFORE => {
            let name = parts.next()?;
            name.atom()?;
            Some((first.atom() == Some(word::AFTER), name, 3))
        }
        _ => Some((false, first, 2)),
    }
}

/// Whether a text can be the name of something: a letter, then letters, digits, `_` and `-` (`cil_verify_name`).
pub(crate) fn is_identifier(text: &str, dots: bool) -> bool {
    text.len() <= MAX_NAME
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-') || dots && b == b'.')
}

const MAX_FOUND: usize = 100;

struct Checker {
    version: Version,
    dots: bool,
    found: Vec<Diagnostic>,
}

impl Checker {
    fn statement<'f, 'a>(&mut self, view: View<'f, 'a>, place: Place) {
        if self.found.len() >= MAX_FOUND {
            return;
        }
        if let Err(Fault(at, message)) = self.try_statement(view, place) {
            let d = Diagnostic::error("cil-form", FieldPath::root(), message).with_span(at.span());
            self.found.push(match help(view) {
                Some(help) => d.with_help(help),
                None => d,
            });
        }
    }

    fn try_statement<'f, 'a>(&mut self, view: View<'f, 'a>, place: Place) -> Checked<'f, 'a> {
        if !view.is_list() {
            return Err(Fault(view, format!("a statement is a list, not the word {:?}", brief(view.text()))));
        }
        if place.depth > MAX_NESTING {
            return Err(Fault(view, format!("more than {MAX_NESTING} containers inside one another")));
        }
        let Some(keyword) = view.head() else {
            return Err(Fault(view, "a statement starts with a keyword".to_owned()));
        };
        if let Some(place) = place.refuses(keyword, self.version) {
            let text = word::ALL.get(keyword.index()).unwrap_or(&"this");
            return Err(Fault(view, format!("{text:?} may not stand inside {place}")));
        }
        if self.dots && matches!(keyword, word::BLOCK | word::BLOCKINHERIT | word::BLOCKABSTRACT | word::IN) {
            return Err(Fault(view, "there are no blocks where names may hold dots".to_owned()));
        }
        match keyword {
            word::BLOCK => {
                self.argument(view, 1, Arg::Plain)?;
                self.body(view, 2, Place { block: true, ..place });
            }
            word::OPTIONAL => {
                self.argument(view, 1, Arg::Plain)?;
                self.body(view, 2, Place { optional: true, ..place });
            }
            word::IN => {
                let Some((after, _, body)) = in_parts(view) else {
                    return Err(Fault(view, "`in` wants the name of a block".to_owned()));
                };
                // The compiler counts parts, and takes `in before x` for complete.
                if view.children().nth(2).is_none() {
                    return Err(Fault(view, "`in` wants at least one statement".to_owned()));
                }
                self.body(view, body, Place { in_: true, in_after: after, ..place });
            }
            word::MACRO => {
                self.argument(view, 1, Arg::Plain)?;
                self.parameters(view)?;
                self.body(view, 3, Place { macro_: true, ..place });
            }
            word::BOOLEANIF => self.conditional(view, Place { boolean: true, ..place })?,
            word::TUNABLEIF => self.conditional(view, Place { tunable: true, ..place })?,
            word::SRC_INFO => {}
            _ => self.form(view, keyword)?,
        }
        Ok(())
    }

    fn body(&mut self, view: View<'_, '_>, skip: usize, place: Place) {
        let place = Place { depth: place.depth + 1, ..place };
        for child in view.children().skip(skip) {
            self.statement(child, place);
        }
    }

    fn conditional<'f, 'a>(&mut self, view: View<'f, 'a>, place: Place) -> Checked<'f, 'a> {
        let Some(condition) = view.children().nth(1) else {
            return Err(Fault(view, "a condition and at least one branch are missing".to_owned()));
        };
        boolean_expression(condition)?;
        let (mut yes, mut no) = (false, false);
        for branch in view.children().skip(2) {
            let seen = match branch.head() {
                Some(word::TRUE) => &mut yes,
                Some(word::FALSE) => &mut no,
                _ => return Err(Fault(branch, "a branch is `(true …)` or `(false …)`".to_owned())),
            };
            if std::mem::replace(seen, true) {
                return Err(Fault(branch, "the branch is there twice".to_owned()));
            }
            if branch.children().nth(1).is_none() {
                return Err(Fault(branch, "the branch is empty".to_owned()));
            }
            self.body(branch, 1, place);
        }
        if yes || no { Ok(()) } else { Err(Fault(view, "at least one branch is missing".to_owned())) }
    }

    fn parameters<'f, 'a>(&self, view: View<'f, 'a>) -> Checked<'f, 'a> {
        let Some(list) = view.children().nth(2).filter(|v| v.is_list()) else {
            return Err(Fault(view, "a macro wants a list of parameters".to_owned()));
        };
        let mut names = Vec::new();
        for parameter in list.children() {
            let parts: Vec<_> = parameter.children().collect();
            let [kind, name] = parts[..] else {
                return Err(Fault(parameter, "a parameter is `(kind name)`".to_owned()));
            };
            let Some(declared) = kind.atom().and_then(parameter_kind) else {
                return Err(Fault(kind, format!("{:?} is no kind of parameter", brief(kind.text()))));
            };
            // What a parameter stands for decides which words are not for use, as for a declaration.
            let arg = match declared {
                ParameterKind::Type => Arg::Type,
                ParameterKind::Role | ParameterKind::User => Arg::Name,
                ParameterKind::Category | ParameterKind::CategorySet => Arg::Cat,
                ParameterKind::Boolean => Arg::Bool,
                _ => Arg::Plain,
            };
            let reserved = name.atom().is_some_and(|s| self.is_reserved(s, arg));
            if reserved || !is_identifier(name.text(), false) {
                return Err(Fault(name, format!("{:?} is no name", brief(name.text()))));
            }
            if names.contains(&name.atom()) {
                return Err(Fault(name, format!("the parameter {:?} is there twice", brief(name.text()))));
            }
            names.push(name.atom());
        }
        Ok(())
    }

    fn form<'f, 'a>(&self, view: View<'f, 'a>, keyword: Symbol) -> Checked<'f, 'a> {
        let given = view.children().count() - 1;
        let mut forms =
            FORMS.iter().filter(|f| f.keyword == keyword && f.since <= self.version.minor).peekable();
        if forms.peek().is_none() {
            let head = view.children().next().unwrap_or(view);
            return Err(Fault(head, format!("{:?} is no statement", brief(head.text()))));
        }
        let mut counts = Vec::new();
        let mut fault = None;
        for form in forms {
            if form.args.len() != given {
                counts.push(form.args.len().to_string());
                continue;
            }
            let result =
                form.args.iter().zip(view.children().skip(1)).try_for_each(|(&a, v)| self.check(v, a));
            match result {
                Ok(()) => return Ok(()),
                Err(f) => fault = Some(f),
            }
        }
        Err(fault.unwrap_or_else(|| {
            let keyword = word::ALL.get(keyword.index()).unwrap_or(&"");
            Fault(view, format!("{keyword:?} wants {} arguments, found {given}", counts.join(" or ")))
        }))
    }

    fn argument<'f, 'a>(&self, view: View<'f, 'a>, index: usize, arg: Arg) -> Checked<'f, 'a> {
        match view.children().nth(index) {
            Some(child) => self.check(child, arg),
            None => Err(Fault(view, "a name is missing".to_owned())),
        }
    }

    fn check<'f, 'a>(&self, view: View<'f, 'a>, arg: Arg) -> Checked<'f, 'a> {
        let fail = |what: &str| Err(Fault(view, what.to_owned()));
        match arg {
            Arg::Name | Arg::Type | Arg::Cat | Arg::Bool | Arg::Class | Arg::Plain => {
                if view.is_list() || !is_identifier(view.text(), self.dots) {
                    return Err(Fault(view, format!("{:?} is no name", brief(view.text()))));
                }
                if view.atom().is_some_and(|s| self.is_reserved(s, arg)) {
                    return Err(Fault(view, format!("{:?} is a word of the language", view.text())));
                }
                Ok(())
            }
            Arg::Ref | Arg::Text => {
                if view.is_list() {
                    fail("a name, not a list, belongs here")
                } else {
                    Ok(())
                }
            }
            Arg::One(words) => match view.atom() {
                Some(w) if words.contains(&w) => Ok(()),
                _ => {
                    let wanted: Vec<_> = words.iter().map(|w| word::ALL[w.index()]).collect();
                    Err(Fault(view, format!("one of {} belongs here", wanted.join(", "))))
                }
            },
            Arg::Set => set_expression(view, false),
            Arg::Cats => set_expression(view, true),
            Arg::CatList => {
                if view.is_list() {
                    set_expression(view, true)
                } else {
                    fail("a list of categories belongs here")
                }
            }
            Arg::ClassPerms => class_permissions(view),
            Arg::PermX => self.extended(view),
            Arg::Context => context(view),
            Arg::ContextOrNone if view.is_list() && view.children().next().is_none() => Ok(()),
            Arg::ContextOrNone => context(view),
            Arg::Range => range(view),
            Arg::Level => level(view),
            Arg::Ip => {
                let text = if view.is_list() {
                    let mut inner = view.children();
                    match (inner.next(), inner.next()) {
                        (Some(a), None) => a,
                        _ => return fail("an address in parentheses belongs here"),
                    }
                } else {
                    return Ok(());
                };
                address(text)
            }
            Arg::Address => address(view),
            Arg::Decimals(max) => numbers(view, max, decimal),
            Arg::Numbers(max) => numbers(view, max, number),
            Arg::Perms | Arg::SomePerms => {
                names(view, usize::from(matches!(arg, Arg::SomePerms)))?;
                view.children().try_for_each(|name| self.check(name, Arg::Name))
            }
            Arg::NameOrNames if view.is_list() => names(view, 1),
            Arg::NameOrNames => Ok(()),
            Arg::Order | Arg::Ordered => {
                names(view, 1)?;
                if matches!(arg, Arg::Ordered) && view.head() == Some(word::UNORDERED) {
                    return fail("only classes can be unordered");
                }
                let mut rest = view.children();
                if rest.clone().next().and_then(View::atom) == Some(word::UNORDERED) {
                    rest.next();
                }
                match rest.find(|v| v.atom() == Some(word::UNORDERED)) {
                    Some(v) => Err(Fault(v, "`unordered` stands first in its list".to_owned())),
                    None => Ok(()),
                }
            }
            Arg::Constraint { third } => constraint(view, third),
            Arg::Arguments => {
                if view.is_list() {
                    Ok(())
                } else {
                    fail("a list of arguments belongs here")
                }
            }
        }
    }

    fn is_reserved(&self, symbol: Symbol, arg: Arg) -> bool {
        let set = matches!(symbol, word::ALL_OF | word::AND | word::OR | word::XOR | word::NOT);
        match arg {
            Arg::Type => {
                let other = self.version.minor >= 6 && matches!(symbol, word::NOTSELF | word::OTHER);
                set || symbol == word::SELF || other
            }
            Arg::Cat => set || symbol == word::RANGE,
            Arg::Bool => set && symbol != word::ALL_OF || matches!(symbol, word::EQ | word::NEQ),
            Arg::Class => symbol == word::UNORDERED,
            Arg::Name => set,
            _ => false,
        }
    }

    fn extended<'f, 'a>(&self, view: View<'f, 'a>) -> Checked<'f, 'a> {
        if !view.is_list() {
            return Ok(());
        }
        let parts: Vec<_> = view.children().collect();
        let [kind, class, numbers] = parts[..] else {
            return Err(Fault(view, "`(ioctl class (numbers))` belongs here".to_owned()));
        };
        match kind.atom() {
            Some(word::IOCTL) => {}
            Some(word::NLMSG) if self.version.minor >= 8 => {}
            _ => return Err(Fault(kind, "only `ioctl` and `nlmsg` have extended permissions".to_owned())),
        }
        if class.is_list() {
            return Err(Fault(class, "the name of a class belongs here".to_owned()));
        }
        if !numbers.is_list() {
            return Err(Fault(numbers, "a list of numbers belongs here".to_owned()));
        }
        set_expression(numbers, true)
    }
}

/// What a macro takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterKind {
    Type,
    Role,
    User,
    Sensitivity,
    Category,
    CategorySet,
    Level,
    LevelRange,
    Class,
    ClassMap,
    ClassPermission,
    Boolean,
    IpAddr,
    Text,
}

pub(crate) fn parameter_kind(symbol: Symbol) -> Option<ParameterKind> {
    Some(match symbol {
        word::TYPE => ParameterKind::Type,
        word::ROLE => ParameterKind::Role,
        word::USER => ParameterKind::User,
        word::SENSITIVITY => ParameterKind::Sensitivity,
        word::CATEGORY => ParameterKind::Category,
        word::CATEGORYSET => ParameterKind::CategorySet,
        word::LEVEL => ParameterKind::Level,
        word::LEVELRANGE => ParameterKind::LevelRange,
        word::CLASS => ParameterKind::Class,
        word::CLASSMAP => ParameterKind::ClassMap,
        word::CLASSPERMISSION => ParameterKind::ClassPermission,
        word::BOOLEAN => ParameterKind::Boolean,
        word::IPADDR => ParameterKind::IpAddr,
        word::STRING | word::NAME => ParameterKind::Text,
        _ => return None,
    })
}

/// The nearest keyword of an unknown one.
fn help(view: View<'_, '_>) -> Option<String> {
    let head = view.children().next()?;
    let symbol = head.atom()?;
    if symbol.index() < word::ALL.len() && is_statement(head.text()) {
        return None;
    }
    let names = FORMS.iter().map(|f| word::ALL[f.keyword.index()]);
    crate::suggest::nearest(
        head.text(),
        names.chain(["block", "optional", "in", "macro", "booleanif", "tunableif"]),
    )
    .map(|n| format!("did you mean {n:?}?"))
}

#[cfg(test)]
mod tests {
    use super::{super::shapes::number, *};

    fn faults(text: &str) -> Vec<String> {
        let forest = Forest::parse(text).unwrap();
        check(&forest, Version::V3_4, false)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_fault_names_the_place_and_the_way_out() {
        assert_eq!(
            faults("(type a)\n(alow a a (file (read)))"),
            ["2:2: error[cil-form]: \"alow\" is no statement (did you mean \"allow\"?)"]
        );
        assert_eq!(
            faults("(allow a b (file (not read write)))"),
            ["1:18: error[cil-form]: the operator \"not\" takes 1 operands, found 2"]
        );
    }

    #[test]
    fn numbers_are_read_as_the_c_library_reads_them() {
        assert_eq!(number("010"), Some(8));
        assert_eq!(number("0x10"), Some(16));
        assert_eq!(number("10"), Some(10));
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("08"), None);
        assert_eq!(number("+1"), None);
        assert_eq!(number(""), None);
    }
}
