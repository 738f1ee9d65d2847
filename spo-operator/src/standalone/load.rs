//! Reading a directory of manifests.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use spo_model::{
    Diagnostic, FieldPath,
    manifest::{self, Entry, Limits},
};

/// One file of manifests.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Its path, as it is told.
    pub(super) name: String,
    /// Its path, wherever this process was started: what came from it is known by that.
    pub(super) source: String,
    /// Its text, for excerpts; empty if it could not be read.
    pub(super) text: String,
    /// Its documents, or why it cannot be read at all.
    pub(super) entries: Result<Vec<Entry>, Diagnostic>,
}

/// Why a directory of manifests cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the manifests in {}: {source}", path.display())]
pub struct LoadError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Every manifest below some directories, in their order and that of the paths.
///
/// Files ending in `.yaml`, `.yml` and `.json` count; hidden ones do not. Directories that are symbolic links are
/// not entered.
pub(super) fn load(directories: &[PathBuf], limits: &Limits) -> Result<Vec<Manifest>, LoadError> {
    let mut manifests = Vec::new();
    for directory in directories {
        let mut files = Vec::new();
        find(directory, &mut files).map_err(|source| LoadError { path: directory.clone(), source })?;
        files.sort();
        // Not of the files themselves: links among them may lead elsewhere with each new version.
        let real = directory.canonicalize().unwrap_or_else(|_| directory.clone());
        let source = |path: &Path| match path.strip_prefix(directory) {
            Ok(below) => real.join(below).to_string_lossy().into_owned(),
            Err(_) => path.to_string_lossy().into_owned(),
        };
        manifests.extend(files.into_iter().map(|path| read(&path, source(&path), limits)));
    }
    Ok(manifests)
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path, source: String, limits: &Limits) -> Manifest {
    let name = path.to_string_lossy().into_owned();
    match text(path, limits) {
        Ok(text) => Manifest { name, source, entries: manifest::read(&text, limits), text },
        Err(problem) => Manifest { name, source, text: String::new(), entries: Err(problem) },
    }
}

/// The text of a file; a file that is too large is not read.
fn text(path: &Path, limits: &Limits) -> Result<String, Diagnostic> {
    let unreadable = |error: io::Error| {
        Diagnostic::error("unreadable", FieldPath::root(), format!("cannot be read: {error}"))
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Diagnostic::error("unreadable", FieldPath::root(), "is no regular file"));
    }
    let too_large = |size: u64| {
        let message = format!("the file has {size} bytes, at most {} are read", limits.bytes);
        Diagnostic::error("too-large", FieldPath::root(), message).with_help("split it into several files")
    };
    if metadata.len() > limits.bytes as u64 {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    file.take(limits.bytes as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limits.bytes {
        return Err(too_large(bytes.len() as u64));
    }
    String::from_utf8(bytes)
        .map_err(|_| Diagnostic::error("encoding", FieldPath::root(), "the file is not UTF-8 text"))
}
