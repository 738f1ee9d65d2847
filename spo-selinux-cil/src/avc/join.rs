//! Records of one event, put together.
//!
//! The kernel writes an access decision without the program's path and often with only the last part of the object's:
//! both are in the records of the system call, which have the same stamp and come before or after.

use std::collections::{BTreeMap, VecDeque};

use super::{Line, Record, Refusal, Sibling, SiblingKind, Stamp};

/// Most events a [`Joiner`] waits for; the oldest is given out first.
pub const MAX_PENDING: usize = 64;

/// Most decisions kept of one event, and most paths of one system call.
const MAX_RECORDS: usize = 32;

/// Longest path (`PATH_MAX`) and longest other text that is kept of a record beside a decision.
const MAX_TEXT: usize = 4096;

/// Joins the records of a log that is read to its end; see [`Joiner`].
pub fn join(lines: impl IntoIterator<Item = Line>) -> Vec<Event> {
    let mut joiner = Joiner::default();
    let mut events: Vec<Event> = lines.into_iter().flat_map(|l| joiner.push(l)).collect();
    events.extend(joiner.drain());
    events
}

/// What a log tells once the records of an event are together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An access decision with what the event's other records say.
    Access(Box<Record>),
    /// Something the security server refused.
    Refusal(Box<Refusal>),
    /// A policy was loaded.
    PolicyLoad,
}

/// The system call an access decision was made in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Its number, of the architecture in `arch`.
    pub number: Option<u32>,
    /// The audit architecture, as hexadecimal digits.
    pub arch: Option<String>,
    /// Whether it succeeded.
    pub success: Option<bool>,
    /// What it returned; an error is a negative number.
    pub exit: Option<i64>,
    /// The process.
    pub pid: Option<u32>,
    /// The command name.
    pub comm: Option<String>,
    /// The program.
    pub exe: Option<String>,
    /// The working directory.
    pub directory: Option<String>,
    /// The paths it looked up, in the order of their item numbers.
    pub paths: Vec<PathItem>,
    /// The path of the decision's object, absolute where the directory is known.
    pub object: Option<String>,
}

/// A path a system call looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathItem {
    /// The path as the process gave it.
    pub name: String,
    /// Number of the file.
    pub inode: Option<u64>,
    /// Whether it is the directory of a file that is created, deleted or renamed.
    pub parent: bool,
}

/// Puts records with the same stamp and machine together, over a stream of lines.
///
/// An event is given out when its end is marked, when [`MAX_PENDING`] newer ones are waiting, or by
/// [`drain`](Self::drain), which a caller uses at the end of a file or when nothing has come for a while. Decisions
/// without a stamp pass through at once. Events without a decision or refusal are forgotten.
#[derive(Debug, Default)]
pub struct Joiner {
    pending: BTreeMap<Key, Pending>,
    order: VecDeque<Key>,
}

type Key = (Option<String>, Stamp);

#[derive(Debug, Default)]
struct Pending {
    /// In the order they came.
    events: Vec<Event>,
    /// What the records beside them say so far.
    call: Option<Call>,
    /// Item numbers of the call's paths.
    items: Vec<u32>,
    /// From `AVC_PATH`.
    path: Option<String>,
}

impl Joiner {
    /// Takes a line and gives out the events that are complete.
    pub fn push(&mut self, line: Line) -> Vec<Event> {
        let (key, event) = match line {
            Line::Avc(r) => (r.stamp.map(|s| (r.node.clone(), s)), Event::Access(r)),
            Line::Refusal(r) => (r.stamp.map(|s| (r.node.clone(), s)), Event::Refusal(r)),
            Line::Sibling(s) if s.kind == SiblingKind::End => {
                let key = (s.node, s.stamp);
                self.order.retain(|k| *k != key);
                return self.pending.remove(&key).map(Pending::finish).unwrap_or_default();
            }
            Line::Sibling(s) => {
                let key = (s.node.clone(), s.stamp);
                return self.keep(key, |p| p.tell(&s));
            }
            // What was logged before is about the policy before.
            Line::PolicyLoad => {
                let mut out = self.drain();
                out.push(Event::PolicyLoad);
                return out;
            }
            Line::Other => return Vec::new(),
        };
        match key {
            None => vec![event],
            Some(key) => {
                // Never lost: an event with too many records gives out what it has.
                let full = self.pending.get(&key).is_some_and(|p| p.events.len() >= MAX_RECORDS);
                let mut out = if full { self.release(&key) } else { Vec::new() };
                out.extend(self.keep(key, |p| p.events.push(event)));
                out
            }
        }
    }

