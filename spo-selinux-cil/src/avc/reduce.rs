//! Many records → one profile, with what each rule rests on.

use std::collections::{BTreeMap, BTreeSet};

use spo_model::selinux::{ClassName, PermissionName, SelinuxProfileSpec, TargetType};

use super::{Cause, Record, Refusal, classify};
use crate::{
    policy::{Context, Policy},
    syntax::Item,
};

/// What records amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduction {
    /// The profile: it inherits the template `container` and allows what was denied.
    pub spec: SelinuxProfileSpec,
    /// The ioctl commands that were seen, by target and class. A profile allows all; [`Reduction::allowx`] narrows.
    pub ioctls: BTreeMap<(String, String), BTreeSet<u16>>,
    /// What each rule rests on: paths, ports and commands, at most [`MAX_EVIDENCE`] for one target and class.
    pub evidence: BTreeMap<(String, String), BTreeSet<String>>,
    /// What was left out, and why.
    pub notes: BTreeSet<Note>,
}

/// Most pieces of evidence kept for one target and class.
pub const MAX_EVIDENCE: usize = 16;

/// Why a record is not in the profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Note {
    /// No rule would help; the cause, target type, class.
    NotCurable(Cause, String, String),
    /// A permission the kernel had no name for; class and bits.
    UnnamedBits(String, u32),
    /// A label, class or permission that cannot be named in a profile.
    BadName(String),
    /// The record has numbers in place of contexts.
    NoContext,
}

/// Reduces records to a profile.
///
/// `own` tells the process types that were recorded; they become `@self` in the profile. Records about other sources
/// and granted accesses are skipped, denials that no rule can cure are noted. The result does not depend on the order
/// of records.
pub fn reduce<'r>(
    records: impl IntoIterator<Item = &'r Record>,
    own: &dyn Fn(&str) -> bool,
    policy: Option<&Policy>,
) -> Reduction {
    let mut out = Reduction::default();
    let mut rules: BTreeMap<TargetType, BTreeMap<ClassName, BTreeSet<PermissionName>>> = BTreeMap::new();
    for record in records {
        if !record.denied {
            continue;
        }
        let (Some(source), Some(target)) = (record.source.type_(), record.target.type_()) else {
            out.notes.insert(Note::NoContext);
            continue;
        };
        if !own(source) {
            continue;
        }
        let cause = classify(record, policy);
        if matches!(cause, Cause::Constraint | Cause::Role | Cause::Bounds) {
            out.notes.insert(Note::NotCurable(cause, target.to_owned(), record.class.clone()));
            continue;
        }
        if let Some(bits) = record.unnamed {
            out.notes.insert(Note::UnnamedBits(record.class.clone(), bits));
        }
        let target = if own(target) { TargetType::OWN } else { target };
        let (Ok(target_name), Ok(class)) = (target.parse::<TargetType>(), record.class.parse::<ClassName>())
        else {
            out.notes.insert(Note::BadName(format!("{target} {}", record.class)));
            continue;
        };
        let mut permissions = BTreeSet::new();
        for p in &record.permissions {
            match p.parse::<PermissionName>() {
                Ok(p) => drop(permissions.insert(p)),
                Err(_) => drop(out.notes.insert(Note::BadName(p.clone()))),
            }
        }
        if permissions.is_empty() {
            continue;
        }
        let key = (target.to_owned(), record.class.clone());
        if let Some(command) = record.ioctl().filter(|_| record.permissions.iter().any(|p| p == "ioctl")) {
            out.ioctls.entry(key.clone()).or_default().insert(command);
        }
        let seen = out.evidence.entry(key).or_default();
        for fact in evidence(record) {
            seen.insert(fact);
            if seen.len() > MAX_EVIDENCE {
                seen.pop_last();
            }
        }
        rules.entry(target_name).or_default().entry(class).or_default().extend(permissions);
    }
    out.evidence.retain(|_, facts| !facts.is_empty());
    let listed = |(class, permissions): (ClassName, BTreeSet<PermissionName>)| {
        (class, permissions.into_iter().collect())
    };
    let allow: BTreeMap<_, BTreeMap<_, Vec<_>>> = rules
        .into_iter()
        .map(|(target, classes)| (target, classes.into_iter().map(listed).collect()))
        .collect();
    out.spec.allow = (!allow.is_empty()).then_some(allow);
    out
}

impl Reduction {
    /// Notes what the security server refused to the recorded types: no rule of theirs helps.
    pub fn note_refusal(&mut self, refusal: &Refusal, own: &dyn Fn(&str) -> bool) {
        let type_ = |c: &Option<Context>| c.as_ref().map(|c| c.type_.clone()).unwrap_or_default();
        if own(&type_(&refusal.source)) {
            let target = refusal.invalid.clone().unwrap_or_else(|| type_(&refusal.target));
            let class = refusal.class.clone().unwrap_or_else(|| "process".to_owned());
            self.notes.insert(Note::NotCurable(refusal.cause(), target, class));
        }
    }

