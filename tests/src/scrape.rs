//! Metrics as a client reads them: over TLS, as whoever has a token.

use std::{error::Error, fs, process::Command};

use crate::{
    objects::text,
    operator::{NAMESPACE, Operator},
};

impl Operator {
    /// A folder with a serving certificate for this machine, which [`Self::scrape`] trusts.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn metrics_certificate(&self) -> Result<String, Box<dyn Error>> {
        let folder = self.server.dir().join("metrics");
        fs::create_dir_all(&folder)?;
        let (certificate, key) = self.server.certificate()?;
        fs::write(folder.join("tls.crt"), certificate)?;
        fs::write(folder.join("tls.key"), key)?;
        Ok(folder.display().to_string())
    }

    /// The header of a service account of the operator's namespace.
    ///
    /// # Errors
    /// There is no such account.
    pub fn bearer(&self, account: &str) -> Result<String, Box<dyn Error>> {
        let token = self.kubectl(&["create", "token", account, "-n", NAMESPACE])?;
        Ok(format!("Authorization: Bearer {}", token.trim()))
    }

    /// What a path answers: the body, and status and content type. Needs `curl`.
    ///
    /// # Errors
    /// `curl` cannot be run.
    pub fn scrape(
        &self,
        port: u16,
        path: &str,
        headers: &[&str],
    ) -> Result<(String, String), Box<dyn Error>> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--http1.1", "-w", "\n%{http_code} %{content_type}", "--cacert"]);
        command.arg(self.server.dir().join("ca.crt"));
        for header in headers {
            command.args(["-H", header]);
        }
        let output = command.arg(format!("https://127.0.0.1:{port}{path}")).output()?;
        let text = text(&output);
        let (body, end) = text.rsplit_once('\n').ok_or(text.clone())?;
        Ok((body.to_owned(), end.to_owned()))
    }
}
