//! What every statement looks like: a table.

use super::symbol::{Symbol, word};

/// What one argument of a statement looks like.
#[derive(Clone, Copy)]
pub(super) enum Arg {
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
    /// A decimal number or `(low high)`, up to a maximum.
    Decimals(u64),
    /// The same, hexadecimal and octal numbers too.
    Numbers(u64),
    /// A list of declared names, perhaps empty.
    Perms,
    /// A list of declared names.
    SomePerms,
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

pub(super) struct Form {
    pub(super) keyword: Symbol,
    pub(super) args: &'static [Arg],
    /// First release that has the statement.
    pub(super) since: u8,
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
pub(super) static FORMS: &[Form] = {
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
        form(word::COMMON, &[Plain, SomePerms]),
        form(word::CLASS, &[Class, Perms]),
        form(word::CLASSCOMMON, &[Ref, Ref]),
        form(word::CLASSORDER, &[Order]),
        form(word::CLASSPERMISSION, &[Plain]),
        form(word::CLASSPERMISSIONSET, &[Ref, ClassPerms]),
        form(word::CLASSMAP, &[Plain, SomePerms]),
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
            &[One(&[word::TCP, word::UDP, word::DCCP, word::SCTP]), Decimals(65_535), Context],
        ),
        form(word::NODECON, &[Ip, Ip, Context]),
        form(word::IPADDR, &[Plain, Address]),
        form(word::NETIFCON, &[Text, Context, Context]),
        form(word::IBPKEYCON, &[Text, Numbers(65_535), Context]),
        form(word::IBENDPORTCON, &[Text, Decimals(255), Context]),
        form(word::PIRQCON, &[Decimals(u32::MAX as u64), Context]),
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