    /// `allowx` statements for a raw profile: they narrow `ioctl` to the commands that were seen.
    pub fn allowx(&self) -> Vec<String> {
        let statement = |((target, class), commands): (&(String, String), &BTreeSet<u16>)| {
            let target = if target == TargetType::OWN { "self" } else { target };
            let numbers = Item::words(commands.iter().map(|c| format!("{c:#x}")));
            let permission = Item::List(vec![Item::word("ioctl"), Item::word(class), numbers]);
            Item::statement("allowx", [Item::word("process"), Item::word(target), permission]).to_string()
        };
        self.ioctls.iter().map(statement).collect()
    }
}

fn evidence(record: &Record) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(path) = record.path() {
        facts.push(format!("path {path}"));
    }
    if let Some(port) = record.port() {
        facts.push(format!("port {port}"));
    }
    if let Some(program) = record.exe() {
        facts.push(format!("program {program}"));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avc::{Line, parse};

    fn records(lines: &[&str]) -> Vec<Record> {
        lines
            .iter()
            .map(|l| match parse(&format!("type=AVC msg=audit(1.2:3): avc:  {l}")) {
                Ok(Line::Avc(r)) => *r,
                other => panic!("{l}: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn records_become_rules_or_notes() {
        let rec = "scontext=system_u:system_r:spo_rec_7.process:s0:c1,c2";
        let all = records(&[
            &format!(
                "denied  {{ listen }} for  pid=1 {rec} tcontext=system_u:system_r:spo_rec_7.process:s0:c1,c2 tclass=tcp_socket permissive=1"
            ),
            &format!(
                "denied  {{ name_bind }} for  pid=1 src=80 {rec} tcontext=system_u:object_r:http_port_t:s0 tclass=tcp_socket permissive=1"
            ),
            &format!(
                "denied  {{ ioctl }} for  pid=1 path=\"/dev/x\" ioctlcmd=0x5401 {rec} tcontext=system_u:object_r:x_device_t:s0 tclass=chr_file permissive=1"
            ),
            &format!(
                "denied  {{ ioctl 0x1000 }} for  pid=1 ioctlcmd=0x5402 {rec} tcontext=system_u:object_r:x_device_t:s0 tclass=chr_file permissive=1"
            ),
            &format!(
                "denied  {{ read }} for  pid=1 {rec} tcontext=system_u:object_r:container_file_t:s0:c9 tclass=file permissive=1"
            ),
            &format!("granted  {{ read }} for  pid=1 {rec} tcontext=system_u:object_r:etc_t:s0 tclass=file"),
            "denied  { read } for  pid=1 scontext=u:r:init_t:s0 tcontext=u:r:etc_t:s0 tclass=file",
            &format!("denied  {{ read }} for  pid=1 {rec} tsid=9 tclass=file"),
        ]);
        let own = |t: &str| t == "spo_rec_7.process";
        let found = reduce(&all, &own, None);
        let json = serde_json::to_value(&found.spec.allow).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "@self": {"tcp_socket": ["listen"]},
                "http_port_t": {"tcp_socket": ["name_bind"]},
                "x_device_t": {"chr_file": ["ioctl"]},
            })
        );
        assert_eq!(found.allowx(), ["(allowx process x_device_t (ioctl chr_file (0x5401 0x5402)))"]);
        assert_eq!(
            found.evidence[&("http_port_t".to_owned(), "tcp_socket".to_owned())].first().unwrap(),
            "port 80"
        );
        let expected: BTreeSet<Note> = [
            Note::NotCurable(Cause::Constraint, "container_file_t".to_owned(), "file".to_owned()),
            Note::UnnamedBits("chr_file".to_owned(), 0x1000),
            Note::NoContext,
        ]
        .into();
        assert_eq!(found.notes, expected);
        let refusals = "type=SELINUX_ERR msg=audit(1.2:3): op=security_bounded_transition seresult=denied oldcontext=u:r:spo_rec_7.process:s0 newcontext=u:r:b_t:s0";
        let Ok(Line::Refusal(refusal)) = parse(refusals) else { panic!("{refusals}") };
        let mut noted = found.clone();
        noted.note_refusal(&refusal, &own);
        assert!(noted.notes.contains(&Note::NotCurable(
            Cause::Bounds,
            "b_t".to_owned(),
            "process".to_owned()
        )));
        noted.note_refusal(&refusal, &|_| false);
        assert_eq!(noted.notes.len(), found.notes.len() + 1);
        let mut reversed = all;
        reversed.reverse();
        assert_eq!(reduce(&reversed, &own, None), found);
    }
}
