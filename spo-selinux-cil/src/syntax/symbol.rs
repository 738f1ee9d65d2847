//! Interned words: every atom of a policy is a number, equal words are equal numbers.

/// A word of a policy, as a number that its [`Interner`] turns back into text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub(crate) u32);

impl Symbol {
    /// Position in the interner, dense from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The table of words. Words are never removed; looking one up does not allocate.
#[derive(Clone, Debug)]
pub struct Interner {
    bytes: String,
    /// End offset of each word in `bytes`; word `i` starts where word `i - 1` ends.
    ends: Vec<u32>,
    /// Open addressing, linear probing; 0 is free, otherwise symbol + 1. The length is a power of two.
    slots: Vec<u32>,
}

impl Default for Interner {
    fn default() -> Self {
        Self::new()
    }
}

impl Interner {
    /// A table that holds the words of the language, see [`word`].
    pub fn new() -> Self {
        let mut interner = Self { bytes: String::new(), ends: Vec::new(), slots: vec![0; 1024] };
        for (index, text) in word::ALL.iter().enumerate() {
            let symbol = interner.intern(text);
            debug_assert_eq!(symbol.index(), index, "{text} is in the list twice");
        }
        interner
    }

    /// The symbol of a word, added if it is new.
    pub fn intern(&mut self, text: &str) -> Symbol {
        if (self.ends.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash(text.as_bytes()) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => break,
                s if self.text(Symbol(s - 1)) == text => return Symbol(s - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
        let symbol = self.ends.len() as u32;
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u32);
        self.slots[slot] = symbol + 1;
        Symbol(symbol)
    }

    /// The symbol of a word, if the word was ever interned.
    pub fn get(&self, text: &str) -> Option<Symbol> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(text.as_bytes()) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return None,
                s if self.text(Symbol(s - 1)) == text => return Some(Symbol(s - 1)),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// The text of a symbol; empty for a symbol of another table that this one does not have.
    pub fn text(&self, symbol: Symbol) -> &str {
        let index = symbol.index();
        let Some(&end) = self.ends.get(index) else { return "" };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Never true: the words of the language are always there.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for index in 0..self.ends.len() as u32 {
            let mut slot = hash(self.text(Symbol(index)).as_bytes()) as usize & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = index + 1;
        }
        self.slots = slots;
    }
}

/// Multiply-and-rotate over eight bytes at a time. Crafted collisions only cost probing time that is
/// bounded by the number of words, which the size of the text bounds.
fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        h = (h.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(K);
    }
    let mut tail = 0u64;
    for &b in chunks.remainder() {
        tail = tail << 8 | u64::from(b);
    }
    h = (h.rotate_left(23) ^ tail).wrapping_mul(K);
    h ^ h >> 29
}

macro_rules! words {
    ($($name:ident = $text:literal,)+) => {
        /// The words of the language, as symbols that every [`Interner`] has.
        #[allow(missing_docs, reason = "each constant is the word it is named after")]
        pub mod word {
            use super::Symbol;

            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            #[repr(u32)]
            enum Index { $($name,)+ }

            $(pub const $name: Symbol = Symbol(Index::$name as u32);)+

            /// The texts, in symbol order.
            pub const ALL: &[&str] = &[$($text,)+];
        }
    };
}

words! {
    BLOCK = "block", BLOCKABSTRACT = "blockabstract", BLOCKINHERIT = "blockinherit",
    OPTIONAL = "optional", IN = "in", MACRO = "macro", CALL = "call",
    BOOLEAN = "boolean", TUNABLE = "tunable", BOOLEANIF = "booleanif", TUNABLEIF = "tunableif",
    TRUE = "true", FALSE = "false",
    ALLOW = "allow", AUDITALLOW = "auditallow", DONTAUDIT = "dontaudit", NEVERALLOW = "neverallow",
    DENY = "deny", ALLOWX = "allowx", AUDITALLOWX = "auditallowx", DONTAUDITX = "dontauditx",
    NEVERALLOWX = "neverallowx",
    TYPETRANSITION = "typetransition", TYPECHANGE = "typechange", TYPEMEMBER = "typemember",
    RANGETRANSITION = "rangetransition",
    TYPE = "type", TYPEATTRIBUTE = "typeattribute", TYPEALIAS = "typealias",
    TYPEALIASACTUAL = "typealiasactual", TYPEATTRIBUTESET = "typeattributeset",
    EXPANDTYPEATTRIBUTE = "expandtypeattribute", TYPEBOUNDS = "typebounds",
    TYPEPERMISSIVE = "typepermissive", TYPENEVERAUDIT = "typeneveraudit",
    ROLE = "role", ROLEATTRIBUTE = "roleattribute", ROLETYPE = "roletype",
    ROLEATTRIBUTESET = "roleattributeset", ROLEALLOW = "roleallow", ROLETRANSITION = "roletransition",
    ROLEBOUNDS = "rolebounds",
    USER = "user", USERATTRIBUTE = "userattribute", USERATTRIBUTESET = "userattributeset",
    USERROLE = "userrole", USERLEVEL = "userlevel", USERRANGE = "userrange", USERBOUNDS = "userbounds",
    USERPREFIX = "userprefix", SELINUXUSER = "selinuxuser", SELINUXUSERDEFAULT = "selinuxuserdefault",
    COMMON = "common", CLASS = "class", CLASSCOMMON = "classcommon", CLASSORDER = "classorder",
    CLASSPERMISSION = "classpermission", CLASSPERMISSIONSET = "classpermissionset",
    CLASSMAP = "classmap", CLASSMAPPING = "classmapping", PERMISSIONX = "permissionx",
    CONSTRAIN = "constrain", MLSCONSTRAIN = "mlsconstrain", VALIDATETRANS = "validatetrans",
    MLSVALIDATETRANS = "mlsvalidatetrans",
    SENSITIVITY = "sensitivity", SENSITIVITYALIAS = "sensitivityalias",
    SENSITIVITYALIASACTUAL = "sensitivityaliasactual", SENSITIVITYORDER = "sensitivityorder",
    CATEGORY = "category", CATEGORYALIAS = "categoryalias", CATEGORYALIASACTUAL = "categoryaliasactual",
    CATEGORYORDER = "categoryorder", CATEGORYSET = "categoryset",
    SENSITIVITYCATEGORY = "sensitivitycategory", LEVEL = "level", LEVELRANGE = "levelrange",
    CONTEXT = "context", FILECON = "filecon", GENFSCON = "genfscon", FSUSE = "fsuse", SID = "sid",
    SIDORDER = "sidorder", SIDCONTEXT = "sidcontext", PORTCON = "portcon", NODECON = "nodecon",
    IPADDR = "ipaddr", NETIFCON = "netifcon", IBPKEYCON = "ibpkeycon", IBENDPORTCON = "ibendportcon",
    PIRQCON = "pirqcon", IOMEMCON = "iomemcon", IOPORTCON = "ioportcon",
    PCIDEVICECON = "pcidevicecon", DEVICETREECON = "devicetreecon",
    DEFAULTUSER = "defaultuser", DEFAULTROLE = "defaultrole", DEFAULTTYPE = "defaulttype",
    DEFAULTRANGE = "defaultrange", HANDLEUNKNOWN = "handleunknown", MLS = "mls",
    POLICYCAP = "policycap", SRC_INFO = "<src_info>",
    BEFORE = "before", AFTER = "after",
    SELF = "self", NOTSELF = "notself", OTHER = "other", STAR = "*",
    AND = "and", OR = "or", XOR = "xor", NOT = "not", ALL_OF = "all", RANGE = "range", EQ = "eq",
    NEQ = "neq", DOM = "dom", DOMBY = "domby", INCOMP = "incomp", UNORDERED = "unordered",
    IOCTL = "ioctl", NLMSG = "nlmsg", STRING = "string", NAME = "name", BOOL = "bool",
    REJECT = "reject", SOURCE = "source", TARGET = "target", GLBLUB = "glblub", LOW = "low",
    HIGH = "high", LOW_HIGH = "low-high",
    T1 = "t1", T2 = "t2", T3 = "t3", R1 = "r1", R2 = "r2", R3 = "r3", U1 = "u1", U2 = "u2", U3 = "u3",
    L1 = "l1", L2 = "l2", H1 = "h1", H2 = "h2",
    XATTR = "xattr", TASK = "task", TRANS = "trans",
    FILE = "file", DIR = "dir", CHAR = "char", SOCKET = "socket", PIPE = "pipe", SYMLINK = "symlink",
    ANY = "any", TCP = "tcp", UDP = "udp", DCCP = "dccp", SCTP = "sctp",
    PROCESS = "process", OBJECT_R = "object_r",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_language_have_fixed_numbers_and_others_follow() {
        let mut interner = Interner::new();
        for (index, text) in word::ALL.iter().enumerate() {
            assert_eq!(interner.get(text), Some(Symbol(index as u32)));
        }
        let many: Vec<_> = (0..10_000).map(|i| interner.intern(&format!("t{i}_t"))).collect();
        for (i, &symbol) in many.iter().enumerate() {
            assert_eq!(interner.text(symbol), format!("t{i}_t"));
            assert_eq!(interner.intern(&format!("t{i}_t")), symbol);
        }
        assert_eq!(interner.get("never seen"), None);
    }
}
