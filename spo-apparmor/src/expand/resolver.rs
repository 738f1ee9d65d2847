//! Where included files come from.

use std::{borrow::Cow, collections::BTreeMap, ops::Bound, sync::Arc};

use crate::tree::IncludeTarget;

/// Finds the text of an included file.
///
/// The crate reads no files itself, so that a checker can be hermetic; [`NoIncludes`] and [`Files`] are
/// ready, a directory of the host is a dozen lines in the program that wants it.
pub trait Resolver {
    /// The files that `target` names, in the order in which they are read, each with a name for messages.
    ///
    /// An include of a directory names all its files. `None` when there is no such file.
    fn resolve(&self, target: &IncludeTarget) -> Option<Vec<Included>>;

    /// Whether the abi file exists; its content does not matter here.
    fn has_abi(&self, target: &IncludeTarget) -> bool {
        self.resolve(target).is_some()
    }
}

/// One included file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The path that identifies it, also in messages.
    pub name: Arc<str>,
    /// Its content.
    pub text: Arc<str>,
}

/// Knows no file: every include without `if exists` is an error; abi rules are taken on trust.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIncludes;

impl Resolver for NoIncludes {
    fn resolve(&self, _: &IncludeTarget) -> Option<Vec<Included>> {
        None
    }

    /// Nothing is known of the host, so every abi is taken.
    fn has_abi(&self, _: &IncludeTarget) -> bool {
        true
    }
}

/// Files held in memory, by absolute path.
///
/// `<name>` is looked up below each search directory in order, a relative `"name"` below the working
/// directory. A directory stands for the files directly in it, without those that package managers and
/// editors leave behind.
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: BTreeMap<Arc<str>, Arc<str>>,
    search: Vec<String>,
    working: String,
}

impl Files {
    /// No files, searching `<name>` in `/etc/apparmor.d` and relative names in `/`.
    pub fn new() -> Self {
        Self { files: BTreeMap::new(), search: vec!["/etc/apparmor.d".to_owned()], working: "/".to_owned() }
    }

    /// The same with other directories for `<name>`.
    #[must_use]
    pub fn with_search(mut self, directories: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.search = directories.into_iter().map(Into::into).collect();
        self
    }

    /// The same with another directory for relative names.
    #[must_use]
    pub fn with_working_directory(mut self, directory: impl Into<String>) -> Self {
        self.working = directory.into();
        self
    }

    /// Adds a file under its absolute path, replacing one of the same path.
    pub fn insert(&mut self, path: impl AsRef<str>, text: impl Into<Arc<str>>) {
        self.files.insert(normalize(path.as_ref()).into(), text.into());
    }

    fn lookup(&self, path: &str) -> Option<Vec<Included>> {
        let path = if is_normal(path) { Cow::Borrowed(path) } else { Cow::Owned(normalize(path)) };
        if let Some((name, text)) = self.files.get_key_value(&*path) {
            return Some(vec![Included { name: name.clone(), text: text.clone() }]);
        }
        let prefix = if path == "/" { path.into_owned() } else { [&*path, "/"].concat() };
        let mut found = false;
        let mut list = Vec::new();
        for (name, text) in self.files.range::<str, _>((Bound::Included(&*prefix), Bound::Unbounded)) {
            let Some(rest) = name.strip_prefix(&*prefix) else { break };
            found = true;
            if !rest.contains('/') && !is_left_behind(rest) {
                list.push(Included { name: name.clone(), text: text.clone() });
            }
        }
        found.then_some(list)
    }
}

impl Resolver for Files {
    fn resolve(&self, target: &IncludeTarget) -> Option<Vec<Included>> {
        match target {
            IncludeTarget::System(path) | IncludeTarget::Local(path) if path.starts_with('/') => {
                self.lookup(path)
            }
            IncludeTarget::System(path) => {
                self.search.iter().find_map(|dir| self.lookup(&[dir, "/", path].concat()))
            }
            IncludeTarget::Local(path) => self.lookup(&[&self.working, "/", path].concat()),
        }
    }
}

/// Whether the include of a directory passes over a file of this name.
pub fn is_left_behind(name: &str) -> bool {
    const SUFFIXES: [&str; 13] = [
        ".dpkg-new",
        ".dpkg-old",
        ".dpkg-dist",
        ".dpkg-bak",
        ".dpkg-remove",
        ".pacsave",
        ".pacnew",
        ".rpmnew",
        ".rpmsave",
        ".orig",
        ".rej",
        "~",
        ".dpkg-tmp",
    ];
    name.starts_with('.') || name == "README" || SUFFIXES.iter().any(|s| name.ends_with(s))
}

/// Whether [`normalize`] would change nothing.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    let odd = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
    bytes.len() > 1 && bytes[0] == b'/' && !path.ends_with('/') && !bytes.windows(2).any(odd)
}

/// An absolute path without `.`, `..` and double slashes.
fn normalize(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_files() {
        let mut files = Files::new().with_working_directory("/w/x");
        files.insert("/etc/apparmor.d/local/b", "b");
        files.insert("/etc/apparmor.d/local/a", "a");
        files.insert("/etc/apparmor.d/local/a~", "old");
        files.insert("/etc/apparmor.d/local/sub/c", "c");
        files.insert("/w/y", "y");
        let names = |target| {
            files.resolve(&target).map(|l| l.into_iter().map(|i| i.text.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(names(IncludeTarget::System("local".into())), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names(IncludeTarget::Local("../y".into())), Some(vec!["y".to_owned()]));
        assert_eq!(names(IncludeTarget::System("nothing".into())), None);
    }
}
