//! Which statements there are, what each looks like, and where each may stand.
//!
//! Source of the rules: the CIL reference guide of the SELinux userspace and what `secilc` accepts. This is the
//! compiler's "build" step: it needs no name to resolve.

use spo_model::{Diagnostic, FieldPath};

use super::{
    MAX_NAME,
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

/// What one argument of a statement looks like.
#[derive(Clone, Copy)]
enum Arg {
    /// A declared name; the words a set expression gives a meaning are not for use.
    Name,
    /// A declared name that `self` is not for either.
    Type,
    /// A declared name that `range` is not for either.
    Cat,
    /// A declared name; the operators of conditions are not for use.
    Bool,
    /// A declared name that `unordered` is not for.
    Class,
    /// A declared name of something that is in no set.
    Plain,
    /// A name that is used.
    Ref,
    /// Any word or string.
    Text,
    /// One of some words.
    One(&'static [Symbol]),
    /// A name or a set expression.
    Set,
    /// A name, or a set expression that `range` may be part of.
    Cats,
    /// A list holding a set expression of categories.
    CatList,
    /// `(class (permissions))` or the name of a class permission.
    ClassPerms,
    /// `(ioctl class (numbers))` or the name of one.
    PermX,
    /// A name or `(user role type range)`.
    Context,
    /// As `Context`, or `()`.
    ContextOrNone,
    /// A name or `(low high)`.
    Range,
    /// A name or `(sensitivity categories?)`.
    Level,
    /// A name or `(address)`.
    Ip,
    /// An address.
    Address,
    /// A number or `(low high)`, up to a maximum.
    Numbers(u64),
    /// A list of declared names, perhaps empty.
    Perms,
    /// A name or a list of names.
    NameOrNames,
    /// A list of names, perhaps `unordered` in front.
    Order,
    /// A list of names in order.
    Ordered,
    /// A constraint expression, with third subjects or without.
    Constraint { third: bool },
    /// A list of arguments for a macro.
    Arguments,
}

struct Form {
    keyword: Symbol,
    args: &'static [Arg],
    /// First release that has the statement.
    since: u8,
}

const fn form(keyword: Symbol, args: &'static [Arg]) -> Form {
    Form { keyword, args, since: 0 }
}

const fn since(minor: u8, keyword: Symbol, args: &'static [Arg]) -> Form {
    Form { keyword, args, since: minor }
}

const BOOLS: Arg = Arg::One(&[word::TRUE, word::FALSE]);
const SIDES: Arg = Arg::One(&[word::SOURCE, word::TARGET]);
const FILE_TYPES: Arg = Arg::One(&[
    word::FILE,
    word::DIR,
    word::CHAR,
    word::BLOCK,
    word::SOCKET,
    word::PIPE,
    word::SYMLINK,
    word::ANY,
]);

/// Every statement that holds no other statement. A keyword may have several forms.
static FORMS: &[Form] = {
    use Arg::*;
    &[
        form(word::BLOCKABSTRACT, &[Ref]),
        form(word::BLOCKINHERIT, &[Ref]),
        form(word::CALL, &[Ref]),
        form(word::CALL, &[Ref, Arguments]),
        form(word::BOOLEAN, &[Bool, BOOLS]),
        form(word::TUNABLE, &[Bool, BOOLS]),
        form(word::ALLOW, &[Ref, Ref, ClassPerms]),
        form(word::AUDITALLOW, &[Ref, Ref, ClassPerms]),
        form(word::DONTAUDIT, &[Ref, Ref, ClassPerms]),
        form(word::NEVERALLOW, &[Ref, Ref, ClassPerms]),
        since(6, word::DENY, &[Ref, Ref, ClassPerms]),
        form(word::ALLOWX, &[Ref, Ref, PermX]),
        form(word::AUDITALLOWX, &[Ref, Ref, PermX]),
        form(word::DONTAUDITX, &[Ref, Ref, PermX]),
        form(word::NEVERALLOWX, &[Ref, Ref, PermX]),
        form(word::TYPETRANSITION, &[Ref, Ref, Ref, Ref]),
        form(word::TYPETRANSITION, &[Ref, Ref, Ref, Text, Ref]),
        form(word::TYPECHANGE, &[Ref, Ref, Ref, Ref]),
        form(word::TYPEMEMBER, &[Ref, Ref, Ref, Ref]),
        form(word::RANGETRANSITION, &[Ref, Ref, Ref, Range]),
        form(word::TYPE, &[Type]),
        form(word::TYPEATTRIBUTE, &[Type]),
        form(word::TYPEALIAS, &[Type]),
        form(word::TYPEALIASACTUAL, &[Ref, Ref]),
        form(word::TYPEATTRIBUTESET, &[Ref, Set]),
        form(word::EXPANDTYPEATTRIBUTE, &[NameOrNames, BOOLS]),
        form(word::TYPEBOUNDS, &[Ref, Ref]),
        form(word::TYPEPERMISSIVE, &[Ref]),
        since(9, word::TYPENEVERAUDIT, &[Ref]),
        form(word::ROLE, &[Name]),
        form(word::ROLEATTRIBUTE, &[Name]),
        form(word::ROLETYPE, &[Ref, Ref]),
        form(word::ROLEATTRIBUTESET, &[Ref, Set]),
        form(word::ROLEALLOW, &[Ref, Ref]),
        form(word::ROLETRANSITION, &[Ref, Ref, Ref, Ref]),
        form(word::ROLEBOUNDS, &[Ref, Ref]),
        form(word::USER, &[Name]),
        form(word::USERATTRIBUTE, &[Name]),
        form(word::USERATTRIBUTESET, &[Ref, Set]),
        form(word::USERROLE, &[Ref, Ref]),
        form(word::USERLEVEL, &[Ref, Level]),
        form(word::USERRANGE, &[Ref, Range]),
        form(word::USERBOUNDS, &[Ref, Ref]),
        form(word::USERPREFIX, &[Ref, Text]),
        form(word::SELINUXUSER, &[Text, Ref, Range]),
        form(word::SELINUXUSERDEFAULT, &[Ref, Range]),
        form(word::COMMON, &[Plain, Perms]),
        form(word::CLASS, &[Class, Perms]),
        form(word::CLASSCOMMON, &[Ref, Ref]),
        form(word::CLASSORDER, &[Order]),
        form(word::CLASSPERMISSION, &[Plain]),
        form(word::CLASSPERMISSIONSET, &[Ref, ClassPerms]),
        form(word::CLASSMAP, &[Plain, Perms]),
        form(word::CLASSMAPPING, &[Ref, Ref, ClassPerms]),
        form(word::PERMISSIONX, &[Cat, PermX]),
        form(word::CONSTRAIN, &[ClassPerms, Constraint { third: false }]),
        form(word::MLSCONSTRAIN, &[ClassPerms, Constraint { third: false }]),
        form(word::VALIDATETRANS, &[Ref, Constraint { third: true }]),
        form(word::MLSVALIDATETRANS, &[Ref, Constraint { third: true }]),
        form(word::SENSITIVITY, &[Plain]),
        form(word::SENSITIVITYALIAS, &[Plain]),
        form(word::SENSITIVITYALIASACTUAL, &[Ref, Ref]),
        form(word::SENSITIVITYORDER, &[Ordered]),
        form(word::CATEGORY, &[Cat]),
        form(word::CATEGORYALIAS, &[Cat]),
        form(word::CATEGORYALIASACTUAL, &[Ref, Ref]),
        form(word::CATEGORYORDER, &[Ordered]),
        form(word::CATEGORYSET, &[Cat, CatList]),
        form(word::SENSITIVITYCATEGORY, &[Ref, Cats]),
        form(word::LEVEL, &[Plain, Level]),
        form(word::LEVELRANGE, &[Plain, Range]),
        form(word::CONTEXT, &[Plain, Context]),
        form(word::FILECON, &[Text, FILE_TYPES, ContextOrNone]),
        form(word::GENFSCON, &[Ref, Text, Context]),
        form(word::GENFSCON, &[Ref, Text, FILE_TYPES, Context]),
        form(word::FSUSE, &[One(&[word::XATTR, word::TASK, word::TRANS]), Text, Context]),
        form(word::SID, &[Plain]),
        form(word::SIDORDER, &[Ordered]),
        form(word::SIDCONTEXT, &[Ref, Context]),
        form(
            word::PORTCON,
            &[One(&[word::TCP, word::UDP, word::DCCP, word::SCTP]), Numbers(65_535), Context],
        ),
        form(word::NODECON, &[Ip, Ip, Context]),
        form(word::IPADDR, &[Plain, Address]),
        form(word::NETIFCON, &[Text, Context, Context]),
        form(word::IBPKEYCON, &[Text, Numbers(65_535), Context]),
        form(word::IBENDPORTCON, &[Text, Numbers(255), Context]),
        form(word::PIRQCON, &[Numbers(u32::MAX as u64), Context]),
        form(word::IOMEMCON, &[Numbers(u64::MAX), Context]),
        form(word::IOPORTCON, &[Numbers(u32::MAX as u64), Context]),
        form(word::PCIDEVICECON, &[Numbers(u32::MAX as u64), Context]),
        form(word::DEVICETREECON, &[Text, Context]),
        form(word::DEFAULTUSER, &[NameOrNames, SIDES]),
        form(word::DEFAULTROLE, &[NameOrNames, SIDES]),
        form(word::DEFAULTTYPE, &[NameOrNames, SIDES]),
        form(word::DEFAULTRANGE, &[NameOrNames, SIDES, One(&[word::LOW, word::HIGH, word::LOW_HIGH])]),
        form(word::DEFAULTRANGE, &[NameOrNames, One(&[word::GLBLUB])]),
        form(word::HANDLEUNKNOWN, &[One(&[word::ALLOW, word::DENY, word::REJECT])]),
        form(word::MLS, &[BOOLS]),
        form(word::POLICYCAP, &[Text]),
    ]
};

/// What a statement is inside of. Everything around it counts, not only the nearest.
#[derive(Clone, Copy, Default)]
struct Place {
    block: bool,
    optional: bool,
    macro_: bool,
    tunable: bool,
    boolean: bool,
    in_: bool,
    in_after: bool,
    depth: u16,
}

impl Place {
    /// Why a statement may not stand here.
    fn refuses(self, keyword: Symbol, version: Version) -> Option<&'static str> {
        use word::*;
        let tunable = keyword == TUNABLE;
        if self.macro_ && (tunable || matches!(keyword, IN | BLOCK | BLOCKINHERIT | BLOCKABSTRACT | MACRO)) {
            return Some("a macro");
        }
        if self.optional && (tunable || matches!(keyword, IN | BLOCK | BLOCKABSTRACT | MACRO)) {
            return Some("an optional");
        }
        if self.in_ && (tunable || keyword == IN) {
            return Some("an `in` statement");
        }
        if self.in_after && matches!(keyword, BLOCKINHERIT | BLOCKABSTRACT) {
            return Some("an `in after` statement");
        }
        if self.tunable && tunable {
            return Some("a tunableif");
        }
        if self.block && matches!(keyword, SENSITIVITY | CATEGORY) {
            return Some("a block");
        }
        (self.boolean && !fits_condition(keyword, version)).then_some("a booleanif")
    }
}

/// Whether a statement may stand inside a `booleanif`.
pub(crate) fn fits_condition(keyword: Symbol, version: Version) -> bool {
    use word::*;
    matches!(
        keyword,
        ALLOW | AUDITALLOW | DONTAUDIT | TYPETRANSITION | TYPECHANGE | TYPEMEMBER | CALL | TUNABLEIF
    ) || version.minor >= 8 && matches!(keyword, ALLOWX | AUDITALLOWX | DONTAUDITX)
}

const MAX_FOUND: usize = 100;

/// Most containers (blocks, optionals, conditions) inside one another. Ours: the compiler has no bound besides the
/// parser's, but nothing real nests more than a handful.
pub(crate) const MAX_NESTING: u16 = 128;

struct Checker {
    version: Version,
    dots: bool,
    found: Vec<Diagnostic>,
}

/// Where and why a statement is not what it should be.
struct Fault<'f, 'a>(View<'f, 'a>, String);

type Checked<'f, 'a> = Result<(), Fault<'f, 'a>>;

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
            if kind.atom().and_then(parameter_kind).is_none() {
                return Err(Fault(kind, format!("{:?} is no kind of parameter", brief(kind.text()))));
            }
            if !is_identifier(name.text(), false) {
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
            Arg::Numbers(max) => numbers(view, max),
            Arg::Perms => {
                names(view, 0)?;
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
        word::BOOL | word::BOOLEAN => ParameterKind::Boolean,
        word::IPADDR => ParameterKind::IpAddr,
        word::STRING | word::NAME => ParameterKind::Text,
        _ => return None,
    })
}

