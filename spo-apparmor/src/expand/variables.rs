//! Variables and their expansion.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
};

use crate::tree::{AssignOp, Expr, Value};

/// The variables of a unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    sets: BTreeMap<String, Vec<String>>,
    bools: BTreeMap<String, bool>,
    /// The variables that the header of the current profile sets.
    own: Vec<(&'static str, Vec<String>)>,
    /// What variables of the preamble were found to expand to; emptied by every assignment.
    known: RefCell<BTreeMap<String, Arc<Vec<String>>>>,
    /// Whether an expansion met a variable of the header.
    met_own: Cell<bool>,
}

/// The most strings that one value may expand to.
const MAX_EXPANSION: usize = 20_000;
/// The most bytes that one value may expand to.
const MAX_EXPANSION_BYTES: usize = 4 << 20;

impl Variables {
    pub(crate) fn assign_set(&mut self, name: &str, op: AssignOp, values: &[Value]) -> Result<(), String> {
        let values = values.iter().map(|v| v.text.clone());
        self.known.get_mut().clear();
        match op {
            AssignOp::Set if self.sets.contains_key(name) => {
                Err(format!("@{{{name}}} is assigned a second time"))
            }
            AssignOp::SetIfUnset if self.sets.contains_key(name) => Ok(()),
            AssignOp::Set | AssignOp::SetIfUnset | AssignOp::Override => {
                self.sets.insert(name.to_owned(), values.collect());
                Ok(())
            }
            AssignOp::Add => match self.sets.get_mut(name) {
                Some(list) => {
                    list.extend(values);
                    Ok(())
                }
                None => Err(format!("@{{{name}}} is added to before it is assigned")),
            },
        }
    }

    pub(crate) fn assign_bool(&mut self, name: &str, op: AssignOp, expr: &Expr) -> Result<(), String> {
        let known = self.bools.contains_key(name);
        match op {
            AssignOp::Add => return Err(format!("${name} is true or false and cannot be added to")),
            AssignOp::Set if known => return Err(format!("${name} is assigned a second time")),
            AssignOp::SetIfUnset if known => return Ok(()),
            _ => {}
        }
        let value = self.eval(expr)?;
        self.bools.insert(name.to_owned(), value);
        Ok(())
    }

    /// Replaces the variables that the header of a profile sets; gives those of the profile around it.
    pub(crate) fn set_own(
        &mut self,
        own: Vec<(&'static str, Vec<String>)>,
    ) -> Vec<(&'static str, Vec<String>)> {
        std::mem::replace(&mut self.own, own)
    }

    /// Whether an expansion since the last call depended on the header of the current profile.
    pub(crate) fn take_met_own(&self) -> bool {
        self.met_own.take()
    }

    /// Whether the preambles assigned the same.
    pub(crate) fn same_preamble(&self, other: &Self) -> bool {
        self.sets == other.sets && self.bools == other.bools
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.sets.keys()
    }

    /// Whether the text itself names a variable that is not assigned.
    pub(crate) fn lacks_one_of(&self, text: &str) -> bool {
        let mut rest = text;
        while let Some((_, name, after)) = next_variable(rest) {
            if self.values(name).is_none() {
                return true;
            }
            rest = after;
        }
        false
    }

    fn values(&self, name: &str) -> Option<&Vec<String>> {
        match self.own.iter().find(|(own, _)| *own == name) {
            Some((_, values)) => {
                self.met_own.set(true);
                Some(values)
            }
            None => self.sets.get(name),
        }
    }

    /// Whether a condition holds.
    pub(crate) fn eval(&self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::Bool(value) => Ok(*value),
            Expr::Variable(name) => {
                self.bools.get(name).copied().ok_or_else(|| format!("${name} is not assigned"))
            }
            Expr::Defined { name, boolean: true } => Ok(self.bools.contains_key(name)),
            Expr::Defined { name, boolean: false } => Ok(self.values(name).is_some()),
            Expr::Not(inner) => Ok(!self.eval(inner)?),
            // Both sides are evaluated, so that an unknown variable is found in either.
            Expr::And(a, b) => Ok(self.eval(a)? & self.eval(b)?),
            Expr::Or(a, b) => Ok(self.eval(a)? | self.eval(b)?),
            Expr::Compare { left, op, right } => self.compare(left, op, right),
        }
    }

    fn compare(&self, left: &Value, op: &str, right: &Value) -> Result<bool, String> {
        let mut l = self.expand(&left.text)?;
        let mut r = self.expand(&right.text)?;
        for list in [&mut l, &mut r] {
            list.sort();
            list.dedup();
        }
        match op {
            "==" => Ok(l == r),
            "!=" => Ok(l != r),
            "in" => Ok(l.iter().all(|x| r.contains(x))),
            _ => {
                let number = |list: &[String]| match list {
                    [one] => one.parse::<i64>().map_err(|_| format!("{one:?} is no number")),
                    _ => Err("only single numbers have an order".to_owned()),
                };
                let (a, b) = (number(&l)?, number(&r)?);
                Ok(match op {
                    "<" => a < b,
                    "<=" => a <= b,
                    ">" => a > b,
                    _ => a >= b,
                })
            }
        }
    }

