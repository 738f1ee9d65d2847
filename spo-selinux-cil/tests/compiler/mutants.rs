//! Texts near those of the corpus, judged by the resolver and by the installed compiler.
//!
//! `SPO_MUTANTS` says how many, `SPO_MUTANT_SEED` which.

use super::{base, cases, corpus, folder, secilc, tools, verdict};
use spo_selinux_cil::syntax::Version;

/// A small generator of numbers, so that every run sees the same mutants.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Tokens of a text, as the lexer of any Lisp would have them; good enough to mutate.
fn tokens(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or("");
        out.extend(line.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(str::to_owned));
    }
    out
}

fn mutant(seeds: &[Vec<String>], words: &[String], numbers: &mut Numbers) -> String {
    let mut tokens = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(2) {
        let at = numbers.below(tokens.len());
        let is_word = |t: &str| t != "(" && t != ")";
        match numbers.below(10) {
            // Whole statements are doubled, dropped, and moved; words are replaced by words.
            0 => {
                if let Some((start, end)) = list_at(&tokens, at) {
                    let copy = tokens[start..=end].to_vec();
                    tokens.splice(start..start, copy);
                }
            }
            1 => {
                if let Some((start, end)) = list_at(&tokens, at) {
                    tokens.drain(start..=end);
                }
            }
            2 => {
                if let (Some((start, end)), to) = (list_at(&tokens, at), numbers.below(tokens.len())) {
                    let copy: Vec<_> = tokens.drain(start..=end).collect();
                    let to = to.min(tokens.len());
                    tokens.splice(to..to, copy);
                }
            }
            // A missing name inside an optional drops it; every other fault is one.
            3 => {
                if let Some((start, end)) = outermost_at(&tokens, at) {
                    let opening = [["(", "optional", "wrapped"], ["(", "block", "wrapped"]][numbers.below(2)];
                    tokens.insert(end + 1, ")".to_owned());
                    tokens.splice(start..start, opening.map(str::to_owned));
                }
            }
            4 if is_word(&tokens[at]) => drop(tokens.remove(at)),
            _ => {
                let word = &words[numbers.below(words.len())];
                if is_word(&tokens[at]) {
                    tokens[at].clone_from(word);
                }
            }
        }
        if tokens.is_empty() {
            return String::new();
        }
    }
    tokens.join(" ") + "\n"
}

/// The statement at the top that a token is in.
fn outermost_at(tokens: &[String], at: usize) -> Option<(usize, usize)> {
    let mut depth = 0;
    let mut start = 0;
    for (i, t) in tokens.iter().enumerate() {
        if t == "(" {
            if depth == 0 {
                start = i;
            }
            depth += 1;
        } else if t == ")" {
            depth -= 1;
            if depth == 0 && i >= at {
                return (start <= at).then_some((start, i));
            }
        }
    }
    None
}

/// Where the compiler accepts what it does not write as it stands, and is wrong. It cuts ports to 16 bits, and a range that
/// ends before it starts labels no port; of an address in parentheses it reads the first part and drops the rest; and the
/// old release resolves names in abstract blocks, then cannot write the rule, unless another name drops it first.
fn compiler_is_lax(why: &str) -> bool {
    why.contains("the range ends before it starts")
        || why.contains("a number up to 65535")
        || why.contains("an address in parentheses belongs here")
        || why.contains("leads through an abstract block")
}

fn list_at(tokens: &[String], at: usize) -> Option<(usize, usize)> {
    let start = (0..=at).rev().find(|&i| tokens[i] == "(")?;
    let mut depth = 0;
    for (i, t) in tokens.iter().enumerate().skip(start) {
        depth += i32::from(t == "(") - i32::from(t == ")");
        if depth == 0 {
            return Some((start, i));
        }
    }
    None
}