fn names<'f, 'a>(view: View<'f, 'a>, min: usize) -> Checked<'f, 'a> {
    if !view.is_list() {
        return Err(Fault(view, "a list of names belongs here".to_owned()));
    }
    if let Some(list) = view.children().find(|v| v.is_list()) {
        return Err(Fault(list, "a name, not a list, belongs here".to_owned()));
    }
    if view.children().count() < min {
        return Err(Fault(view, "the list is empty".to_owned()));
    }
    Ok(())
}

/// `(and A B)` `(or A B)` `(xor A B)` `(not A)` `(all)` `(range a b)`, or a list of names and expressions.
fn set_expression<'f, 'a>(view: View<'f, 'a>, ranges: bool) -> Checked<'f, 'a> {
    let mut todo = vec![view];
    while let Some(view) = todo.pop() {
        set_operation(view, ranges, &mut todo)?;
    }
    Ok(())
}

fn set_operation<'f, 'a>(view: View<'f, 'a>, ranges: bool, todo: &mut Vec<View<'f, 'a>>) -> Checked<'f, 'a> {
    if !view.is_list() {
        return match view.atom() {
            Some(s) if is_set_operator(s) => {
                Err(Fault(view, format!("the operator {:?} stands first in a list of its own", view.text())))
            }
            _ => Ok(()),
        };
    }
    let Some(head) = view.children().next() else {
        return Err(Fault(view, "the list is empty".to_owned()));
    };
    let (operands, wanted) = match head.atom() {
        Some(word::AND | word::OR | word::XOR) => (1, Some(2)),
        Some(word::NOT) => (1, Some(1)),
        Some(word::ALL_OF) => (1, Some(0)),
        Some(word::RANGE) if ranges => (1, Some(2)),
        _ => (0, None),
    };
    let count = view.children().count() - operands;
    if wanted.is_some_and(|w| w != count) {
        return Err(Fault(
            view,
            format!("the operator {:?} takes {} operands, found {count}", head.text(), wanted.unwrap_or(0)),
        ));
    }
    if head.atom() == Some(word::RANGE) && ranges {
        return names(view, 3);
    }
    todo.extend(view.children().skip(operands));
    Ok(())
}

