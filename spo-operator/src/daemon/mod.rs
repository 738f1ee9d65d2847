//! The agent of a node: puts profiles on the node and says where they stand.
//!
//! ```text
//! watches ──► Cache ──► plan ──► spo_node::install ──► standings ──► node statuses ──► Reporter ──► writes
//! (profiles, settings)   pure        (host)                 pure          pure                │
//! watch of the node's own statuses ───────────────────────────────────────────────────────────┘
//! ```
//!
//! * [`settings`]: what it is to do.
//! * [`kept`]: what is kept of it.
//! * [`plan`]: what the node should have.
//! * `build`: from a profile to its artefact; only what changed is compiled.
//! * [`refusal`]: why a profile is not put there.
//! * [`agent`]: one round on the host.
//! * [`status`]: the objects that say where profiles stand.
//! * [`reporter`]: which of them have to be written, and when.
//! * [`write`](mod@write): the requests.
//! * [`events`]: events on profiles in error.
//! * [`confine`]: its own AppArmor profile.
//! * [`leave`]: whether the end of the process is the end of the operator.
//! * [`enter`]: running the host's tools from inside a container.
//! * [`process`]: flags and the loop.
//!
//! # What stays on the node
//!
//! | case | what was there before | state |
//! | --- | --- | --- |
//! | the profile cannot be read, compiled, or taken by the kernel | stays | `Error` |
//! | the seccomp profile is not allowed (`spec.security` of the settings) | goes: no new container gets it; running ones keep their filter, which belongs to the process | `Error`, message `not allowed: …` |
//! | the SELinux profile is not allowed (`spec.selinux`) | goes, the module too: no new container gets it, and to running ones, whose type is none any more, SELinux denies what it denies unlabelled processes | the same |
//! | the settings cannot be read | stays; nothing new, nothing changed | `Installed` if it is unchanged, else `Error` |
//! | the settings are gone | as the last settings say, until others come | as they say |
//! | the settings are gone, and the agent was started since | stays; nothing new, nothing changed | as if they could not be read |
//! | the profile is being deleted, and something holds it | stays | `Terminating` |
//! | the profile is gone | goes | – |
//! | an AppArmor profile is to go, for whatever reason, and processes run under it | stays until they have ended: looked at again and again, also when the operator leaves | as without it, the message names a process; in the log if the profile is gone |
//! | the profile is switched off by itself, or part of a recording | goes | `Disabled`, `Partial` |
//! | an AppArmor or SELinux profile is switched off by itself, and pods use it (the manager's finalizer says so) | stays until they have gone: unloaded, AppArmor would not confine them at all | `Disabled`, message `kept: …` |
//! | the module refused the profile as it is | stays, and it is not tried again at once | `Error`, as it was told |
//! | its kind is switched off | stays: unloading it would free pods that run under it | `Disabled` |
//! | the node lacks the security module | – | `Unsupported` |
//! | the node has it, and it cannot be used now: no `apparmor_parser`, a `selinuxd` that is not ready | stays, also what is to go | `Error`, and it is tried again |
//! | a list from the API server is not complete | stays | – |

pub mod agent;
mod build;
pub mod confine;
pub mod enter;
pub mod events;
#[cfg(test)]
mod fixture;
pub mod kept;
pub mod leave;
pub mod plan;
pub mod process;
pub mod refusal;
pub mod reporter;
pub mod settings;
pub mod status;
pub mod write;
