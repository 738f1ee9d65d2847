//! Writing results: standard output, or a file that is replaced as a whole.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
};

use crate::Result;

/// Writes to `-` (standard output) or a file. A file is written aside with the mode given and renamed, so that it is
/// never half-written; a device such as `/dev/stdout` is written to as it is.
pub(crate) fn write(target: &str, text: &str, mode: u32) -> Result<()> {
    if target == "-" {
        return Ok(io::stdout().lock().write_all(text.as_bytes())?);
    }
    let path = Path::new(target);
    let at_fault = |error: io::Error| format!("{target}: {error}");
    let special = fs::metadata(path).is_ok_and(|m| {
        let kind = m.file_type();
        kind.is_char_device() || kind.is_fifo() || kind.is_socket()
    });
    if special || target.starts_with("/dev/") {
        return Ok(fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut f| f.write_all(text.as_bytes()))
            .map_err(at_fault)?);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(at_fault)?;
    file.write_all(text.as_bytes()).map_err(at_fault)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(at_fault)?;
    file.as_file().sync_all().map_err(at_fault)?;
    file.persist(path).map_err(|e| at_fault(e.error))?;
    Ok(())
}

/// A value as YAML.
pub(crate) fn yaml(value: &serde_json::Value) -> Result<String> {
    Ok(serde_saphyr::to_string(value)?)
}
