//! `set rlimit`: resources, limits and their units (`getrlimit(2)`, `apparmor.d(5)`).

use super::{Failure, Parse, Parser, TokenKind, WordRule, words};
use crate::{
    TextRange,
    tree::{RlimitRule, RuleKind},
};

impl Parser<'_> {
    pub(super) fn rlimit_rule(&mut self) -> Parse<RuleKind> {
        self.c.take(3, TokenKind::Keyword);
        self.c.trivia();
        if !self.c.eat_keyword("rlimit") {
            return Err(self.c.unexpected("\"rlimit\""));
        }
        self.c.trivia();
        let word = self.c.peek_word();
        let resource = words::RLIMITS.iter().copied().find(|r| *r == word).ok_or_else(|| {
            Failure::new(
                "bad-rlimit",
                TextRange::new(self.c.pos, self.c.pos + word.len()),
                format!("{word:?} is no resource"),
            )
        })?;
        self.c.take(word.len(), TokenKind::Keyword);
        self.c.trivia();
        self.c.want("<=")?;
        self.c.trivia();
        let from = self.c.pos;
        let number = self.c.value(WordRule::Id, "a limit")?;
        let behind = (self.c.pos, self.c.tokens.len());
        self.c.trivia();
        let mut text = number.text;
        if text.contains(char::is_whitespace) {
            return Err(Failure::new("bad-rlimit", number.range, format!("{text:?} is no number")));
        }
        if self.c.peek().is_some_and(|b| b.is_ascii_alphabetic()) {
            let unit = self.c.value(WordRule::Id, "a unit")?;
            text = format!("{text} {}", unit.text);
        } else {
            self.c.pos = behind.0;
            self.c.tokens.truncate(behind.1);
        }
        let limit = read_limit(resource, &text)
            .map_err(|message| Failure::new("bad-rlimit", TextRange::new(from, self.c.pos), message))?;
        Ok(RuleKind::Rlimit(RlimitRule { resource, text, limit }))
    }
}

/// Reads a limit in the unit of its resource; `None` is infinity.
fn read_limit(resource: &str, text: &str) -> Result<Option<i64>, String> {
    if text == "infinity" {
        return Ok(None);
    }
    let sign = usize::from(text.starts_with('-'));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(sign + digits);
    let unit = unit.trim();
    let magnitude = &number[sign..];
    // A leading zero means octal, as for strtol(3).
    let value = if magnitude.len() > 1 && magnitude.starts_with('0') {
        i64::from_str_radix(magnitude, 8).map(|n| if sign == 1 { -n } else { n })
    } else {
        number.parse::<i64>()
    }
    .map_err(|_| format!("{text:?} is no number"))?;
    let scaled = |factor: Option<i64>| {
        factor.and_then(|f| value.checked_mul(f)).ok_or_else(|| format!("{unit:?} is no unit of {resource}"))
    };
    match resource {
        "nice" => {
            if !unit.is_empty() || !(-20..=19).contains(&value) {
                return Err("nice is a number from -20 to 19".to_owned());
            }
            Ok(Some(value))
        }
        _ if value < 0 => Err(format!("{resource} cannot be negative")),
        "nofile" | "ofile" | "nproc" | "locks" | "sigpending" | "rtprio" => {
            if unit.is_empty() {
                Ok(Some(value))
            } else {
                Err(format!("{resource} is a count without a unit"))
            }
        }
        "cpu" => {
            let micros = scaled(time_unit(unit, 1_000_000))?;
            if micros < 1_000_000 {
                return Err("cpu is at least one second".to_owned());
            }
            Ok(Some(micros / 1_000_000))
        }
        "rttime" => Ok(Some(scaled(time_unit(unit, 1))?)),
        _ => {
            let factor = match unit {
                "" => Some(1),
                "K" | "KB" => Some(1 << 10),
                "M" | "MB" => Some(1 << 20),
                "G" | "GB" => Some(1 << 30),
                _ => None,
            };
            Ok(Some(scaled(factor)?))
        }
    }
}

/// Microseconds of a unit of time.
fn time_unit(unit: &str, default: i64) -> Option<i64> {
    const SECOND: i64 = 1_000_000;
    Some(match unit {
        "" => default,
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "min" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hour" | "hours" => 3_600 * SECOND,
        "d" | "day" | "days" => 86_400 * SECOND,
        "week" | "weeks" => 604_800 * SECOND,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_units_of_their_resource() {
        let cases = [
            ("core", "44444KB", Some(44_444 * 1024)),
            ("fsize", "2 G", Some(2 << 30)),
            ("rttime", "60minutes", Some(3_600_000_000)),
            ("rttime", "12", Some(12)),
            ("cpu", "2", Some(2)),
            ("nice", "-20", Some(-20)),
            ("nofile", "010", Some(8)),
            ("stack", "infinity", None),
        ];
        for (resource, text, limit) in cases {
            assert_eq!(read_limit(resource, text), Ok(limit), "{resource} {text}");
        }
        for (resource, text) in [
            ("rttime", "60m"),
            ("cpu", "1ms"),
            ("nice", "20"),
            ("nofile", "1K"),
            ("core", "1MiB"),
            ("core", "-1"),
            ("fsize", "99999999999 G"),
            ("nofile", ""),
        ] {
            assert!(read_limit(resource, text).is_err(), "{resource} {text}");
        }
    }
}
