//! mount, remount, umount and pivot_root.

use super::{Failure, Parse, Parser, TokenKind, WordRule, words};
use crate::{
    TextRange,
    tree::{Condition, ConditionOp, MountKind, MountRule, PivotRootRule, RuleKind, Value, Version},
};

impl Parser<'_> {
    pub(super) fn mount_rule(&mut self) -> Parse<RuleKind> {
        let start = self.c.pos;
        let word = self.c.peek_word();
        let kind = match word {
            "mount" => MountKind::Mount,
            "remount" => MountKind::Remount,
            _ => MountKind::Umount,
        };
        self.c.take(word.len(), TokenKind::Keyword);
        let mut rule = MountRule { kind, conditions: Vec::new(), source: None, target: None };
        self.conditions(&mut rule.conditions, None)?;
        self.c.trivia();
        let first = self.mount_path()?;
        self.c.trivia();
        if kind == MountKind::Mount {
            rule.source = first;
            if self.c.eat("->") {
                let before = rule.conditions.len();
                self.conditions(&mut rule.conditions, None)?;
                if rule.conditions.len() > before {
                    let range = rule.conditions[before].range;
                    return Err(Failure::new("bad-condition", range, "a mount point takes no conditions"));
                }
                rule.target = self.mount_path()?;
            }
        } else {
            rule.target = first;
        }
        check_mount(&rule, self.range_from(start))?;
        for value in rule.conditions.iter().flat_map(|c| &c.values) {
            if matches!(value.text.as_str(), "lazytime" | "nolazytime" | "symfollow" | "nosymfollow") {
                self.need(Version::V4_0, "this mount option", value.range);
            }
        }
        Ok(RuleKind::Mount(rule))
    }

    fn mount_path(&mut self) -> Parse<Option<Value>> {
        self.c.trivia();
        if matches!(self.c.peek(), None | Some(b',')) || self.c.rest_starts_with("->") {
            return Ok(None);
        }
        Ok(Some(self.c.value(WordRule::Condition, "a path")?))
    }

    pub(super) fn pivot_root_rule(&mut self) -> Parse<RuleKind> {
        self.c.take(10, TokenKind::Keyword);
        let mut rule = PivotRootRule { conditions: Vec::new(), new_root: None, profile: None };
        self.conditions(&mut rule.conditions, None)?;
        if let Some(condition) = rule.conditions.iter().find(|c| c.key != "oldroot") {
            let message = format!("pivot_root has no condition {:?}", condition.key);
            return Err(Failure::new("bad-condition", condition.range, message));
        }
        rule.new_root = self.mount_path()?;
        self.c.trivia();
        if self.c.eat("->") {
            self.c.trivia();
            rule.profile = Some(self.target()?);
        }
        Ok(RuleKind::PivotRoot(rule))
    }
}

fn check_mount(rule: &MountRule, range: TextRange) -> Parse<()> {
    let mut set = 0_u32;

    for condition in &rule.conditions {
        let bad = |message: String| Err(Failure::new("bad-condition", condition.range, message));
        match condition.key.as_str() {
            "options" | "option" => {
                let exact = condition.op == ConditionOp::Equals;
                let (mut on, mut off) = (0, 0);
                for value in &condition.values {
                    let Some(flag) = words::mount_flag(&value.text) else {
                        return Err(Failure::new(
                            "unknown-mount-option",
                            value.range,
                            format!("{:?} is no mount option", value.text),
                        ));
                    };
                    if flag.clears {
                        off |= flag.bit;
                    } else {
                        on |= flag.bit;
                    }
                }
                if exact && on & off != 0 {
                    let message = "these mount options exclude each other";
                    return Err(Failure::new("mount-conflict", condition.range, message)
                        .with_help("keep the one that is meant; \"options in (…)\" allows either"));
                }
                set |= on;
            }
            "fstype" | "vfstype" => {}
            key => return bad(format!("mount rules have no condition {key:?}")),
        }
        if condition.values.is_empty() || condition.op == ConditionOp::Assign {
            return bad(format!("{} needs a value behind \"=\" or \"in\"", condition.key));
        }
    }

    let fstype = rule.conditions.iter().any(|c| c.key.ends_with("fstype"));
    check_mount_kind(rule, set, fstype, range)
}

/// Combinations that no `mount(2)` call can be.
fn check_mount_kind(rule: &MountRule, set: u32, fstype: bool, range: TextRange) -> Parse<()> {
    let bad = |message: &str| Err(Failure::new("mount-conflict", range, message));
    let exact = rule.conditions.iter().all(|c: &Condition| c.op == ConditionOp::Equals);
    if rule.kind != MountKind::Mount {
        return Ok(());
    }
    if set & words::MS_PROPAGATION != 0 && exact && rule.source.is_some() && rule.target.is_some() {
        return bad("a change of propagation has no source");
    }
    if set & (words::MS_BIND | words::MS_MOVE) != 0 && exact && fstype {
        return bad("bind and move mounts have no file system type");
    }
    Ok(())
}
