//! The AppArmor policy language: read, judged, compared, generated, and learned from logs.
//!
//! ```
//! use spo_apparmor::{NoIncludes, ParseOptions, load, lint::lint, tree::FilePerms};
//! use spo_apparmor::meaning::{Compiled, Subject, Verdict};
//!
//! let text = "profile app {\n  /etc/app/** r,\n  deny /etc/app/key r,\n}\n";
//! let unit = load(text, &NoIncludes, ParseOptions::default());
//! assert!(unit.is_ok());
//! let app = Compiled::new(&unit.profiles[0], Default::default()).unwrap();
//! let read = |path| app.query(path, FilePerms::READ, Subject::Other).verdict;
//! assert_eq!(read("/etc/app/conf"), Verdict::Allowed);
//! assert_eq!(read("/etc/app/key"), Verdict::Denied);
//! assert!(lint(&unit, text).iter().any(|d| d.code == "no-abi"));
//! ```
//!
//! # Pipeline
//!
//! ```text
//! text ──parse──► Policy ──load (includes, variables, conditions)──► Unit ──► Compiled (files), Grants (the rest)
//!   ▲               │                                                 │          query which diff conflicts least
//!   └────print──────┘                                                 └──lint    merge target escapes
//! spec ──render──► text, checked by the same load          log line ──► Record ──► rules
//! ```
//!
//! | module | from | to |
//! | --- | --- | --- |
//! | [`mod@parse`] | text | [`tree::Policy`], tokens, every problem in one pass |
//! | [`mod@print`] | tree | canonical text; [`print::Edit`] changes a text and keeps its layout |
//! | [`expand`] | tree | [`Unit`]: flat rules that know where they were written |
//! | [`aare`], [`dfa`] | globs | one automaton, bounded by a [`dfa::Budget`] |
//! | [`meaning`] | a profile | answers: who may what, which links, what differs, what is missing, ways out |
//! | [`lint`](mod@lint) | a unit | what is legal but probably not meant |
//! | [`mod@render`] | a resource's spec | text that is safe to load |
//! | [`log`] | log lines | events, and the rules that would have allowed them |
//! | [`parser_output`] | what `apparmor_parser` prints | findings with file, line and token |
//!
//! # Why the parser is written by hand
//!
//! The language has no tokens that are the same everywhere: where a word ends depends on what may stand there, a
//! comma ends a rule or belongs to a path. So the parser asks a cursor for the word it expects, one file per rule
//! class, and goes on behind the statement that it could not read. Combinators (nom) would give the same pieces, but
//! a failed branch forgets where it was and what it wanted: several errors in one pass, each with the token found and
//! what was expected, and a token list as a by-product would have to be carried through every one of them. Nor are
//! they faster: the bench `large` reads the same 80,000 statements with a nom grammar that knows these five forms and
//! nothing else, at about the speed of the whole parser.
//!
//! How a value is spelled is in one place for reading and writing, where the tests show that one is the inverse of the
//! other.
//!
//! The language is that of AppArmor 3.0 to 5.0 ([`tree::Version`]; the default takes the newest).
//!
//! # Limits
//!
//! Nothing here loads policy into a kernel or reads a file: includes come from a [`Resolver`]. Included files must
//! be whole statements. What abstractions grant is only known when the resolver has them; [`render()`] checks
//! without a host by default. Automata are not minimised.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aare;
pub mod dfa;
pub mod expand;
pub mod lint;
pub mod log;
pub mod meaning;
pub mod parse;
pub mod parser_output;
pub mod print;
pub mod render;
mod source;
mod spelling;
pub mod tree;

pub use expand::{Files, IncludeCache, NoIncludes, Resolver, Unit, load, load_cached};
pub use parse::{ParseOptions, Parsed, parse, parse_rules};
pub use print::print;
pub use render::{RenderOptions, Rendered, render};
pub use source::{LineIndex, TextRange};
