//! Verdicts of the resolver beside those of SELinux's own compiler.

use std::{path::PathBuf, process::Command};

use spo_selinux_cil::{
    policy::{Policy, RuleKind},
    resolve::{Options, resolve},
    syntax::{Forest, Version, format, print},
};

fn corpus() -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let root = std::env::var_os("SPO_CORPUS").map_or(default, PathBuf::from).join("selinux");
    if root.is_dir() {
        return Some(root);
    }
    println!("SKIPPED: corpus: no {}; set SPO_CORPUS to the corpus directory", root.display());
    None
}

/// Whether a tool is there; loud where it is not, an error where it must be.
fn tool(name: &str) -> bool {
    if Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        return true;
    }
    println!("SKIPPED: oracle: {name} is not installed; install with scripts/install-test-tools");
    assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none_or(|v| v != "1"), "{name} is required");
    false
}

fn read(path: impl AsRef<std::path::Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// The phase of the compiler that refuses, or `ok`.
fn verdict(texts: &[&str], flags: &str, version: Version) -> (String, String) {
    let mut forest = Forest::new();
    for text in texts {
        if let Err(d) = forest.add("", *text) {
            return ("err:parse".to_owned(), d.to_string());
        }
    }
    let options = Options::default()
        .for_version(version)
        .with_multiple_declarations(flags.contains("-m"))
        .with_qualified_names(flags.contains("-Q"))
        .with_neverallow(!flags.contains("-N"));
    match resolve(&forest, &options) {
        Ok(_) => ("ok".to_owned(), String::new()),
        Err(found) => {
            let phase = match found[0].code.as_str() {
                "cil-form" | "cil-duplicate" => "build",
                "cil-resolve" => "resolve",
                "cil-verify" => "verify",
                "cil-conflict" => "binary",
                "cil-neverallow" => "neverallow",
                "cil-bounds" => "bounds",
                other => other,
            };
            (format!("err:{phase}"), found[0].to_string())
        }
    }
}

#[derive(Debug)]
struct Case {
    name: String,
    flags: String,
    cil: String,
    old: String,
    new: String,
}

fn cases(root: &std::path::Path) -> Vec<Case> {
    let text = read(root.join("cases.jsonl"));
    text.lines()
        .map(|line| {
            let v: serde_json::Value = serde_json::from_str(line).unwrap();
            let get = |key: &str| v[key].as_str().unwrap().to_owned();
            Case {
                name: get("name"),
                flags: get("flags"),
                cil: get("cil"),
                old: get("secilc_3_4"),
                new: get("secilc_3_11"),
            }
        })
        .collect()
}

fn base(root: &std::path::Path) -> [String; 3] {
    ["base.cil", "mls.cil", "templates.cil"].map(|f| read(root.join(f)))
}

/// Accepted or refused must agree in every case, and the phase that refuses in all but the listed ones.
#[test]
fn every_case_has_the_verdict_of_both_compilers() {
    let Some(root) = corpus() else { return };
    let base = base(&root);
    let cases = cases(&root);
    assert!(cases.len() >= 100);
    let mut wrong = Vec::new();
    for case in &cases {
        for (version, expected) in [(Version::V3_4, &case.old), (Version::V3_11, &case.new)] {
            let texts = [&base[0][..], &base[1], &base[2], &case.cil];
            let (found, why) = verdict(&texts, &case.flags, version);
            // 3.4 resolves the name of a type in an abstract block and fails when it writes the policy.
            let later = case.name == "abstract block is not there" && version == Version::V3_4;
            let same = if later { found.starts_with("err") } else { found == *expected };
            if !same {
                wrong.push(format!(
                    "{} (3.{}): want {expected}, found {found}: {why}",
                    case.name, version.minor
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len() * 2, wrong.join("\n"));
}

#[test]
fn printed_and_formatted_text_is_the_same_policy() {
    let Some(root) = corpus() else { return };
    let mut texts: Vec<String> = base(&root).into();
    texts.extend(cases(&root).into_iter().filter(|c| !c.new.contains("parse")).map(|c| c.cil));
    for text in texts {
        let forest = Forest::parse(text.as_str()).unwrap();
        let file = forest.files().next().unwrap();
        let printed = print(&forest, file);
        for version in [printed.clone(), format(&forest, file)] {
            let again = Forest::parse(version.as_str()).unwrap();
            let again_file = again.files().next().unwrap();
            assert_eq!(print(&again, again_file), printed);
            assert_eq!(again.len(), forest.len());
        }
    }
}

/// Debian's policy as CIL: converted once by the distribution's own tool, cached in the target folder.
fn debian() -> Option<Vec<(String, String)>> {
    let pp = "/usr/libexec/selinux/hll/pp";
    let modules = "/usr/share/selinux/default";
    if !tool(pp) || !tool("bzcat") {
        return None;
    }
    if !std::path::Path::new(modules).join("base.pp.bz2").exists() {
        println!(
            "SKIPPED: debian: selinux-policy-default is not installed; install with scripts/install-test-tools"
        );
        assert!(std::env::var_os("SPO_REQUIRE_TOOLS").is_none_or(|v| v != "1"), "the policy is required");
        return None;
    }
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian-policy");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/convert-debian-policy");
    let status = Command::new("sh").arg(script).arg(modules).arg(&out).status().unwrap();
    assert!(status.success());
    let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "cil"));
    files.sort();
    Some(
        files
            .into_iter()
            .map(|p| (p.file_stem().unwrap().to_string_lossy().into_owned(), read(&p)))
            .collect(),
    )
}

fn resolve_texts<'a>(files: &'a [(String, String)], forest: &mut Forest<'a>, options: &Options) -> Policy {
    for (name, text) in files {
        forest.add(name.as_str(), text.as_str()).unwrap();
    }
    resolve(forest, options).unwrap_or_else(|e| panic!("{}", e[0]))
}

#[test]
fn debians_policy_parses_prints_and_resolves() {
    let Some(files) = debian() else { return };
    assert_eq!(files.len(), 331);
    for (name, text) in &files {
        let forest = Forest::parse(text.as_str()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let file = forest.files().next().unwrap();
        let printed = print(&forest, file);
        let again = Forest::parse(printed.as_str()).unwrap();
        let again_file = again.files().next().unwrap();
        assert_eq!(print(&again, again_file), printed, "{name}");
        assert_eq!(again.len(), forest.len(), "{name}");
    }
    let mut forest = Forest::new();
    let options = Options::default().for_version(Version::V3_4).with_multiple_declarations(true);
    let policy = resolve_texts(&files, &mut forest, &options);
    assert_eq!((policy.type_count(), policy.booleans().len(), policy.classes().count()), (4098, 312, 134));
    if !tool("secilc") || !tool("seinfo") {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian-policy");
    let kinds = [RuleKind::Allow, RuleKind::DontAudit, RuleKind::AuditAllow];
    let written = kinds.map(|k| policy.compiled_rule_count(k));
    assert_eq!(written, compiled_counts(&folder, &["-m", "-N"]));
    let expanded = kinds.map(|k| policy.expanded_rule_count(k));
    assert_eq!(expanded, compiled_counts(&folder, &["-m", "-N", "-G", "-X", "100000"]));
}

/// Allow, dontaudit and auditallow rules that `seinfo` counts in what `secilc` makes of a folder.
fn compiled_counts(folder: &std::path::Path, flags: &[&str]) -> [usize; 3] {
    let binary = folder.join("policy.bin");
    let mut command = Command::new("secilc");
    command.args(flags).arg("-o").arg(&binary).arg("-f").arg(folder.join("contexts"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "cil"));
    files.sort();
    assert!(command.args(files).status().unwrap().success());
    let info = Command::new("seinfo").arg(&binary).output().unwrap();
    let info = String::from_utf8(info.stdout).unwrap();
    let words: Vec<&str> = info.split_whitespace().collect();
    ["Allow:", "Dontaudit:", "Auditallow:"].map(|label| {
        let at = words.iter().position(|w| *w == label).unwrap_or_else(|| panic!("no {label} in {info}"));
        words[at + 1].parse().unwrap()
    })
}

/// Our base and templates, and Debian's policy with our templates, for the compiler itself, `neverallow` on.
#[test]
fn templates_compile_on_both_bases() {
    use spo_selinux_cil::templates::{NAMES, TEMPLATES, minimal_base};
    if !tool("secilc") {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("templates");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let base = write("base.cil", &minimal_base());
    let templates = write("templates.cil", TEMPLATES);
    let profiles: String = NAMES
        .iter()
        .enumerate()
        .map(|(i, t)| match *t {
            "container" => "(block p0 (blockinherit container))".to_owned(),
            t => format!("(block p{i} (blockinherit container) (blockinherit {t}))"),
        })
        .collect();
    let profiles = write("profiles.cil", &profiles);
    let out = folder.join("policy.bin");
    let compile = |flags: &[&str], files: &[&PathBuf]| {
        let mut command = Command::new("secilc");
        command.args(flags).arg("-o").arg(&out).arg("-f").arg(folder.join("contexts")).args(files);
        let result = command.output().unwrap();
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    };
    compile(&[], &[&base, &templates, &profiles]);
    let Some(debian) = debian() else { return };
    let files: Vec<PathBuf> = debian
        .iter()
        .map(|(n, _)| {
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian-policy").join(format!("{n}.cil"))
        })
        .collect();
    let mut all: Vec<&PathBuf> = files.iter().collect();
    all.extend([&templates, &profiles]);
    compile(&["-m"], &all);
    let mut forest = Forest::new();
    for text in [TEMPLATES, &read(&profiles)] {
        forest.add("templates", text.to_owned()).unwrap();
    }
    let options = Options::default().for_version(Version::V3_4).with_multiple_declarations(true);
    let policy = resolve_texts(&debian, &mut forest, &options);
    let info = Command::new("seinfo").arg(&out).output().unwrap();
    let info = String::from_utf8(info.stdout).unwrap();
    let allow = policy.compiled_rule_count(RuleKind::Allow);
    assert!(
        info.contains(&format!("Allow: {allow:>17}")) || info.contains(&format!(" {allow} ")),
        "{allow}\n{info}"
    );
}

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
        match numbers.below(8) {
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
            3 if is_word(&tokens[at]) => drop(tokens.remove(at)),
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
    if !tool("secilc") {
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
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("mutant.cil");
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for _ in 0..count {
        let text = mutant(&seeds, &words, &mut numbers);
        std::fs::write(&path, &text).unwrap();
        let result = Command::new("secilc")
            .arg("-o")
            .arg(folder.join("policy.bin"))
            .arg("-f")
            .arg(folder.join("contexts"))
            .args(["base.cil", "mls.cil", "templates.cil"].map(|f| root.join(f)))
            .arg(&path)
            .output()
            .unwrap();
        let (ours, why) = verdict(&[&base[0], &base[1], &base[2], &text], "", Version::V3_4);
        accepted += usize::from(result.status.success());
        if result.status.success() != (ours == "ok") {
            let theirs = String::from_utf8_lossy(&result.stderr).into_owned();
            wrong.push(format!("{text}  compiler: {theirs}  ours: {ours} {why}"));
        }
    }
    // A test that only sees refusals would say little.
    assert!(accepted * 10 > count, "only {accepted} of {count} mutants compile");
    println!("{accepted} of {count} mutants compile");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

const EXTRA_SEEDS: &[&str] = &[
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

/// One rule of the language each, judged by the installed compiler on the spot.
#[test]
fn probes_of_single_rules_have_the_compilers_verdict() {
    let Some(root) = corpus() else { return };
    if !tool("secilc") {
        return;
    }
    let base = base(&root);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("probes");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("probe.cil");
    let mut wrong = Vec::new();
    for text in PROBES {
        std::fs::write(&path, text).unwrap();
        let result = Command::new("secilc")
            .arg("-o")
            .arg(folder.join("policy.bin"))
            .arg("-f")
            .arg(folder.join("contexts"))
            .args(["base.cil", "mls.cil", "templates.cil"].map(|f| root.join(f)))
            .arg(&path)
            .output()
            .unwrap();
        let (ours, why) = verdict(&[&base[0], &base[1], &base[2], text], "", Version::V3_4);
        // Numbers that are no ports: the compiler cuts them to 16 bits, which labels another port than was written.
        let stricter = text.contains("tcp 90000") || text.contains("tcp (9 5)");
        if result.status.success() != (ours == "ok") && !stricter {
            wrong.push(format!(
                "{text}\n  compiler: {}  ours: {ours} {why}",
                String::from_utf8_lossy(&result.stderr)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), PROBES.len(), wrong.join("\n"));
}

const PROBES: &[&str] = &[
    "(block q) (in q)",
    "(block q) (in before q)",
    "(in)",
    "(block q) (in after)",
    "(user u) (userlevel u systemlow)(userrange u low_high)(userrange u low_high)",
    "(user u) (userlevel u systemlow)(userrange u low_high)(userrange u low_low)",
    "(user u) (userlevel u systemlow)(userlevel u systemhigh)(userrange u low_low)",
    "(sid z)(sidorder (unordered z))",
    "(sid z)(sidorder (unlabeled z))",
    "(sid z)(sidorder (unlabeled z))(sidcontext z ctx_kernel)(sidcontext z ctx_kernel)",
    "(categoryorder (unordered c1))",
    "(sensitivityorder (unordered s0))",
    "(classcommon file file)",
    "(userprefix system_u x)(userprefix system_u y)",
    "(rolebounds system_r object_r)(rolebounds system_r object_r)",
    "(rolebounds system_r object_r)(rolebounds object_r system_r)",
    "(userbounds system_u system_u)",
    "(defaulttype file target)(defaulttype file source)",
    "(defaulttype file target)(defaulttype file target)",
    "(defaultrange file target low)(defaultrange file target high)",
    "(roletransition system_r etc_t process object_r)(roletransition system_r etc_t process system_r)",
    "(roletransition system_r etc_t process object_r)(roletransition system_r etc_t process object_r)",
    "(rangetransition init_t etc_t process low_high)(rangetransition init_t etc_t process low_low)",
    "(rangetransition init_t etc_t process low_high)(rangetransition init_t etc_t process low_high)",
    "(macro m ((type a)) (allow a self (file (read))))(call m ((and domain file_type)))",
    "(macro m ((type a)) (allow init_t a (file (read))))(call m (self))",
    "(type self)",
    "(type all)",
    "(type notself)",
    "(type range)",
    "(block all)",
    "(class all (x))(classorder (unordered all))",
    "(class c (all))(classorder (unordered c))",
    "(class c (range))(classorder (unordered c))",
    "(class c (self))(classorder (unordered c))",
    "(boolean and true)",
    "(boolean all true)",
    "(boolean eq true)",
    "(boolean self true)",
    "(tunable or true)",
    "(category range)",
    "(category self)",
    "(role self)",
    "(role all)",
    "(user all)",
    "(user self)",
    "(roleattribute not)",
    "(level self (s0))",
    "(classmap m (not))",
    "(common c (all))",
    "(typealias all)(typealiasactual all etc_t)",
    "(categoryset all (c1))",
    "(permissionx all (ioctl file (1)))",
    "(type t.x)",
    "(type _x)",
    "(type x$)",
    "(type \"x\")",
    "(macro m () (allow init_t etc_t (file (read))))(call m)",
    "(macro m () )(call m ())",
    "(macro m ((type x)) )(call m)",
    "(block b)(in b (block c (type t)))(allow b.c.t etc_t (file (read)))",
    "(allow init_t b.c.t (file (read)))(block b (block c (type t)))",
    "(tunable x true)(booleanif x (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(tunableif x (true (allow init_t etc_t (file (read)))))",
    "(optional o (in q (type z)))(block q)",
    "(typetransition init_t self process tmp_t)",
    "(expandtypeattribute domain true)(expandtypeattribute domain false)",
    "(handleunknown deny)",
    "(portcon tcp 80 (system_u object_r etc_t low_low))",
    "(portcon tcp 90000 ctx_kernel)",
    "(portcon tcp (9 5) ctx_kernel)",
    "(portcon tcp x ctx_kernel)",
    "(nodecon (10.0.0.1) (255.255.255.0) ctx_kernel)",
    "(nodecon (10.0.0.1) (ffff::) ctx_kernel)",
    "(nodecon 10.0.0.1 255.0.0.0 ctx_kernel)",
    "(nodecon (10.0.0.300) (255.0.0.0) ctx_kernel)",
    "(ipaddr a 1.2.3.4)(nodecon a a ctx_kernel)",
    "(ipaddr a (1.2.3.4))",
    "(fsuse xattr ext4 ctx_kernel)",
    "(genfscon proc / ctx_kernel)",
    "(typeattributeset init_t (etc_t))",
    "(roletype system_r domain)(roletype domain system_r)",
    "(validatetrans file (eq t1 init_t))(constrain (file (read)) (eq l1 l2))",
    "(permissionx p (ioctl process (1)))",
    "(permissionx p (ioctl file (1 2)))(allowx init_t etc_t p)",
    "(sensitivity s0)",
    "(categoryorder (c5 c4))",
    "(categoryorder (c0 c2))",
    "(typealias x)",
    "(typealias x)(typealiasactual x etc_t)(typealiasactual x etc_t)",
    "(typealias x)(typealias y)(typealiasactual x y)(typealiasactual y x)",
    "(typealias x)(typealiasactual x domain)",
    "(typebounds init_t kernel_t)(typebounds init_t kernel_t)",
    "(typebounds init_t domain)",
    "(classmap m (a))",
    "(context c (system_u object_r etc_t (s0 s0)))",
    "(level l s0)",
    "(level l (s0 c1))",
    "(level l systemlow)",
    "(levelrange l (s0 s0))",
    "(levelrange l low_low)",
    "(context c (system_u object_r domain low_low))",
    "(context c ctx_kernel)",
    "(user v) (userlevel v systemlow)(userrange v low_high) (portcon tcp 81 (v object_r etc_t low_low))",
    "(allow init_t etc_t (capability (chown)))",
    "(allow init_t etc_t (file (chown)))",
    "(booleanif b (true (type x)))(boolean b true)",
    "(boolean b true)(booleanif b (true (call m)))(macro m () (allow init_t etc_t (file (read))))",
    "(boolean b true)(booleanif b (true (call m)))(macro m () (type z))",
    "(boolean b true)(booleanif b (true (typetransition init_t etc_t file \"x\" tmp_t)))",
    "(boolean b true)(booleanif (and b) (true (allow init_t etc_t (file (read)))))",
    "(boolean b true)(booleanif (b) (true (allow init_t etc_t (file (read)))))",
    "(boolean b true)(booleanif (not (b)) (true (allow init_t etc_t (file (read)))))",
    "(boolean b true)(booleanif b)",
    "(boolean b true)(booleanif b (true))",
    "(boolean b true)(booleanif b (other (allow init_t etc_t (file (read)))))",
    "(true (type x))",
    "(block b (sensitivity s9))",
    "(block b (category c9999))",
    "(block b (type t) (block b (type t)))",
    "(block b)(block c (blockinherit b) (blockinherit b))",
    "(block a (blockinherit b))(block b (blockinherit a))",
    "(block a (block b (blockinherit a)))",
    "(macro m () (call m))(call m)",
    "(macro m () (call n))(macro n () (call m))(call m)",
    "(macro m () (block b))",
    "(macro m () (optional o (allow init_t nope (file (read)))))(call m)(call m)",
    "(macro m () (type z))(call m)(call m)",
    "(optional o (type z))(optional o (type y))",
    "(optional o (blockinherit nope))",
    "(optional o (call nope))",
    "(optional o (call m))(macro m () (allow init_t nope (file (read))))",
    "(optional o (type z) (allow z nope (file (read))))(allow z etc_t (file (read)))",
    "(block p (optional o (type z) (allow z nope (file (read)))))(optional o2 (allow p.z etc_t (file (read))))",
    "(typeattribute x)(typeattributeset x (x))",
    "(typeattribute x)(typeattribute y)(typeattributeset x (y))(typeattributeset y (not x))",
    "(typeattribute x)(typeattributeset x (all all))",
    "(typeattribute x)(typeattributeset x (init_t (all)))",
    "(typeattribute x)(typeattributeset x (and init_t))",
    "(typeattribute x)(typeattributeset x ())",
    "(typeattribute x)(typeattributeset x (init_t and etc_t))",
    "(typeattribute x)(typeattributeset x and)",
    "(typeattribute x)(typeattributeset x (range init_t etc_t))",
    "(neverallow init_t self (file (read)))(allow domain domain (file (read)))",
    "(neverallow init_t self (file (read)))(allow init_t kernel_t (file (read)))",
    "(neverallowx init_t etc_t (ioctl file (5)))(allow init_t etc_t (file (ioctl)))",
    "(neverallowx init_t etc_t (ioctl file (5)))(allow init_t etc_t (file (ioctl)))(allowx init_t etc_t (ioctl file (6)))",
    "(neverallowx init_t etc_t (ioctl file (5)))(allow init_t etc_t (file (ioctl)))(allowx init_t etc_t (ioctl file (5)))",
    "(neverallowx init_t etc_t (ioctl file (5)))(allowx init_t etc_t (ioctl file (5)))",
    "(boolean b false)(neverallow init_t etc_t (file (read)))(booleanif b (true (allow init_t etc_t (file (read)))))",
    "(typebounds init_t kernel_t)(allow kernel_t self (file (read)))(allow init_t self (file (read)))",
    "(typebounds init_t kernel_t)(allow kernel_t kernel_t (file (read)))(allow init_t kernel_t (file (read)))",
    "(typetransition init_t etc_t file x tmp_t)(typetransition init_t etc_t file x var_t)",
    "(typetransition init_t etc_t file x tmp_t)(typetransition init_t etc_t file y var_t)",
    "(typetransition domain etc_t file tmp_t)(typetransition init_t etc_t file var_t)",
    "(typetransition init_t etc_t file * tmp_t)(typetransition init_t etc_t file var_t)",
    "(typetransition init_t etc_t file domain)",
    "(boolean b true)(booleanif b (true (typetransition init_t etc_t file tmp_t))(false (typetransition init_t etc_t file var_t)))",
    "(boolean b true)(booleanif b (true (typetransition init_t etc_t file tmp_t)))(typetransition init_t etc_t file var_t)",
    "(filecon \"/x\" file ctx_kernel)(filecon \"/x\" nofile ctx_kernel)",
    "(policycap nonsense)",
    "(sidcontext nope ctx_kernel)",
    "(class c ())(classorder (unordered c))",
    "(classorder (file process))",
    "(common co (a))(class cl (b))(classcommon cl co)(classcommon cl co)(classorder (unordered cl))",
    "(classpermission cp)",
    "(classpermission cp)(classpermissionset cp (file (nope)))",
    "(sensitivityalias sa)(sensitivityaliasactual sa s0)(level l (sa (c1)))",
    "(categoryalias ca)(categoryaliasactual ca c1)(level l (s0 (ca)))",
    "(level l (s0 ((range c3 c1))))",
    "(level l (s0 (c1 (not c1))))",
    "(sensitivity s1)(sensitivityorder (s0 s1))(level l (s1 (c1)))",
    "(levelrange r (systemhigh systemlow))",
    "(userattribute ua)(userattributeset ua (system_u))(userrole ua system_r)",
    "(user x)(userlevel x systemlow)(userrange x low_low)(userrole x object_r)(portcon tcp 7 (x object_r etc_t low_high))",
    "(selinuxuser r system_u low_high)(selinuxuser r system_u low_high)",
    "(roleallow system_r nope)",
    "(constrain (file (read)) (eq t1 nope))",
    "(constrain (file (read)) (eq u1 (system_u)))",
    "(constrain (file (read)) (eq u1 init_t))",
    "(constrain (file (read)) (dom t1 t2))",
    "(constrain (file (read)) (dom r1 r2))",
    "(constrain (file (read)) (dom r1 system_r))",
    "(constrain (file (read)) (eq r1 r2))",
    "(mlsconstrain (file (read)) (eq l1 h1))",
    "(mlsconstrain (file (read)) (eq h1 l1))",
    "(mlsconstrain (file (read)) (eq l1 s0))",
    "(mlsconstrain (file (read)) (dom l2 h2))",
    "(constrain (file (read)) (and (eq u1 u2)))",
    "(validatetrans file (eq u3 u1))",
    "(validatetrans file (eq u1 u2))",
    "(mlsvalidatetrans file (dom l1 l2))",
    "(deny init_t etc_t (file (read)))",
    "(allow init_t other (file (read)))",
];
