//! What the API server's audit log says was written, and by whom.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde_json::Value;

/// An audit log that is read as it grows.
pub struct AuditLog {
    path: PathBuf,
    read: u64,
}

/// One request that changes something, whether it succeeded or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Who asked: the last part of a service account's name, else the whole name.
    pub user: String,
    /// `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The plural of the kind, and behind a `/` the subresource.
    pub resource: String,
    /// The object's namespace, empty if it has none.
    pub namespace: String,
    /// The object's name, empty if the API server makes it up.
    pub name: String,
    /// The status of the answer.
    pub code: u64,
}

impl AuditLog {
    /// A log from its end on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn from_now(path: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self { path: path.to_owned(), read: std::fs::metadata(path)?.len() })
    }

    /// A log from its beginning on.
    pub fn whole(path: &Path) -> Self {
        Self { path: path.to_owned(), read: 0 }
    }

    /// What service accounts of a namespace have written since the last look, apart from Leases, which are renewed all
    /// the time.
    ///
    /// # Errors
    /// The log cannot be read, or a whole line is no JSON.
    pub fn writes_of(&mut self, namespace: &str) -> Result<Vec<Write>, Box<dyn Error>> {
        let prefix = format!("system:serviceaccount:{namespace}:");
        let mut writes = self.writes()?;
        writes.retain_mut(|write| match write.user.strip_prefix(&prefix) {
            Some(account) if write.resource != "leases" => {
                write.user = account.to_owned();
                true
            }
            _ => false,
        });
        Ok(writes)
    }

    /// Everything that was written since the last look.
    ///
    /// # Errors
    /// As [`Self::writes_of`].
    pub fn writes(&mut self) -> Result<Vec<Write>, Box<dyn Error>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that is not whole yet is read the next time.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += u64::try_from(whole)?;
        let mut writes = Vec::new();
        for line in text.get(..whole).unwrap_or_default().lines() {
            writes.extend(write(&serde_json::from_str(line)?));
        }
        Ok(writes)
    }
}

/// How many writes there are of each kind: by user, verb and resource.
pub fn count(writes: &[Write]) -> BTreeMap<(&str, &str, &str), usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        *counts.entry((&*write.user, &*write.verb, &*write.resource)).or_default() += 1;
    }
    counts
}

fn write(event: &Value) -> Option<Write> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    if !["create", "update", "patch", "delete", "deletecollection"].contains(&verb.as_str()) {
        return None;
    }
    let object = &event["objectRef"];
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    Some(Write {
        user: text(&event["user"]["username"]),
        verb,
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_is_read_on_from_where_it_was() -> Result<(), Box<dyn Error>> {
        let mut file = tempfile::NamedTempFile::new()?;
        let line = |user: &str, verb: &str, resource: &str| {
            serde_json::json!({ "verb": verb, "user": { "username": format!("system:serviceaccount:spo:{user}") },
                "objectRef": { "resource": resource, "subresource": "status", "name": "web" } })
            .to_string()
        };
        writeln!(file, "{}", line("manager", "patch", "seccompprofiles"))?;
        let mut log = AuditLog::from_now(file.path())?;
        let next = line("manager", "patch", "seccompprofiles");
        writeln!(file, "{}\n{}", line("spod", "get", "pods"), line("other", "create", "pods"))?;
        write!(file, "{}", &next[..20])?;
        assert_eq!(log.writes_of("spo")?.len(), 1);
        writeln!(file, "{}", &next[20..])?;
        let writes = log.writes_of("spo")?;
        assert_eq!(count(&writes), [(("manager", "patch", "seccompprofiles/status"), 1)].into());
        assert_eq!(log.writes_of("other")?, []);
        Ok(())
    }
}