    /// Every string that the text stands for: the product of its variables' values.
    ///
    /// # Errors
    /// An unknown variable, one that refers to itself, or more than 20,000 strings.
    pub(crate) fn expand(&self, text: &str) -> Result<Vec<String>, String> {
        if next_variable(text).is_none() {
            return Ok(vec![text.to_owned()]);
        }
        self.expand_nested(text, &mut Vec::new())
    }

    fn expand_nested<'a>(&'a self, text: &'a str, stack: &mut Vec<&'a str>) -> Result<Vec<String>, String> {
        let mut done = vec![String::new()];
        let mut rest = text;
        while let Some((before, name, after)) = next_variable(rest) {
            let expanded = self.values_of(name, stack)?;
            let bytes: usize = expanded.iter().map(String::len).sum::<usize>().saturating_mul(done.len());
            if done.len().saturating_mul(expanded.len()) > MAX_EXPANSION || bytes > MAX_EXPANSION_BYTES {
                return Err(too_many(name));
            }
            let mut product = Vec::with_capacity(done.len() * expanded.len());
            for head in &done {
                for value in expanded.iter() {
                    let mut text =
                        String::with_capacity(head.len() + before.len() + value.len() + after.len());
                    text.push_str(head);
                    text.push_str(before);
                    text.push_str(value);
                    product.push(text);
                }
            }
            done = product;
            rest = after;
        }
        for text in &mut done {
            text.push_str(rest);
        }
        Ok(done)
    }
}

impl Variables {
    /// Every string that a variable stands for.
    fn values_of<'a>(&'a self, name: &'a str, stack: &mut Vec<&'a str>) -> Result<Arc<Vec<String>>, String> {
        if let Some(known) = self.known.borrow().get(name)
            && !self.own.iter().any(|(own, _)| *own == name)
        {
            return Ok(Arc::clone(known));
        }
        if stack.contains(&name) {
            return Err(format!("@{{{name}}} refers to itself"));
        }
        let before = self.met_own.replace(false);
        let values = self.values(name).ok_or_else(|| format!("the variable @{{{name}}} is not assigned"))?;
        stack.push(name);
        let mut expanded = Vec::new();
        for value in values {
            expanded.extend(self.expand_nested(value, stack)?);
            if expanded.len() > MAX_EXPANSION {
                return Err(too_many(name));
            }
        }
        stack.pop();
        let expanded = Arc::new(expanded);
        if self.met_own.get() {
            return Ok(expanded);
        }
        self.met_own.set(before);
        self.known.borrow_mut().insert(name.to_owned(), Arc::clone(&expanded));
        Ok(expanded)
    }
}

fn too_many(name: &str) -> String {
    format!("@{{{name}}} expands to more than {MAX_EXPANSION} values")
}

/// The text in front of the first `@{name}`, the name, and the text behind it.
///
/// `@{a,b}` is no variable but an old literal spelling and stays as it is.
pub(crate) fn next_variable(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        // Most texts hold no "@" at all.
        let at = from + text.get(from..)?.find('@')?;
        if text.as_bytes().get(at + 1) != Some(&b'{') {
            from = at + 1;
            continue;
        }
        let inner = &text[at + 2..];
        let end = inner.find('}')?;
        let name = &inner[..end];
        if name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Some((&text[..at], name, &inner[end + 1..]));
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(list: &[(&str, &[&str])]) -> Variables {
        let mut v = Variables::default();
        for (name, values) in list {
            let values: Vec<Value> = values.iter().map(|s| Value::new(*s)).collect();
            v.assign_set(name, AssignOp::Set, &values).unwrap();
        }
        v
    }

    #[test]
    fn expansion_is_the_product() {
        let v = vars(&[("A", &["1", "2"]), ("B", &["@{A}", "3"])]);
        assert_eq!(v.expand("/@{A}/@{B}").unwrap().len(), 6);
        assert_eq!(v.expand("/@{a,b}").unwrap(), ["/@{a,b}"]);
        assert!(v.expand("@{C}").is_err());
    }

    #[test]
    fn cycles_and_explosions_end() {
        let v = vars(&[("A", &["@{B}"]), ("B", &["x@{A}"])]);
        assert!(v.expand("@{A}").unwrap_err().contains("itself"));
        let ten: Vec<&str> = vec!["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let v = vars(&[("A", &ten)]);
        assert!(v.expand("@{A}@{A}@{A}@{A}@{A}@{A}").unwrap_err().contains("more than"));
    }

    /// What depends on the header of one profile must not be remembered for the next.
    #[test]
    fn variables_of_the_header_are_not_remembered() {
        let mut v = vars(&[("A", &["x@{profile_name}"]), ("B", &["b"])]);
        v.set_own(vec![("profile_name", vec!["p".to_owned()])]);
        assert_eq!(v.expand("@{A}").unwrap(), ["xp"]);
        assert!(v.take_met_own());
        assert_eq!(v.expand("@{B}").unwrap(), ["b"]);
        assert!(!v.take_met_own());
        v.set_own(vec![("profile_name", vec!["q".to_owned()])]);
        assert_eq!(v.expand("@{A}").unwrap(), ["xq"]);
        v.set_own(Vec::new());
        assert!(v.expand("@{A}").is_err());
    }
}
