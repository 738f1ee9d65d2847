//! Reading manifests from files, folders, patterns and standard input.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use spo_model::{
    Diagnostic,
    manifest::{self, Content, Entry, Limits},
    object::AnyObject,
};
use spo_node::compile::Library;

use crate::{Result, frame};

/// A text and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether it came from standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        self.name == STDIN
    }
}

const STDIN: &str = "(standard input)";

/// The file that is meant where none is given, as the existing `spoc` has it.
pub(crate) fn default_file() -> String {
    std::env::temp_dir().join("profile.yaml").display().to_string()
}

/// Shows findings about a source and gives the error to end with.
pub(crate) fn shown(source: &Source, problems: &[Diagnostic]) -> String {
    for problem in problems {
        eprint!("{}", frame::frame(source, problem));
    }
    format!("{} has errors", source.name)
}

/// Reads `-` (standard input), files, folders (their `.yaml`, `.yml` and `.json` files) and patterns with `*`.
pub(crate) fn sources(arguments: &[String]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for argument in arguments {
        if argument == "-" {
            sources.push(Source {
                name: STDIN.to_owned(),
                text: limited(io::stdin().lock(), "standard input")?,
            });
            continue;
        }
        for path in paths(argument)? {
            sources.push(read(&path)?);
        }
    }
    Ok(sources)
}

/// The only object of a file.
pub(crate) fn one(argument: &str) -> Result<(Source, AnyObject)> {
    let source = match argument {
        "-" => sources(&["-".to_owned()])?.remove(0),
        path => read(Path::new(path))?,
    };
    let mut objects = objects(&source)?;
    match (objects.pop(), objects.len()) {
        (Some(object), 0) => Ok((source, object)),
        (None, _) => Err(format!("{argument}: there is no profile in it").into()),
        (Some(_), more) => Err(format!("{argument}: there are {} profiles in it, want one", more + 1).into()),
    }
}

/// The valid objects of a text; a text with errors is an error that shows them.
pub(crate) fn objects(source: &Source) -> Result<Vec<AnyObject>> {
    let entries = entries(source)?;
    let errors: Vec<_> = entries.iter().filter(|e| e.has_errors()).flat_map(|e| &e.diagnostics).collect();
    if !errors.is_empty() {
        for problem in errors {
            eprint!("{}", frame::frame(source, problem));
        }
        return Err(format!("{} is not valid", source.name).into());
    }
    Ok(entries
        .into_iter()
        .filter_map(|entry| match entry.content {
            Content::Object(decoded) => Some(decoded.object),
            _ => None,
        })
        .collect())
}

/// The documents of a text.
pub(crate) fn entries(source: &Source) -> Result<Vec<Entry>> {
    manifest::read(&source.text, &Limits::default()).map_err(|problem| {
        eprint!("{}", frame::frame(source, &problem));
        format!("{} cannot be read", source.name).into()
    })
}

/// Every valid profile of some texts, for others to build on.
pub(crate) fn library<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Library {
    let mut library = Library::default();
    for source in sources {
        for entry in manifest::read(&source.text, &Limits::default()).into_iter().flatten() {
            if let Content::Object(decoded) = &entry.content
                && !entry.has_errors()
            {
                library.add(&decoded.object);
            }
        }
    }
    library
}

fn paths(argument: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(argument);
    if path.is_dir() {
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| format!("{argument}: {e}"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
                found.push(path);
            }
        }
        found.sort();
        return Ok(found);
    }
    if path.exists() || !argument.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let found: Vec<PathBuf> = glob::glob(argument)?.collect::<std::result::Result<_, _>>()?;
    if found.is_empty() { Err(format!("{argument}: no file matches").into()) } else { Ok(found) }
}

/// The text of one file.
pub(crate) fn read(path: &Path) -> Result<Source> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|e| format!("{name}: {e}"))?;
    let text = limited(file, &name)?;
    Ok(Source { name, text })
}

/// At most as much as a manifest may have.
fn limited(reader: impl io::Read, name: &str) -> Result<String> {
    let limit = Limits::default().bytes;
    let mut bytes = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    if bytes.len() > limit {
        return Err(format!("{name}: more than {limit} bytes, split it into several files").into());
    }
    String::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8 text").into())
}