fn is_set_operator(symbol: Symbol) -> bool {
    matches!(symbol, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF)
}

fn boolean_expression<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    let mut todo = vec![view];
    while let Some(view) = todo.pop() {
        if view.is_list() {
            boolean_operation(view, &mut todo)?;
        }
    }
    Ok(())
}

fn boolean_operation<'f, 'a>(view: View<'f, 'a>, todo: &mut Vec<View<'f, 'a>>) -> Checked<'f, 'a> {
    let Some(head) = view.children().next() else {
        return Err(Fault(view, "the condition is empty".to_owned()));
    };
    let count = view.children().count();
    let wanted = match head.atom() {
        Some(word::AND | word::OR | word::XOR | word::EQ | word::NEQ) => 3,
        Some(word::NOT) => 2,
        _ => 1,
    };
    if count != wanted {
        return Err(Fault(view, "the condition has the wrong number of operands".to_owned()));
    }
    todo.extend(view.children().skip(usize::from(wanted > 1)));
    Ok(())
}

fn class_permissions<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    if !view.is_list() {
        return Ok(());
    }
    let parts: Vec<_> = view.children().collect();
    let [class, permissions] = parts[..] else {
        return Err(Fault(view, "`(class (permissions))` belongs here, one class per rule".to_owned()));
    };
    if class.is_list() {
        return Err(Fault(class, "the name of a class belongs here".to_owned()));
    }
    if !permissions.is_list() {
        return Err(Fault(permissions, "permissions stand in a list".to_owned()));
    }
    set_expression(permissions, false)
}

