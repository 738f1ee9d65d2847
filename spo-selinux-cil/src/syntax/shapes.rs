//! The shapes of a statement's arguments: sets, conditions, permissions, contexts, numbers, constraints.
//!
//! Nothing here recurses: expressions may be as deep as the parser allows.

use super::{
    symbol::{Symbol, word},
    tree::{View, brief},
};

/// Where and why a statement is not what it should be.
pub(super) struct Fault<'f, 'a>(pub(super) View<'f, 'a>, pub(super) String);

pub(super) type Checked<'f, 'a> = Result<(), Fault<'f, 'a>>;

pub(super) fn names<'f, 'a>(view: View<'f, 'a>, min: usize) -> Checked<'f, 'a> {
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
pub(super) fn set_expression<'f, 'a>(view: View<'f, 'a>, ranges: bool) -> Checked<'f, 'a> {
    let mut todo = vec![view];
    while let Some(view) = todo.pop() {
        set_operation(view, ranges, &mut todo)?;
    }
    Ok(())
}

pub(super) fn set_operation<'f, 'a>(
    view: View<'f, 'a>,
    ranges: bool,
    todo: &mut Vec<View<'f, 'a>>,
) -> Checked<'f, 'a> {
    if !view.is_list() {
        return match view.atom() {
            Some(s) if is_set_operator(s) || is_other_operator(s) => {
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
    if operands == 0 && head.atom().is_some_and(is_other_operator) {
        return Err(Fault(head, format!("the operator {:?} is not for sets of this kind", head.text())));
    }
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

pub(super) fn is_set_operator(symbol: Symbol) -> bool {
    matches!(symbol, word::AND | word::OR | word::XOR | word::NOT | word::ALL_OF)
}

/// Operators of conditions and of ranges: words the compiler takes for operators wherever an expression stands, and then
/// refuses.
fn is_other_operator(symbol: Symbol) -> bool {
    matches!(symbol, word::EQ | word::NEQ | word::RANGE)
}

pub(super) fn boolean_expression<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    let mut todo = vec![view];
    while let Some(view) = todo.pop() {
        if view.is_list() {
            boolean_operation(view, &mut todo)?;
        }
    }
    Ok(())
}

/// An operator and its operands, or conditions of which one must hold: the compiler joins those with `or`
/// (`__cil_cond_expr_to_sepol_expr_helper` of libsepol's `cil_binary.c`).
pub(super) fn boolean_operation<'f, 'a>(view: View<'f, 'a>, todo: &mut Vec<View<'f, 'a>>) -> Checked<'f, 'a> {
    let Some(head) = view.children().next() else {
        return Err(Fault(view, "the condition is empty".to_owned()));
    };
    let operator = |v: View<'_, '_>| {
        matches!(
            v.atom(),
            Some(
                word::AND
                    | word::OR
                    | word::XOR
                    | word::EQ
                    | word::NEQ
                    | word::NOT
                    | word::ALL_OF
                    | word::RANGE
            )
        )
    };
    let count = view.children().count();
    let wanted = match head.atom() {
        Some(word::AND | word::OR | word::XOR | word::EQ | word::NEQ) => 3,
        Some(word::NOT) => 2,
        _ => count,
    };
    if count != wanted {
        return Err(Fault(view, "the condition has the wrong number of operands".to_owned()));
    }
    let first = usize::from(operator(head) && !matches!(head.atom(), Some(word::ALL_OF | word::RANGE)));
    if let Some(stray) = view.children().skip(first).find(|v| operator(*v)) {
        let message = format!("the operator {:?} stands first in a list of its own", stray.text());
        return Err(Fault(stray, message));
    }
    todo.extend(view.children().skip(first));
    Ok(())
}

pub(super) fn class_permissions<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
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

pub(super) fn context<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
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

pub(super) fn range<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
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

pub(super) fn level<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
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

pub(super) fn address<'f, 'a>(view: View<'f, 'a>) -> Checked<'f, 'a> {
    match view.text().parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault(view, format!("{:?} is no address", brief(view.text())))),
    }
}

pub(super) fn numbers<'f, 'a>(
    view: View<'f, 'a>,
    max: u64,
    read: fn(&str) -> Option<u64>,
) -> Checked<'f, 'a> {
    let check = |v: View<'f, 'a>| match read(v.text()) {
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

/// A number as `strtoul` with base 10 reads it: zeros in front and a plus sign are fine. Ports are such numbers.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok()
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

pub(super) fn constraint<'f, 'a>(view: View<'f, 'a>, third: bool) -> Checked<'f, 'a> {
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

pub(super) fn comparison<'f, 'a>(
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
