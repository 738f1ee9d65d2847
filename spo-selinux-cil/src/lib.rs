//! SELinux policy in CIL, understood: profiles are rendered to it, texts are parsed and resolved without a compiler,
//! and what a process type may effectively do is told, offline.
//!
//! ```
//! use spo_model::selinux::SelinuxProfileSpec;
//! use spo_selinux_cil::{NoAncestors, Options, render};
//!
//! let spec: SelinuxProfileSpec = serde_json::from_str(
//!     r#"{"allow": {"@self": {"tcp_socket": ["listen"]}, "http_port_t": {"tcp_socket": ["name_bind"]}}}"#,
//! )?;
//! let module = render("web", None, &spec, &NoAncestors, &Options::default()).map_err(|e| e[0].to_string())?;
//! assert_eq!((&module.module[..], &module.usage[..]), ("spo_web", "web.process"));
//! assert_eq!(
//!     module.cil,
//!     "(block web
//!     (blockinherit container)
//!     (allow process http_port_t (tcp_socket (name_bind)))
//!     (allow process self (tcp_socket (listen)))
//! )
//! "
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The pipeline
//!
//! | step | from | to | module |
//! | --- | --- | --- | --- |
//! | render | a profile and its ancestors | a module | [`mod@render`] |
//! | parse, check the form, print | text | a [`syntax::Forest`] and back | [`syntax`] |
//! | resolve | a forest | a [`policy::Policy`] | [`mod@resolve`] |
//! | ask | a policy and a type | what it may do and why | [`policy`] |
//! | check | a profile and a [`Base`] | a [`Profile`], or what is wrong | [`base`] |
//! | compare, guard, lint, minimise, merge | profiles | findings, profiles | [`profile`] |
//! | record | lines of a log | joined records, causes, a profile | [`avc`] |
//! | explain a failure | what `semodule` or `secilc` printed | findings about modules | [`compiler_output`] |
//!
//! # Reading policy
//!
//! Any CIL text, with positions. Errors name the place and, where there is one, the nearest word.
//!
//! ```
//! use spo_selinux_cil::{resolve::{Options, resolve}, syntax::Forest};
//!
//! let forest = Forest::parse("(class file (read))(classorder (file))\n(type a_t)\n(allow a_t b_t (file (read)))")?;
//! let errors = resolve(&forest, &Options::default()).unwrap_err();
//! assert_eq!(errors[0].to_string(), "3:12: error[cil-resolve]: no type \"b_t\" (did you mean \"a_t\"?)");
//! # Ok::<(), spo_model::Diagnostic>(())
//! ```
//!
//! # What a profile means
//!
//! On a base: modules of a node's policy, or the built-in minimal one.
//!
//! ```
//! use spo_model::selinux::SelinuxProfileSpec;
//! use spo_selinux_cil::{Base, NoAncestors, policy::{Access, Why}, profile::diff};
//!
//! let base = Base::builtin().map_err(|e| e[0].to_string())?;
//! let effective = |json: &str| -> Result<_, Box<dyn std::error::Error>> {
//!     let spec: SelinuxProfileSpec = serde_json::from_str(json)?;
//!     Ok(base.check("web", &spec, &NoAncestors).map_err(|e| e[0].to_string())?.effective())
//! };
//! let narrow = effective(r#"{"allow": {"http_port_t": {"tcp_socket": ["name_bind"]}}}"#)?;
//! let bind = Access::new("http_port_t", "tcp_socket", "name_bind");
//! assert_eq!(narrow[&bind], [Why::Own]);
//!
//! let wide = effective(r#"{"inherit": [{"name": "net_container"}]}"#)?;
//! assert!(wide[&bind].contains(&Why::Template("net_container".to_owned())));
//! let changed = diff(&narrow, &wide);
//! assert!(changed.removed.is_empty());
//! assert!(changed.added.contains(&Access::new("redis_port_t", "tcp_socket", "name_connect")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! Lists nest at most 4096 deep and containers 128, names have at most 2047 bytes, and inheritance and calls may make
//! a policy [`resolve::MAX_GROWTH`] times as long as written. Nothing here reads a file, the clock or the environment.
//! The verdicts are those of the SELinux userspace, releases 3.4 and 3.11 ([`syntax::Version`]); binary policies and
//! file contexts are not written.
//!
//! Known differences to the compiler, all on purpose, all stricter. It cuts ports above 65535 to 16 bits and takes ranges
//! that end before they start; it drops what follows the first part of an address in parentheses; release 3.4 resolves
//! names in abstract blocks and cannot write the rules then: all of these are refused here. Containers nest at most 128
//! deep and class maps have at most 4096 permissions, so that hostile policies end.
//!
//! The parser takes its tokens with `nom`; the tree above them is built with a stack of its own, because recursion as deep
//! as the compiler allows (4096 lists) would not fit a thread's stack, and because every node goes straight into one
//! array of 8 bytes each, which is what makes a policy of 23 MB fit into a fraction of the compiler's memory.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![allow(
    clippy::result_large_err,
    reason = "diagnostics are the errors of the whole workspace, off the fast paths"
)]

pub mod avc;
pub mod base;
pub mod compiler_output;
pub mod policy;
pub mod profile;
pub mod render;
pub mod resolve;
mod suggest;
pub mod syntax;
pub mod templates;

pub use base::{Base, Profile};
pub use render::{Ancestors, Layout, NoAncestors, Options, Rendered, render, render_raw};
