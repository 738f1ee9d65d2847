//! The SELinux modules with the blocks that profiles inherit.
//!
//! Ours are one module. An administrator may put files of CIL in its place (`selinux.customTemplatesConfigMap` of the
//! settings): each becomes a module with the name of the file, so a file `base_container.cil` takes the place of a
//! distribution's module of that name too.
//!
//! Which modules of the store came from templates is noted in a file before they are put there, so that no later
//! choice leaves an earlier one behind.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Our own module.
const OWN: &str = "spo_templates";

/// The beginning of the names of our modules.
const RESERVED: &str = "spo_";

/// A module of container-selinux's own templates; where it is installed, its blocks are used.
const STOCK: &str = "base_container";

/// The file with the names of the modules that came from templates, one in a line, relative to the root.
const NOTE: &str = "var/lib/security-profiles-operator/selinux-templates";

/// The most bytes that all files of a directory have; a ConfigMap has 1 MiB at most.
const LIMIT: u64 = 4 << 20;

/// Where templates come from.
#[derive(Clone, Debug, Default)]
pub(super) enum Templates {
    /// Our own, or those that the distribution has installed.
    #[default]
    Own,
    /// The `.cil` files of a directory.
    Of(PathBuf),
}

/// A module to install before those that inherit from it.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
}

impl Templates {
    /// The modules to install, by name, in a store where somebody else installed those that `is_foreign` tells. The
    /// error is for people.
    pub(super) fn read(&self, is_foreign: impl Fn(&str) -> bool) -> Result<Vec<Template>, String> {
        match self {
            Self::Own if is_foreign(STOCK) => Ok(Vec::new()),
            Self::Own => {
                let text = spo_selinux_cil::templates::TEMPLATES.as_bytes().to_vec();
                Ok(vec![Template { name: OWN.to_owned(), text }])
            }
            Self::Of(directory) => read(directory)
                .map_err(|error| format!("SELinux templates of {}: {error}", directory.display())),
        }
    }
}

fn read(directory: &Path) -> io::Result<Vec<Template>> {
    let mut all = Vec::new();
    let mut left = LIMIT;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".cil")) else {
            continue;
        };
        check(name).map_err(|reason| io::Error::other(format!("{name}.cil: {reason}")))?;
        // Files of a mounted ConfigMap are symlinks.
        let size = fs::metadata(&path)?.len();
        left = left
            .checked_sub(size)
            .ok_or_else(|| io::Error::other(format!("the files have more than {} MiB", LIMIT >> 20)))?;
        all.push(Template { name: name.to_owned(), text: fs::read(&path)? });
    }
    if all.is_empty() {
        return Err(io::Error::other("there is no file *.cil"));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Whether a module may have this name (libsemanage's `semanage_module_validate_name`).
fn check(name: &str) -> Result<(), String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(letters) {
        return Err(
            "a module's name begins with a letter and has letters, digits, '_', '-' and '.'".to_owned()
        );
    }
    if name.starts_with(RESERVED) {
        return Err(format!("names that begin with {RESERVED:?} are those of profiles"));
    }
    Ok(())
}

/// A hash that changes with every name and every byte.
pub(super) fn digest(templates: &[Template]) -> String {
    let mut all = Vec::new();
    for template in templates {
        all.extend_from_slice(format!("{} {}\n", template.name, template.text.len()).as_bytes());
        all.extend_from_slice(&template.text);
    }
    crate::content::Sha256::of(&all).to_string()
}

/// The modules of the store that came from templates, or were about to.
pub(super) fn known(root: &Path) -> io::Result<BTreeSet<String>> {
    match fs::read_to_string(root.join(NOTE)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Notes which modules come from templates; the file goes when there are none.
pub(super) fn note(root: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    if *names == known(root)? {
        return Ok(());
    }
    let path = root.join(NOTE);
    if names.is_empty() {
        return fs::remove_file(path);
    }
    let staged = path.with_extension("new");
    let mut file = fs::File::create(&staged)?;
    names.iter().try_for_each(|name| writeln!(file, "{name}"))?;
    file.sync_all()?;
    fs::rename(staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Result<Vec<Template>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("writes");
        }
        Templates::Of(directory.path().to_owned()).read(|_| false)
    }

    #[test]
    fn files_of_cil_become_modules_and_others_are_left() {
        let read = of(&[("net.cil", "(block net)"), ("base.cil", "(block base)"), ("README.md", "…")])
            .expect("reads");
        let names: Vec<&str> = read.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["base", "net"]);
        let other = of(&[("net.cil", "(block net)"), ("base.cil", "(block bass)")]).expect("reads");
        assert_ne!(digest(&read), digest(&other));
    }

    #[test]
    fn a_directory_that_cannot_serve_is_refused_with_its_reason() {
        let reason = |files: &[(&str, &str)]| of(files).expect_err("refused");
        assert!(reason(&[]).contains("no file *.cil"));
        assert!(reason(&[("1st.cil", "")]).contains("begins with a letter"));
        assert!(reason(&[("spo_web.cil", "")]).contains("those of profiles"));
        let big = "x".repeat(5 << 20);
        assert!(reason(&[("big.cil", &big)]).contains("more than 4 MiB"));
        let absent = Templates::Of("/nonexistent".into()).read(|_| false).expect_err("refused");
        assert!(absent.contains("/nonexistent"));
    }

    #[test]
    fn a_distribution_s_own_templates_are_used() {
        assert!(Templates::Own.read(|name| name == "base_container").expect("reads").is_empty());
        assert_eq!(Templates::Own.read(|_| false).expect("reads").len(), 1);
    }
}