fn context<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    if !view.is_list() {
        return Ok(());
    }
    let parts: Vec<_> = view.children().collect();
    let [user, role, type_, levels] = parts[..] else {
        return Err(Fault(view, "`(user role type range)` belongs here".to_owned()));
    };
    for part in [user, role, type_] {
        if part.is_list() {
            return Err(Fault(part, "a name, not a list, belongs here".to_owned()));
        }
    }
    range(levels)
}

fn range<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    if !view.is_list() {
        return Ok(());
    }
    let parts: Vec<_> = view.children().collect();
    let [low, high] = parts[..] else {
        return Err(Fault(view, "a range is `(low high)`".to_owned()));
    };
    level(low)?;
    level(high)
}

fn level<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    if !view.is_list() {
        return Ok(());
    }
    let parts: Vec<_> = view.children().collect();
    match parts[..] {
        [sensitivity] if !sensitivity.is_list() => Ok(()),
        [sensitivity, categories] if !sensitivity.is_list() => set_expression(categories, true),
        _ => Err(Fault(view, "a level is `(sensitivity)` or `(sensitivity (categories))`".to_owned())),
    }
}

fn address<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    match view.text().parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault(view, format!("{:?} is no address", brief(view.text())))),
    }
}

fn numbers<'f, 'a>(view: View<'f, 'a>, max: u64) -> Checked<'f, 'a> {
    let check = |v: View<'f, 'a>| match number(v.text()) {
        Some(n) if n <= max => Ok(n),
        _ => Err(Fault(v, format!("a number up to {max} belongs here"))),
    };
    if !view.is_list() {
        return check(view).map(|_| ());
    }
    let parts: Vec<_> = view.children().collect();
    let [low, high] = parts[..] else {
        return Err(Fault(view, "`(low high)` belongs here".to_owned()));
    };
    if check(low)? > check(high)? {
        return Err(Fault(view, "the range ends before it starts".to_owned()));
    }
    Ok(())
}

