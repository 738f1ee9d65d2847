//! What a test says to the API server about objects: apply, get, list, wait. All of it as the administrator.

use std::{error::Error, process::Output, time::Duration};

use serde_json::Value;

use crate::{operator::Operator, waiting::until};

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A resource, a namespace (empty if it has none), a name.
pub type Named<'a> = (&'a str, &'a str, &'a str);

impl Operator {
    /// Runs kubectl as the administrator, whatever comes of it.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn try_kubectl(&self, arguments: &[&str], stdin: &str) -> Result<Output, Box<dyn Error>> {
        self.server.kubectl(arguments, stdin)
    }

    /// Runs kubectl, which has to succeed.
    ///
    /// # Errors
    /// It does not.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
        self.kubectl_of(arguments, "")
    }

    /// As [`Self::kubectl`], with something to read.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn kubectl_of(&self, arguments: &[&str], stdin: &str) -> Result<String, Box<dyn Error>> {
        let output = self.try_kubectl(arguments, stdin)?;
        match output.status.success() {
            true => Ok(text(&output)),
            false => Err(format!("kubectl {}: {}", arguments.join(" "), text(&output)).into()),
        }
    }

    /// Applies documents.
    ///
    /// # Errors
    /// One is refused.
    pub fn apply_text(&self, documents: &str) -> Result<String, Box<dyn Error>> {
        self.kubectl_of(&["apply", "--server-side", "--force-conflicts", "-f", "-"], documents)
    }

    /// Applies a document; returns what kubectl says, warnings included.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, document: &Value) -> Result<String, Box<dyn Error>> {
        self.apply_text(&document.to_string())
    }

    /// Applies a document that has to be refused, with this in the reason.
    ///
    /// # Errors
    /// It is taken, or refused for another reason.
    pub fn refused(&self, document: &Value, why: &str) -> Result<String, Box<dyn Error>> {
        self.refused_to(&["apply", "--server-side", "-f", "-"], document, why)
    }

    /// As [`Self::refused`], with these arguments for kubectl.
    ///
    /// # Errors
    /// As [`Self::refused`].
    pub fn refused_to(
        &self,
        arguments: &[&str],
        document: &Value,
        why: &str,
    ) -> Result<String, Box<dyn Error>> {
        let output = self.try_kubectl(arguments, &document.to_string())?;
        let said = text(&output);
        match !output.status.success() && said.contains(why) {
            true => Ok(said),
            false => Err(format!("not refused because of {why:?}: {said}").into()),
        }
    }

    /// An object, or null.
    ///
    /// # Errors
    /// It cannot be asked for.
    pub fn get(&self, (resource, namespace, name): Named<'_>) -> Result<Value, Box<dyn Error>> {
        let mut arguments = vec!["get", resource, name, "-o", "json", "--ignore-not-found"];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        let output = self.try_kubectl(&arguments, "")?;
        if !output.status.success() {
            return Err(text(&output).into());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Objects of a namespace (empty for all of them) by a selector.
    ///
    /// # Errors
    /// They cannot be asked for.
    pub fn list(
        &self,
        resource: &str,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, Box<dyn Error>> {
        let namespaces = if namespace.is_empty() { "-A" } else { &format!("--namespace={namespace}") };
        let output = self.try_kubectl(&["get", resource, namespaces, "-l", selector, "-o", "json"], "")?;
        if !output.status.success() {
            return Err(text(&output).into());
        }
        let mut list: Value = serde_json::from_slice(&output.stdout)?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Waits until an object is as it should be; says what it is if it does not become so.
    ///
    /// # Errors
    /// It does not.
    pub fn until(
        &self,
        what: &str,
        named: Named<'_>,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Box<dyn Error>> {
        let mut found = Ok(Value::Null);
        self.holds(what, || {
            // The server may be away for a while; that is what some tests are about.
            found = self.get(named);
            Ok(found.as_ref().is_ok_and(&is))
        })
        .map_err(|error| format!("{error}\n{named:?}: {found:?}"))?;
        found
    }

    /// Waits until something holds; says what the processes said if it does not.
    ///
    /// # Errors
    /// It does not.
    pub fn holds(
        &self,
        what: &str,
        holds: impl FnMut() -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        until(PATIENCE, what, holds).map_err(|error| format!("{error}\n{}", self.logs()).into())
    }

    /// Waits until a seccomp profile of `production` is installed on every node.
    ///
    /// # Errors
    /// It does not become so.
    pub fn is_installed(&self, profile: &str) -> Result<Value, Box<dyn Error>> {
        self.until(profile, ("seccompprofiles", "production", profile), |found| {
            let ready = condition(found, "Ready");
            found["status"]["status"] == "Installed"
                && ready["status"] == "True"
                && ready["observedGeneration"] == found["metadata"]["generation"]
        })
    }
}

/// A condition of an object, or null.
pub fn condition<'a>(object: &'a Value, name: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|c| c["type"] == name)).unwrap_or(&Value::Null)
}

/// What a command printed.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
