//! Frames and names: what is declared where, and what a name means in a place.
//!
//! Nothing is copied when a block is inherited or a macro called: the same nodes are entered again under another
//! frame, and frames say how names resolve (CIL reference guide, "name resolution").

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::syntax::{NodeId, Symbol};

pub(super) type FrameId = u32;
pub(super) type DeclId = u32;

pub(super) const ROOT: FrameId = 0;
pub(super) const NONE: u32 = u32::MAX;

/// A place that statements are in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) parent: FrameId,
    pub(super) kind: FrameKind,
    /// The nearest block (or the root) around, which declarations go into.
    pub(super) home: FrameId,
    /// The innermost optional around, or [`NONE`].
    pub(super) optional: u32,
    /// Condition of the `booleanif` around with its branch, 0 for none.
    pub(super) condition: u32,
    /// Whether an abstract block is around or this is a dropped optional.
    pub(super) dead: bool,
    /// Containers around.
    pub(super) depth: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Root,
    Block {
        name: Symbol,
        node: NodeId,
        is_abstract: bool,
    },
    /// What `blockinherit` brings; `original` is the frame of the block it is from.
    Inherit {
        original: FrameId,
    },
    Macro {
        node: NodeId,
    },
    /// The body of a macro at a call.
    Call {
        macro_: DeclId,
        node: NodeId,
    },
    Optional {
        node: NodeId,
    },
    Branch,
}

/// What a name can be the name of. Each has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Ns {
    Block,
    User,
    Role,
    Type,
    Common,
    Class,
    ClassPerm,
    Bool,
    Tunable,
    Sens,
    Cat,
    Sid,
    Context,
    Level,
    Range,
    PolicyCap,
    IpAddr,
    Text,
    PermX,
}

impl Ns {
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::User => "user",
            Self::Role => "role",
            Self::Type => "type",
            Self::Common => "common",
            Self::Class => "class",
            Self::ClassPerm => "class permission",
            Self::Bool => "boolean",
            Self::Tunable => "tunable",
            Self::Sens => "sensitivity",
            Self::Cat => "category",
            Self::Sid => "sid",
            Self::Context => "context",
            Self::Level => "level",
            Self::Range => "level range",
            Self::PolicyCap => "policy capability",
            Self::IpAddr => "address",
            Self::Text => "string",
            Self::PermX => "extended permission",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum DeclKind {
    Block,
    Macro,
    Optional,
    User,
    UserAttribute,
    Role,
    RoleAttribute,
    Type,
    TypeAttribute,
    Alias,
    Common,
    Class,
    ClassMap,
    CategorySet,
    Plain,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Decl {
    pub(super) ns: Ns,
    pub(super) kind: DeclKind,
    pub(super) name: Symbol,
    /// The block it is declared in.
    pub(super) home: FrameId,
    /// The first statement that declares it.
    pub(super) node: NodeId,
    /// Frame of a block, optional or macro; otherwise the frame of the declaration.
    pub(super) frame: FrameId,
    /// Statements that declare it and are not in a dropped optional.
    pub(super) live: u32,
    /// Number among its kind, given when facts are collected; the actual declaration for an alias.
    pub(super) index: u32,
}

/// A fast hash for small keys.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

pub(super) type KeyMap<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// All declarations by place, kind and name.
#[derive(Default)]
pub(super) struct Tables {
    map: KeyMap<u64, DeclId>,
    pub(super) decls: Vec<Decl>,
    /// Declarations by the optional around them.
    pub(super) in_optionals: KeyMap<FrameId, Vec<DeclId>>,
}

impl Tables {
    pub(super) fn here(&self, home: FrameId, ns: Ns, name: Symbol) -> Option<DeclId> {
        let id = *self.map.get(&key(home, ns, name))?;
        (self.decls[id as usize].live > 0).then_some(id)
    }

    pub(super) fn any(&self, home: FrameId, ns: Ns, name: Symbol) -> Option<DeclId> {
        self.map.get(&key(home, ns, name)).copied()
    }

    pub(super) fn add(&mut self, decl: Decl) -> DeclId {
        let id = self.decls.len() as DeclId;
        self.map.insert(key(decl.home, decl.ns, decl.name), id);
        self.decls.push(decl);
        id
    }
}

fn key(home: FrameId, ns: Ns, name: Symbol) -> u64 {
    (u64::from(home) << 5 | ns as u64) << 32 | u64::from(name.0)
}
