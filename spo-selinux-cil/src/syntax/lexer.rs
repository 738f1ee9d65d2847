//! Tokens of CIL (`cil_lexer.l` of libsepol): parentheses, words, strings, comments, line marks.

use nom::{
    IResult, Parser,
    bytes::complete::{tag, take_while, take_while1},
    error::{Error, ErrorKind},
};

/// One token and the offset of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Open,
    Close,
    /// A bare word; the text is the token's.
    Word,
    /// A string; the text is without its quotes.
    Text,
    /// From `;` to the end of the line.
    Comment,
    /// A line mark: `;;*` in the first column.
    Mark,
}

/// Why the bytes at some place are no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LexError {
    /// A string without its closing quote on the same line.
    OpenString,
    /// A byte that cannot be part of any token here.
    Stray(u8),
}

/// A token, and start and end of its text.
pub(crate) type Lexed = (Token, usize, usize);

/// The next token at or behind `at`: token, start and end of its text. `None` at the end of the text.
pub(crate) fn next(text: &[u8], at: usize) -> Result<Option<Lexed>, (LexError, usize)> {
    let Ok((rest, blank)) = blanks(&text[at..]) else { return Ok(None) };
    let start = at + blank.len();
    let Some(&first) = rest.first() else { return Ok(None) };
    match first {
        b'(' => Ok(Some((Token::Open, start, start + 1))),
        b')' => Ok(Some((Token::Close, start, start + 1))),
        b';' => {
            let len = comment(rest).map_or(rest.len(), |(_, c)| c.len());
            let column_0 = start == 0 || matches!(text[start - 1], b'\n' | b'\r');
            let token = if column_0 && rest.starts_with(b";;*") { Token::Mark } else { Token::Comment };
            Ok(Some((token, start, start + len)))
        }
        b'"' => match string(rest) {
            Ok((_, inner)) => Ok(Some((Token::Text, start + 1, start + 1 + inner.len()))),
            Err(_) => Err((LexError::OpenString, start)),
        },
        byte => match bare(rest) {
            Ok((_, w)) => Ok(Some((Token::Word, start, start + w.len()))),
            Err(_) => Err((LexError::Stray(byte), start)),
        },
    }
}

/// Whether a text can be written without quotes.
pub(crate) fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_word_byte)
}

fn blanks(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).parse(i)
}

fn comment(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|b| !matches!(b, b'\n' | b'\r')).parse(i)
}

fn bare(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(is_word_byte).parse(i)
}

/// The inside of a string. There are no escapes; a newline or NUL before the closing quote is an error.
fn string(i: &[u8]) -> IResult<&[u8], &[u8]> {
    let (i, _) = tag(&b"\""[..]).parse(i)?;
    let (i, inner) = take_while(|b| !matches!(b, b'"' | b'\n' | 0)).parse(i)?;
    let (i, _) = tag(&b"\""[..])
        .parse(i)
        .map_err(|_: nom::Err<Error<&[u8]>>| nom::Err::Failure(Error::new(i, ErrorKind::Char)))?;
    Ok((i, inner))
}

fn is_word_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut b = 0;
        while b < 128 {
            table[b] = (b as u8).is_ascii_alphanumeric();
            b += 1;
        }
        let others = b"[].@=/*-_$%+!|&^:~`#{}'<>?,";
        let mut i = 0;
        while i < others.len() {
            table[others[i] as usize] = true;
            i += 1;
        }
        table
    };
    TABLE[byte as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(Token, &str)> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some((token, start, end)) = next(text.as_bytes(), at).unwrap() {
            tokens.push((token, &text[start..end]));
            at = if token == Token::Text { end + 1 } else { end };
        }
        tokens
    }

    #[test]
    fn strings_hide_parentheses_and_comments_hide_everything() {
        use Token::{Close, Comment, Mark, Open, Text, Word};
        assert_eq!(
            all("(a \"x)(;y\" ; ) ( \"\n b)"),
            [(Open, "("), (Word, "a"), (Text, "x)(;y"), (Comment, "; ) ( \""), (Word, "b"), (Close, ")")]
        );
        assert_eq!(all(";;* lme\n ;;* no mark"), [(Mark, ";;* lme"), (Comment, ";;* no mark")]);
    }

    #[test]
    fn bytes_outside_the_alphabet_are_errors() {
        assert_eq!(next(b"\x0c", 0), Err((LexError::Stray(0x0c), 0)));
        assert_eq!(next("ä".as_bytes(), 0), Err((LexError::Stray(0xc3), 0)));
        assert_eq!(next(b" \"ab\nc\"", 0), Err((LexError::OpenString, 1)));
    }
}