/// A number as `strtoul` with base 0 reads it: decimal, `0x` hexadecimal, or octal after `0`.
pub(crate) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.starts_with(['+', '-']) { None } else { u64::from_str_radix(digits, radix).ok() }
}

fn constraint<'f, 'a>(view: View<'f, 'a>, third: bool) -> Checked<'f, 'a> {
    let mut todo = vec![view];
    while let Some(view) = todo.pop() {
        let parts: Vec<_> = view.children().take(4).collect();
        match (view.head(), &parts[..]) {
            (Some(word::AND | word::OR), [_, a, b]) => todo.extend([*b, *a]),
            (Some(word::NOT), [_, a]) => todo.push(*a),
            (Some(op @ (word::EQ | word::NEQ | word::DOM | word::DOMBY | word::INCOMP)), [_, l, r]) => {
                comparison(view, op, *l, *r, third)?;
            }
            _ => return Err(Fault(view, "this is no constraint expression".to_owned())),
        }
    }
    Ok(())
}

fn comparison<'f, 'a>(
    view: View<'f, 'a>,
    op: Symbol,
    left: View<'f, 'a>,
    right: View<'f, 'a>,
    third: bool,
) -> Checked<'f, 'a> {
    use word::*;
    let bad = |why: &str| Err(Fault(view, why.to_owned()));
    let equality = matches!(op, EQ | NEQ);
    let Some(l) = left.atom() else { return bad("the left side is a word such as `t1`") };
    let level = matches!(l, L1 | L2 | H1 | H2);
    let role = matches!(l, R1 | R2 | R3);
    if matches!(l, T3 | R3 | U3) && !third {
        return bad("the third subject is only there in validatetrans statements");
    }
    if !(level || role || matches!(l, T1 | T2 | T3 | U1 | U2 | U3)) {
        return bad("the left side is one of t1 t2 r1 r2 u1 u2 l1 l2 h1 h2");
    }
    let special =
        right.atom().filter(|r| matches!(*r, T1 | T2 | T3 | R1 | R2 | R3 | U1 | U2 | U3 | L1 | L2 | H1 | H2));
    let by_name = matches!(l, T1 | T2 | T3 | U1 | U2 | U3);
    match special {
        Some(r) => {
            let fits = match r {
                T2 => l == T1,
                R2 => l == R1,
                U2 => l == U1,
                L2 => matches!(l, L1 | H1),
                H2 => matches!(l, L1 | L2 | H1),
                H1 => l == L1,
                // Undocumented, but the compiler takes it.
                L1 => matches!(l, L2 | H1),
                _ => false,
            };
            if fits && !equality && by_name {
                return bad("types and users are compared with `eq` and `neq` only");
            }
            if fits { Ok(()) } else { bad("these two sides cannot be compared") }
        }
        None if level => bad("levels are compared with levels only"),
        None if right.is_list() && !equality => bad("lists are compared with `eq` and `neq` only"),
        None if right.is_list() => names(right, 1),
        None => Ok(()),
    }
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
    use super::*;

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