    /// Gives out all events that are waiting, the oldest first.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut out = Vec::new();
        while let Some(key) = self.order.pop_front() {
            out.extend(self.pending.remove(&key).map(Pending::finish).unwrap_or_default());
        }
        out
    }

    fn keep(&mut self, key: Key, add: impl FnOnce(&mut Pending)) -> Vec<Event> {
        if !self.pending.contains_key(&key) {
            self.order.push_back(key.clone());
        }
        add(self.pending.entry(key).or_default());
        let mut out = Vec::new();
        while self.order.len() > MAX_PENDING {
            let Some(oldest) = self.order.pop_front() else { break };
            out.extend(self.pending.remove(&oldest).map(Pending::finish).unwrap_or_default());
        }
        out
    }

    fn release(&mut self, key: &Key) -> Vec<Event> {
        self.order.retain(|k| k != key);
        self.pending.remove(key).map(Pending::finish).unwrap_or_default()
    }
}

impl Pending {
    fn finish(mut self) -> Vec<Event> {
        let bounds: Vec<Refusal> = self
            .events
            .iter()
            .filter_map(|e| match e {
                Event::Refusal(r) if r.reason.as_deref() == Some("bounds") => Some((**r).clone()),
                _ => None,
            })
            .collect();
        for event in &mut self.events {
            let Event::Access(record) = event else { continue };
            let about = bounds.iter().filter(|b| about(b, record)).flat_map(|b| &b.permissions);
            let mut bounded: Vec<String> =
                about.filter(|p| record.permissions.contains(p)).cloned().collect();
            bounded.sort();
            bounded.dedup();
            record.bounded = bounded;
            if let Some(call) = &self.call {
                let object = self.path.clone().or_else(|| object(call, record));
                record.call = Some(Box::new(Call { object, ..call.clone() }));
            }
        }
        self.events
    }

    /// Takes in what a record beside the decisions says.
    fn tell(&mut self, sibling: &Sibling) {
        let text = |key: &str| {
            let text = sibling.field(key).filter(|t| *t != "(null)" && t.len() <= MAX_TEXT);
            text.map(str::to_owned)
        };
        let call = self.call.get_or_insert_default();
        match sibling.kind {
            SiblingKind::Syscall => {
                let number = |key: &str| sibling.field(key).and_then(|t| t.parse().ok());
                (call.number, call.pid) = (number("syscall"), number("pid"));
                call.exit = sibling.field("exit").and_then(|t| t.parse().ok());
                call.success = sibling.field("success").map(|t| t == "yes");
                (call.arch, call.comm, call.exe) = (text("arch"), text("comm"), text("exe"));
            }
            SiblingKind::Directory => call.directory = text("cwd"),
            SiblingKind::Path if call.paths.len() < MAX_RECORDS => {
                let item = sibling.field("item").and_then(|t| t.parse().ok()).unwrap_or(u32::MAX);
                // Old kernels have no `nametype`; then only the inode tells.
                let parent = sibling.field("nametype") == Some("PARENT");
                let inode = sibling.field("inode").and_then(|t| t.parse().ok());
                if let Some(name) = text("name") {
                    let at = self.items.partition_point(|&i| i <= item);
                    self.items.insert(at, item);
                    call.paths.insert(at, PathItem { name, inode, parent });
                }
            }
            SiblingKind::AvcPath => self.path = text("path"),
            SiblingKind::Path | SiblingKind::End => {}
        }
    }
}

/// Whether permissions were taken back from a decision.
fn about(refusal: &Refusal, record: &Record) -> bool {
    refusal.source.as_ref() == record.source.context()
        && refusal.target.as_ref() == record.target.context()
        && refusal.class.as_deref() == Some(&record.class)
}

