//! What an unquoted word means.
//!
//! The rules are those of `sigs.k8s.io/yaml`, so that a manifest means the same here and to `kubectl`: YAML 1.1
//! booleans (`yes`, `on`), octal numbers with a leading zero, hexadecimal numbers, underscores in numbers. One
//! difference: `y` and `n` are text here, since a one-letter name is likelier than a one-letter boolean, and a text
//! in the place of a boolean is an error, never a guess.

use serde_json::Number;

/// A scalar value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

/// What a scalar means: `plain` if it is not quoted, `tag` the part behind `!!` of an explicit type.
///
/// # Errors
/// A number that JSON cannot express, or a text that is not of its explicit type.
pub(super) fn resolve(text: String, plain: bool, tag: Option<&str>) -> Result<Scalar, String> {
    match tag {
        None if !plain => return Ok(Scalar::Text(text)),
        Some("str" | "binary") => return Ok(Scalar::Text(text)),
        _ => {}
    }
    let found = match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Scalar::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        word => match number(word) {
            Some(number) => Scalar::Number(number?),
            None => Scalar::Text(text),
        },
    };
    match (tag, &found) {
        (Some("int" | "float"), Scalar::Number(_))
        | (Some("bool"), Scalar::Bool(_))
        | (Some("null"), Scalar::Null) => Ok(found),
        (Some(tag @ ("int" | "float" | "bool" | "null")), _) => Err(format!("this is no !!{tag}")),
        _ => Ok(found),
    }
}

/// A number, `None` if the word is none.
fn number(word: &str) -> Option<Result<Number, String>> {
    if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) || word.len() > 400 {
        return None;
    }
    if matches!(word.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Some(Err(format!("{word} is no number that JSON can express")));
    }
    let digits = word.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Some(Ok(number));
    }
    let float_like =
        digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
            && digits.bytes().any(|b| b.is_ascii_digit());
    if !float_like {
        return None;
    }
    let float: f64 = digits.parse().ok()?;
    Some(Number::from_f64(float).ok_or_else(|| format!("{word} is no number that JSON can express")))
}

/// An integer in any of the notations `strconv.ParseInt` knows with base 0.
fn integer(digits: &str) -> Option<Number> {
    let (negative, unsigned) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let (radix, body) = match unsigned.get(..2) {
        Some("0x" | "0X") => (16, &unsigned[2..]),
        Some("0b" | "0B") => (2, &unsigned[2..]),
        Some("0o" | "0O") => (8, &unsigned[2..]),
        _ if unsigned.len() > 1 && unsigned.starts_with('0') => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if !body.bytes().all(|b| char::from(b).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(body, radix).ok()?;
    if negative {
        0i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        resolve(text.to_owned(), true, None).expect("resolves")
    }

    #[test]
    fn words_mean_what_they_mean_to_kubectl() {
        assert_eq!(plain("yes"), Scalar::Bool(true));
        assert_eq!(plain("off"), Scalar::Bool(false));
        assert_eq!(plain("~"), Scalar::Null);
        assert_eq!(plain("0x42"), Scalar::Number(0x42.into()));
        assert_eq!(plain("0644"), Scalar::Number(0o644.into()));
        assert_eq!(plain("-1"), Scalar::Number((-1).into()));
        assert_eq!(plain("-9223372036854775808"), Scalar::Number(i64::MIN.into()));
        assert_eq!(plain("18446744073709551615"), Scalar::Number(u64::MAX.into()));
        assert_eq!(plain("1.5"), Scalar::Number(Number::from_f64(1.5).expect("finite")));
        for text in ["nginx:1.21", "1.2.3", "-", ".", "2020-01-01", "0x", "e1", "1e", "truely"] {
            assert_eq!(plain(text), Scalar::Text(text.to_owned()), "{text}");
        }
        assert_eq!(resolve("yes".to_owned(), false, None), Ok(Scalar::Text("yes".to_owned())));
        assert_eq!(resolve("1".to_owned(), true, Some("str")), Ok(Scalar::Text("1".to_owned())));
        assert!(resolve(".inf".to_owned(), true, None).is_err());
        assert!(resolve("x".to_owned(), true, Some("int")).is_err());
    }
}
