//! Optionals: one name that does not resolve drops the innermost optional around it, with everything it declares. A fault
//! of another kind, such as an attribute where a type belongs, refuses the policy even there, and even where the optional
//! is about to be dropped: the compiler goes through all statements before it drops anything.
//!
//! The compiler starts over after each dropped optional that declared something. Here only the optionals that used
//! what vanished are checked again.

use super::{
    Resolved,
    expand::Resolver,
    frames::{DeclId, FrameId, NONE},
};

impl Resolver<'_, '_> {
    /// Drops optionals until every statement in the others resolves.
    pub(super) fn settle_optionals(&mut self) -> Resolved<()> {
        let mut by_optional: Vec<(FrameId, u32)> = Vec::new();
        for (i, s) in self.statements.iter().enumerate() {
            let frame = self.frame(s.frame);
            if frame.optional != NONE && !frame.dead {
                by_optional.push((frame.optional, i as u32));
            }
        }
        by_optional.sort_unstable();
        loop {
            let before = self.tables.decls.iter().filter(|d| d.live > 0).count();
            let dropped_structure = self.structure()?;
            let mut queue: Vec<FrameId> = by_optional.iter().map(|e| e.0).collect();
            while !queue.is_empty() {
                queue.sort_unstable();
                queue.dedup();
                let mut missing = Vec::new();
                for optional in queue {
                    if self.is_dropped(optional) {
                        continue;
                    }
                    let start = by_optional.partition_point(|e| e.0 < optional);
                    let end = by_optional.partition_point(|e| e.0 <= optional);
                    self.checking = Some(optional);
                    for &(_, i) in &by_optional[start..end] {
                        match self.statement(self.statements[i as usize]) {
                            Ok(()) => {}
                            Err(f) if f.is_missing() => missing.push(optional),
                            Err(f) => return Err(f),
                        }
                    }
                    self.checking = None;
                }
                queue = missing.into_iter().flat_map(|o| self.drop_optional(o)).collect();
            }
            let after = self.tables.decls.iter().filter(|d| d.live > 0).count();
            // Aliases and class structure may rest on what was dropped; without declarations nothing can.
            if before == after && !dropped_structure {
                return Ok(());
            }
        }
    }

    /// Whether a frame is in a dropped optional or an abstract block.
    pub(super) fn is_dropped(&self, frame: FrameId) -> bool {
        if self.frame(frame).dead {
            return true;
        }
        let mut optional = self.frame(frame).optional;
        while optional != NONE {
            let f = self.frame(optional);
            if f.dead {
                return true;
            }
            optional = self.frame(f.parent).optional;
        }
        false
    }

    /// Drops an optional; gives the optionals that used what it declared.
    pub(super) fn drop_optional(&mut self, optional: FrameId) -> Vec<FrameId> {
        let mut again = Vec::new();
        let mut todo = vec![optional];
        while let Some(o) = todo.pop() {
            if std::mem::replace(&mut self.frames[o as usize].dead, true) {
                continue;
            }
            todo.extend(self.inner_optionals.get(&o).into_iter().flatten());
            for d in self.declared_in(o) {
                let decl = &mut self.tables.decls[d as usize];
                decl.live = decl.live.saturating_sub(1);
                if decl.live == 0 {
                    again.extend(self.uses.remove(&d).into_iter().flatten());
                }
            }
        }
        again
    }

    /// Remembers that the statements of an optional need a declaration that is in an optional itself.
    pub(super) fn note_use(&mut self, decl: DeclId, by: FrameId) {
        let d = &self.tables.decls[decl as usize];
        if self.frame(d.frame).optional == NONE {
            return;
        }
        let users = self.uses.entry(decl).or_default();
        if users.last() != Some(&by) {
            users.push(by);
        }
    }

    fn declared_in(&self, optional: FrameId) -> Vec<DeclId> {
        self.tables.in_optionals.get(&optional).cloned().unwrap_or_default()
    }
}
