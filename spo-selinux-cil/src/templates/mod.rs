//! The blocks a profile can inherit, and a base to compile against where none is at hand.
//!
//! Written for this project. One set serves bases of every flavour (with a container module of Fedora's kind, with the
//! reference policy's, with none): templates refer to types by the names distributions use, and where a base lacks one,
//! the optional around the rules is dropped, and [`missing`] says so. Differences to the blocks that come with
//! container-selinux: all are abstract, `container` reads `proc_t` and not all of `proc_type` (so it passes the
//! `neverallow` rules of the reference policy), and `net_container` has its rules written out, so it works where no
//! `sandbox_net_domain` exists.

use std::fmt::Write;

use crate::{
    policy::Policy,
    syntax::{Forest, View, word},
};

/// Names of the template blocks.
pub const NAMES: [&str; 17] = [
    "container",
    "net_container",
    "restricted_net_container",
    "log_container",
    "log_rw_container",
    "log_manage_container",
    "home_container",
    "home_rw_container",
    "home_manage_container",
    "config_container",
    "config_rw_container",
    "config_manage_container",
    "tmp_container",
    "tmp_rw_container",
    "tty_container",
    "virt_container",
    "x_container",
];

/// The template blocks as CIL.
pub const TEMPLATES: &str = include_str!("templates.cil");

/// The built-in minimal base as CIL, without its categories; see [`minimal_base`].
const BASE: &str = include_str!("base.cil");

/// Categories of the built-in base, as many as targeted policies have.
const CATEGORIES: usize = 1024;

/// The built-in minimal base as CIL: a complete policy that compiles, with every name the templates use.
pub fn minimal_base() -> String {
    let mut text = String::with_capacity(BASE.len() + CATEGORIES * 24);
    text.push_str(BASE);
    for n in 0..CATEGORIES {
        let _ = writeln!(text, "(category c{n})");
    }
    text.push_str("(categoryorder (");
    for n in 0..CATEGORIES {
        let _ = write!(text, "{}c{n}", if n == 0 { "" } else { " " });
    }
    text.push_str("))\n");
    text
}

/// The names of types and attributes a template uses that a base does not have, sorted.
///
/// A template with missing names compiles, but gives less than it does elsewhere.
pub fn missing(template: &str, base: &Policy) -> Vec<String> {
    let Ok(forest) = Forest::parse(TEMPLATES) else { return Vec::new() };
    let mut names = Vec::new();
    let mut wanted = vec![template.to_owned()];
    while let Some(name) = wanted.pop() {
        let block = forest.all_statements().find(|b| b.children().nth(1).is_some_and(|n| n.text() == name));
        for statement in block.into_iter().flat_map(View::children).filter(|v| v.is_list()) {
            if statement.head() == Some(word::BLOCKINHERIT) {
                wanted.extend(statement.children().nth(1).map(|n| n.text().to_owned()));
            }
            let inner = statement.head() == Some(word::OPTIONAL);
            let rules: Vec<_> = if inner { statement.children().skip(2).collect() } else { vec![statement] };
            for rule in rules {
                if matches!(rule.head(), Some(word::ALLOW | word::TYPEATTRIBUTESET)) {
                    names.extend(rule.children().skip(1).take(2).filter_map(|v| v.atom().map(|_| v.text())));
                }
            }
        }
    }
    names.retain(|n| !matches!(*n, "process" | "socket" | "self") && base.find(n).is_none());
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::{Options, resolve};

    #[test]
    fn every_template_compiles_on_the_built_in_base_without_a_dropped_optional() {
        let base = minimal_base();
        for template in NAMES {
            let profile = format!("(block p (blockinherit container) (blockinherit {template}))");
            let profile =
                if template == "container" { "(block p (blockinherit container))" } else { &profile };
            let mut forest = Forest::new();
            for text in [&base[..], TEMPLATES, profile] {
                forest.add("", text).unwrap();
            }
            let policy =
                resolve(&forest, &Options::default()).unwrap_or_else(|e| panic!("{template}: {}", e[0]));
            assert!(policy.find("p.process").is_some());
            assert!(policy.find("container.process").is_none());
            assert_eq!(policy.dropped_optionals(), &[] as &[String]);
            assert_eq!(missing(template, &policy), Vec::<String>::new());
        }
    }

    #[test]
    fn missing_names_are_reported() {
        let forest = Forest::parse("(type a)").unwrap();
        let policy = resolve(&forest, &Options::default().with_complete(false)).unwrap();
        assert_eq!(missing("tty_container", &policy), ["device_t", "devtty_t"]);
        assert!(missing("log_rw_container", &policy).contains(&"auditd_log_t".to_owned()));
    }
}
