//! The agent under an AppArmor profile of its own.
//!
//! A kubelet refuses a pod that names a profile on a node without AppArmor, and one DaemonSet is for all nodes. So an
//! agent that is privileged takes its profile itself where there is AppArmor: it loads it, and starts itself again
//! under it (`exec` of `proc_pid_attr(5)`, as `aa_change_onexec(2)` does). Its children are the host's compilers, which
//! run as the host would run them.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use spo_node::kernel::{Change, Kernel, Live, Load, Lsm, Module, Unload};

use crate::render::own;

/// What an agent is confined by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// There is no AppArmor.
    Absent,
    /// This profile, whoever gave it.
    Under(String),
    /// By nothing, and why.
    Failed(String),
}

/// Set where the agent has started itself again.
const AGAIN: &str = "SPO_CONFINED";

/// Takes the agent's profile, for this directory of the kubelet; where that works it does not come back, but starts
/// again. Has to be called while the process has one thread.
pub fn confine(kernel: &Live, kubelet: &Path) -> Confinement {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) {
        return Confinement::Absent;
    }
    match current() {
        Ok(Some(profile)) => return Confinement::Under(profile),
        Ok(None) => {}
        Err(error) => return Confinement::Failed(error.to_string()),
    }
    if env::var_os(AGAIN).is_some() {
        return Confinement::Failed(format!("it was started under {} and is not", own::APPARMOR_NAME));
    }
    let Some(text) = kubelet.to_str().and_then(own::apparmor) else {
        return Confinement::Failed(format!(
            "the kubelet's directory {} is no plain path",
            kubelet.display()
        ));
    };
    let load = Load { lsm: Lsm::AppArmor, name: own::APPARMOR_NAME, bytes: text.as_bytes(), origin: None };
    let changed = kernel.change(&Change { loads: vec![load], unloads: Vec::new() });
    if let Some(Err(refusal)) = changed.loads.into_iter().next() {
        return Confinement::Failed(refusal.message);
    }
    if let Err(error) = fs::write(attribute("exec"), format!("exec {}", own::APPARMOR_NAME)) {
        return Confinement::Failed(format!("{}: {error}", attribute("exec").display()));
    }
    let mut words = env::args_os();
    let mut again = Command::new("/proc/self/exe");
    again.arg0(words.next().unwrap_or_default()).args(words).env(AGAIN, "1");
    Confinement::Failed(format!("it cannot start itself again: {}", again.exec()))
}

/// Takes the agent's profile out of the kernel, and so off this process.
pub fn release(kernel: &Live) {
    let survey = kernel.survey(&[Lsm::AppArmor].into());
    let Module::Loads { names, .. } = survey.apparmor else { return };
    if !names.contains(own::APPARMOR_NAME) {
        return;
    }
    let unload = Unload { lsm: Lsm::AppArmor, name: own::APPARMOR_NAME };
    let changed = kernel.change(&Change { loads: Vec::new(), unloads: vec![unload] });
    if let Some(Err(refusal)) = changed.unloads.into_iter().next() {
        tracing::warn!(profile = own::APPARMOR_NAME, reason = refusal.message, "cannot be unloaded");
    }
}

/// The profile of this process; `None` if it is unconfined.
fn current() -> std::io::Result<Option<String>> {
    let text = fs::read_to_string(attribute("current"))?;
    Ok(profile(&text))
}

/// `<profile> (<mode>)`, or `unconfined`.
fn profile(label: &str) -> Option<String> {
    let label = label.trim_end_matches(['\n', '\0']);
    let name = label.rsplit_once(" (").map_or(label, |(name, _)| name);
    (name != "unconfined").then(|| name.to_owned())
}

/// AppArmor's own place for it since Linux 5.8, else the one that all security modules share.
fn attribute(name: &str) -> PathBuf {
    let own = Path::new("/proc/self/attr/apparmor").join(name);
    if own.exists() { own } else { Path::new("/proc/self/attr").join(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_a_profile_or_nothing() {
        assert_eq!(profile("unconfined\n"), None);
        assert_eq!(profile("spo-agent (enforce)\n").as_deref(), Some("spo-agent"));
        assert_eq!(
            profile("cri-containerd.apparmor.d (enforce)").as_deref(),
            Some("cri-containerd.apparmor.d")
        );
        // Not every mode is in brackets everywhere.
        assert_eq!(profile("other\0").as_deref(), Some("other"));
    }

    #[test]
    fn the_profile_is_called_what_it_is_loaded_as() {
        assert!(own::APPARMOR.1.contains(&format!("\nprofile {} ", own::APPARMOR_NAME)));
    }
}