/// The path of a decision's object among those that were looked up: the one with its inode, or else the only one with
/// its last part.
fn object(call: &Call, record: &Record) -> Option<String> {
    let inode = record.field("ino").and_then(|i| i.parse::<u64>().ok());
    let same_inode = inode.and_then(|i| call.paths.iter().find(|p| p.inode == Some(i)));
    let item = same_inode.or_else(|| {
        let name = record.field("name")?;
        let mut named = call.paths.iter().filter(|p| !p.parent && p.name.rsplit('/').next() == Some(name));
        named.next().filter(|_| named.next().is_none())
    })?;
    Some(match &call.directory {
        Some(directory) if !item.name.starts_with('/') => {
            let relative = item.name.trim_start_matches("./");
            format!("{}/{relative}", directory.trim_end_matches('/'))
        }
        _ => item.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avc::{Cause, classify, parse};

    fn events(text: &str) -> Vec<Event> {
        join(text.lines().map(|l| parse(l).unwrap_or_else(|e| panic!("{l}: {e}"))))
    }

    fn accesses(text: &str) -> Vec<Record> {
        let access = |e| match e {
            Event::Access(r) => Some(*r),
            _ => None,
        };
        events(text).into_iter().filter_map(access).collect()
    }

    // Forms of `audit_log_exit`, `audit_log_name` and `audit_log_cwd` of the kernel's `auditsc.c`.
    const OPEN: &str = r#"type=AVC msg=audit(10.5:77): avc:  denied  { read } for  pid=812 comm="web" name="conf" dev="vda" ino=4711 scontext=system_u:system_r:web.process:s0 tcontext=system_u:object_r:etc_t:s0 tclass=file permissive=0
type=AVC msg=audit(10.6:78): avc:  denied  { listen } for  pid=9 scontext=u:r:b:s0 tcontext=u:r:b:s0 tclass=tcp_socket
type=SYSCALL msg=audit(10.5:77): arch=c000003e syscall=257 success=no exit=-13 a0=ffffff9c a1=55d0 a2=0 a3=0 items=2 ppid=1 pid=812 auid=4294967295 uid=0 comm="web" exe=2F6F70742F61207765622F7765 subj=system_u:system_r:web.process:s0 key=(null)
type=CWD msg=audit(10.5:77): cwd="/srv/app"
type=PATH msg=audit(10.5:77): item=1 name="etc/conf" inode=4711 dev=fd:01 mode=0100600 nametype=NORMAL
type=PATH msg=audit(10.5:77): item=0 name="etc/" inode=12 dev=fd:01 mode=040755 nametype=PARENT
type=PROCTITLE msg=audit(10.5:77): proctitle="web"
"#;

    #[test]
    fn a_decision_gets_program_and_whole_path() {
        let found = accesses(OPEN);
        assert_eq!(found.len(), 2);
        let open = found.iter().find(|r| r.class == "file").unwrap();
        assert_eq!((open.path(), open.exe()), (Some("/srv/app/etc/conf"), Some("/opt/a web/we")));
        let call = open.call.as_ref().unwrap();
        assert_eq!((call.number, call.exit, call.success), (Some(257), Some(-13), Some(false)));
        assert_eq!(call.paths.iter().map(|p| &p.name[..]).collect::<Vec<_>>(), ["etc/", "etc/conf"]);
        let listen = found.iter().find(|r| r.class == "tcp_socket").unwrap();
        assert_eq!(listen.call, None, "of another event");
    }

    #[test]
    fn the_order_of_lines_does_not_matter() {
        let mut lines: Vec<&str> = OPEN.lines().collect();
        lines.reverse();
        let reversed = accesses(&lines.join("\n"));
        for record in accesses(OPEN) {
            assert!(reversed.contains(&record), "{record}");
        }
    }

    #[test]
    fn machines_are_kept_apart() {
        let text = OPEN.replace("type=SYSCALL", "node=other type=SYSCALL");
        let found = accesses(&text);
        assert_eq!(found.iter().find(|r| r.class == "file").unwrap().exe(), None);
    }

    #[test]
    fn an_end_gives_the_event_out_at_once() {
        let mut joiner = Joiner::default();
        let mut push = |l: &str| joiner.push(parse(l).unwrap()).len();
        assert_eq!(OPEN.lines().map(&mut push).sum::<usize>(), 0);
        assert_eq!(push("type=EOE msg=audit(10.5:77): "), 1);
        assert_eq!(
            push("type=MAC_POLICY_LOAD msg=audit(11.0:79): policy loaded"),
            2,
            "the other, then the load"
        );
    }

    #[test]
    fn what_bounds_take_back_is_known_by_the_refusal_beside_it() {
        let labels = "scontext=u:r:web.child:s0 tcontext=u:object_r:etc_t:s0 tclass=file";
        let text = format!(
            "type=SELINUX_ERR msg=audit(1.2:3): op=security_compute_av reason=bounds {labels} perms=read,write\ntype=AVC msg=audit(1.2:3): avc:  denied  {{ read }} for  pid=1 {labels}\ntype=AVC msg=audit(1.2:4): avc:  denied  {{ read }} for  pid=1 {labels}\n"
        );
        let found = accesses(&text);
        assert_eq!(found[0].bounded, ["read"]);
        assert_eq!(classify(&found[0], None), Cause::Bounds);
        assert_eq!(classify(&found[1], None), Cause::TypeEnforcement, "of another event");
    }

    #[test]
    fn memory_is_bounded_and_no_decision_is_lost() {
        let mut joiner = Joiner::default();
        let mut out = 0;
        for i in 0..10_000 {
            let line = format!(
                "type=AVC msg=audit(1.2:{}): avc:  denied  {{ read }} for  pid=1 scontext=u:r:a:s0 tcontext=u:r:b:s0 tclass=file",
                i / 2
            );
            out += joiner.push(parse(&line).unwrap()).len();
            out += joiner.push(parse("type=CWD msg=audit(1.2:1): cwd=\"/\"").unwrap()).len();
            assert!(joiner.pending.len() <= MAX_PENDING && joiner.order.len() == joiner.pending.len());
        }
        for _ in 0..1000 {
            let line = "type=AVC msg=audit(2.2:1): avc:  denied  { read } for  pid=1 scontext=u:r:a:s0 tcontext=u:r:b:s0 tclass=file";
            out += joiner.push(parse(line).unwrap()).len();
        }
        assert_eq!(out + joiner.drain().len(), 11_000);
    }
}