/// Mutants of all cases get the verdict of the installed compiler.
#[test]
fn mutated_cases_have_the_compilers_verdict() {
    let Some(root) = corpus() else { return };
    if !tools(&["secilc"]) {
        return;
    }
    let base = base(&root);
    let seeds: Vec<Vec<String>> = cases(&root)
        .iter()
        .filter(|c| c.cil.len() < 3000 && c.flags.is_empty())
        .map(|c| tokens(&c.cil))
        .chain(EXTRA_SEEDS.iter().map(|s| tokens(s)))
        .filter(|t| !t.is_empty())
        .collect();
    let mut words: Vec<String> = seeds.iter().flatten().filter(|t| *t != "(" && *t != ")").cloned().collect();
    words.sort();
    words.dedup();
    let count: usize = std::env::var("SPO_MUTANTS").ok().and_then(|v| v.parse().ok()).unwrap_or(150);
    let seed: u64 = std::env::var("SPO_MUTANT_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
    // Of its own, for several runs with different seeds at once.
    let folder = folder(&format!("mutants-{}", std::process::id()));
    let path = folder.join("mutant.cil");
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for _ in 0..count {
        let text = mutant(&seeds, &words, &mut numbers);
        std::fs::write(&path, &text).unwrap();
        let mut files = ["base.cil", "mls.cil", "templates.cil"].map(|f| root.join(f)).to_vec();
        files.push(path.clone());
        let result = secilc(&[], &files, &folder.join("policy.bin"));
        let (ours, why) = verdict(&[&base[0], &base[1], &base[2], &text], "", Version::V3_4);
        accepted += usize::from(result.status.success());
        if result.status.success() != (ours == "ok") && !(ours != "ok" && compiler_is_lax(&why)) {
            let theirs = String::from_utf8_lossy(&result.stderr).into_owned();
            wrong.push(format!("{text}  compiler: {theirs}  ours: {ours} {why}"));
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    // A test that only sees refusals would say little.
    assert!(accepted * 10 > count, "only {accepted} of {count} mutants compile");
    println!("{accepted} of {count} mutants compile");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

const EXTRA_SEEDS: &[&str] = &[
    "(boolean bo true) (boolean bp false) (booleanif (bo bp (xor bo bp)) (true (allow init_t etc_t (file (read)))))",
    "(tunable tu true) (tunableif (tu tu) (true (type tt) (type tx)) (false (type tf) (block tb (type tf)) (optional to (type tg))))",
    "(block o (block i (type t)) (allow i.t etc_t (file (read)))) (block p (blockinherit o) (allow i.t var_t (file (read)))) (allow p.i.t tmp_t (file (write)))",
    "(block a (macro m ((type x) (class c)) (type n) (allow x n (c (read)))) ) (block b (type y) (call a.m (y file)))",
    "(macro m ((type x)) (call k (x))) (macro k ((type y)) (allow y self (file (read)))) (call m (init_t))",
    "(optional o1 (type q) (optional o2 (allow q nope (file (read)))) (allow q etc_t (file (read)))) (optional o3 (allow q var_t (file (read))))",
    "(typealias al) (typealiasactual al etc_t) (allow init_t al (file (read))) (typealias a2) (typealiasactual a2 al)",
    "(boolean bo true) (boolean bp false) (booleanif (and bo (not bp)) (true (allow init_t etc_t (file (read)))) (false (allow init_t var_t (file (read)))))",
    "(tunable tu true) (tunableif (or tu tu) (true (type tt)) (false (type tf))) (allow tt etc_t (file (read)))",
    "(classpermission cp) (classpermissionset cp (file (read write))) (classpermissionset cp (dir (search))) (allow init_t etc_t cp)",
    "(classmap cm (a b)) (classmapping cm a (file (read))) (classmapping cm b (dir (search))) (allow init_t etc_t (cm (a b)))",
    "(sensitivity s1) (sensitivityorder (s0 s1)) (categoryset cs (c1 (range c3 c5))) (sensitivitycategory s1 cs) (level lv (s1 (c1)))",
    "(user u_u) (userrole u_u system_r) (userlevel u_u systemlow) (userrange u_u low_high) (context cc (u_u system_r init_t low_low)) (portcon udp 99 cc)",
    "(roleattribute ra) (roleattributeset ra (system_r)) (roletype ra etc_t) (roleallow ra ra) (portcon tcp 99 (system_u system_r etc_t low_low))",
    "(permissionx px (ioctl file (and (range 1 9) (not 5)))) (allow init_t etc_t (file (ioctl))) (allowx init_t etc_t px)",
    "(typeattribute ta) (typeattribute tb) (typeattributeset ta (and file_type (not tb))) (typeattributeset tb (shadow_t etc_t)) (allow init_t ta (file (read)))",
    "(constrain (file (read)) (or (eq u1 u2) (and (eq r1 system_r) (neq t1 (init_t domain))))) (mlsconstrain (file (read)) (dom l1 l2)) (validatetrans file (eq t3 t3))",
    "(in container (allow process etc_t (file (read)))) (block c1 (blockinherit container))",
    "(block ab (blockabstract ab) (type t) (allow t etc_t (file (read)))) (block us (blockinherit ab)) (allow us.t var_t (file (read)))",
    "(neverallow init_t etc_t (file (write))) (allow domain etc_t (file (read))) (allow init_t self (file (write)))",
    "(typebounds init_t kernel_t) (allow init_t etc_t (file (read write))) (allow kernel_t etc_t (file (read)))",
    "(rangetransition init_t etc_t process low_high) (roletransition system_r etc_t process object_r) (typetransition init_t etc_t file name tmp_t) (typemember init_t etc_t dir tmp_t)",
    "(ipaddr ip 10.0.0.1) (nodecon ip (255.255.255.0) (system_u object_r node_t low_low)) (netifcon eth0 (system_u object_r netif_t low_low) (system_u object_r netif_t low_low))",
    "(defaultuser file source) (defaultrange (dir file) target low) (defaultrole dir target)",
    "(common co (p1 p2)) (class cl (p3)) (classcommon cl co) (classorder (unordered cl)) (allow init_t self (cl (p1 p3)))",
    "(selinuxuser root system_u low_high) (selinuxuserdefault system_u low_low) (userprefix system_u x) (expandtypeattribute domain true) (typepermissive init_t)",
];
