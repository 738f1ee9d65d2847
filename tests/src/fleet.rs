//! A manager and agents on an API server alone, without a webhook: what many profiles and nodes cost.

use std::{
    error::Error,
    ops::{Deref, DerefMut},
};

use crate::{
    audit::AuditLog,
    operator::{Admission, Operator},
};

/// The operator's namespace, and its manager's service account.
pub const OPERATOR: &str = crate::operator::NAMESPACE;

/// The agents' service account.
pub const AGENT: &str = "spod";

/// The namespace of profiles.
pub const NAMESPACE: &str = "production";

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// An operator of one manager and many agents.
pub struct Fleet(Operator);

impl Fleet {
    /// Starts everything: a manager called `manager` and agents called `node-0`, `node-1`, …. `None` if a tool is
    /// missing, which [`crate::skip`] has said then.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(nodes: usize) -> Fallible<Option<Self>> {
        let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(None) };
        operator.manager("manager", &[])?;
        operator.until("there is a SPOD", ("spod", OPERATOR, "spod"), |spod| !spod.is_null())?;
        let names: Vec<String> = (0..nodes).map(|number| format!("node-{number}")).collect();
        operator.nodes(&names)?;
        for name in &names {
            operator.start_agent_anywhere(name, &["--with-insecure-metrics-access"])?;
        }
        Ok(Some(Self(operator)))
    }

    /// Runs `kubectl` as the administrator and gives what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Fallible<String> {
        self.kubectl_of(arguments, stdin)
    }

    /// The audit log from now on.
    ///
    /// # Errors
    /// There is none.
    pub fn log(&self) -> Fallible<AuditLog> {
        self.audit()
    }
}

impl Deref for Fleet {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.0
    }
}

impl DerefMut for Fleet {
    fn deref_mut(&mut self) -> &mut Operator {
        &mut self.0
    }
}
