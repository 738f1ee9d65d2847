//! Single rules of the language, judged by the resolver and by the installed compiler.

use std::process::Command;

use super::{base, corpus, folder, secilc, tools, verdict};
use spo_selinux_cil::{
    resolve::{Options, resolve},
    syntax::{Forest, Version},
};

/// One rule of the language each, judged by the installed compiler on the spot.
#[test]
fn probes_of_single_rules_have_the_compilers_verdict() {
    let Some(root) = corpus() else { return };
    if !tools(&["secilc"]) {
        return;
    }
    let base = base(&root);
    let folder = folder("probes");
    let path = folder.join("probe.cil");
    let mut wrong = Vec::new();
    for text in PROBES {
        std::fs::write(&path, text).unwrap();
        let mut files = ["base.cil", "mls.cil", "templates.cil"].map(|f| root.join(f)).to_vec();
        files.push(path.clone());
        let result = secilc(&[], &files, &folder.join("policy.bin"));
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
    // Conditions without an operator: one of them must hold.
    "(boolean x true)(boolean y false)(boolean z false)(booleanif (x y z) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(boolean y false)(booleanif (and (x y) (y x)) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(boolean y false)(booleanif (x and y) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(boolean y false)(booleanif (and x y x) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (x all) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (all) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (all x) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (x eq x) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (not) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif () (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (x) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (x ()) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif ((x x) x) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif (not (x x)) (true (allow init_t etc_t (file (read)))))",
    "(boolean x true)(booleanif and (true (allow init_t etc_t (file (read)))))",
    "(tunable x true)(tunable y false)(tunableif (y x) (true (type q)))(allow q q (file (read)))",
    "(tunable x true)(tunable y false)(tunableif (y y) (true (type q)))(allow q q (file (read)))",
    "(tunable x true)(tunable y false)(tunableif (y y x) (true (type q)))(allow q q (file (read)))",
    // Declarations in a branch that is not taken.
    "(tunable x true)(tunableif x (false (type q)(type q)))",
    "(tunable x true)(tunableif x (false (type init_t)))",
    "(tunable x true)(tunableif x (true (type q))(false (type q)))",
    "(tunable x true)(block b (type q)(tunableif x (false (type q))))",
    "(tunable x true)(macro m ((type t)) (tunableif x (false (type q)(type q))))(call m (init_t))",
    "(tunable x true)(block b (tunableif x (false (type q)(type q))))(block c (blockinherit b))",
    "(tunable x true)(tunableif x (false (block q (type t))(block q (type u))))",
    "(tunable x true)(tunableif x (false (block q (type t)(type t))))",
    "(tunable x true)(tunableif x (false (optional t (type r))(optional t (type r))))",
    "(tunable x true)(tunableif x (false (optional t (type r))(optional t (type s))))",
    "(tunable x true)(tunableif x (false (optional t (type r))(type r)))",
    "(tunable x true)(tunableif x (false (type r)(typeattribute r)))",
    "(tunable x true)(tunableif x (false (type r)(role r)))",
    "(tunable x true)(tunableif x (false (boolean r true)(boolean r true)))",
    "(tunable x true)(tunableif x (false (tunableif x (false (type r)))(type r)))",
    "(tunable x true)(tunableif x (false (tunableif x (true (type r)(type r)))))",
    "(tunable x true)(tunableif x (false (macro m () (type r)(type r))))",
    "(tunable x true)(tunableif x (false (macro m () (type r))(type r)))",
    "(tunable x true)(tunableif x (false (macro m () (type r))(block m)))",
    "(tunable x true)(tunableif x (false (sensitivity s7)(sensitivityalias s7)))",
    "(tunable x true)(tunableif x (false (policycap open_perms)(policycap open_perms)))",
    // Inside an optional a missing name drops it, any other fault is one.
    "(optional o (typeattributeset init_t (kernel_t)))",
    "(optional o (typepermissive domain))",
    "(optional o (typebounds domain init_t))",
    "(optional o (typealias x)(typealiasactual x domain))",
    "(optional o (typealiasactual init_t kernel_t))",
    "(optional o (typealias x)(typealiasactual x x))",
    "(optional o (typealias x)(allow x init_t (file (read))))",
    "(optional o (typealias x)(typealias y)(typealiasactual x y)(allow x init_t (file (read))))",
    "(optional o (rolebounds system_r nope_r))",
    "(optional o (userlevel system_u (s9 (c1))))",
    "(optional o (userlevel system_u (s0 (c5000))))",
    "(optional o (allow init_t init_t (file (nope))))",
    "(optional o (classcommon file file))",
    "(optional o (classmapping nomap x (file (read))))",
    "(optional o (classmapping file read (file (read))))",
    "(optional o (classmap cm (a))(classmapping cm b (file (read))))",
    "(optional o (permissionx p (ioctl process (1))))",
    "(optional o (context c (system_u nobody_r init_t low_low)))",
    "(optional o (context c (system_u object_r domain low_low)))",
    "(optional o (expandtypeattribute init_t true))",
    "(optional o (typetransition init_t init_t process domain))",
    "(optional o (roletransition system_r init_t process nope_r))",
    "(optional o (roleattributeset system_r (object_r)))",
    "(optional o (categoryset cs (nope)))",
    "(optional o (sensitivitycategory s0 (nope)))",
    "(optional o (constrain (file (read)) (eq t1 nope_t)))",
    "(optional o (mlsconstrain (nofile (read)) (eq t1 init_t)))",
    "(macro m ((type a)) (allow a a (file (read))))(optional o (call m (init_t init_t)))",
    "(macro m ((type a)) (allow a a (file (read))))(optional o (call m))",
    "(macro m ((type a)) (allow a a (file (read))))(optional o (call m (nope)))",
    "(macro m ((level l)) (userlevel system_u l))(optional o (call m ((s9))))",
    "(macro m () (allow nope_t nope_t (file (read))))(optional o (call m))",
    "(optional o (call init_t))",
    "(block bb)(optional o (call bb))",
    "(macro m () (allow init_t init_t (file (read))))(optional o (blockinherit m))",
    "(optional o (defaultuser nofile source))",
    "(optional o (rangetransition init_t init_t process nope))",
    "(optional o (userrange system_u (systemlow nope)))",
    "(optional o (selinuxuser x nope low_low))",
    "(optional o (typeattributeset domain (domain)))",
    "(optional o (portcon tcp 7 (system_u object_r nope_t low_low)))",
    "(optional o (neverallow nope domain (file (read))))",
    "(optional o (boolean b true)(booleanif nope (true (allow init_t init_t (file (read))))))",
    "(optional o (booleanif system_u (true (allow init_t init_t (file (read))))))",
    "(optional o (roletype init_t init_t))",
    "(optional o (userrole system_u init_t))",
    "(optional o (userattributeset system_u (system_u)))",
    "(optional o (userbounds system_u nope))",
    "(optional o (level l (s0 (nope))))",
    "(optional o (levelrange l (nope nope)))",
    "(optional o (categoryalias a)(categoryaliasactual a nope))",
    "(optional o (sensitivityalias a)(sensitivityaliasactual a nope))",
    "(optional o (sidcontext nope ctx_kernel))",
    "(optional o (policycap nope))",
    "(optional o (typealias x)(typealiasactual x init_t)(typealiasactual x kernel_t))",
    "(optional o (classpermissionset nope (file (read))))",
    "(optional o (allow init_t init_t nope))",
    "(optional o (allowx init_t init_t nope))",
    "(optional o (allowx init_t init_t (ioctl process (1))))",
    "(optional a (allow a.q init_t (file (read))))",
    "(optional o (type q))(optional b (allow init_t o.q (file (read))))",
    "(optional o (type q))(optional b (allow init_t o.r (file (read))))",
    "(macro m () (type q))(optional b (allow init_t m.q (file (read))))",
    "(block z (optional o (type q)))(optional b (allow init_t z.o.q (file (read))))",
    "(block z (blockabstract z)(type q))(optional b (allow init_t z.q (file (read))))",
    "(block z (type q))(optional b (allow init_t z.r (file (read))))",
    "(block z (type q))(optional b (allow init_t z.y.r (file (read))))",
    "(optional b (allow init_t .b.y (file (read))))",
    "(optional b (blockinherit b.y))",
    "(optional b (call b.y))",
    "(optional o (type q))(optional b (tunableif o.q (true (allow init_t init_t (file (read))))))",
    "(optional b (roletype b.r init_t))",
    "(optional o (allow nope init_t (file (read)))(typepermissive domain))",
    "(optional o (typepermissive domain)(allow nope init_t (file (read))))",
    "(optional o (optional i (typepermissive domain)) (allow nope init_t (file (read))))",
    "(optional o (allow nope init_t (file (read))) (optional i (typepermissive domain)))",
    "(optional o (type q)(typepermissive domain))(optional p (allow q nope (file (read))))",
    // Words that are operators of other expressions.
    "(optional o (allow init_t init_t (file (neq))))",
    "(optional o (allow init_t init_t (file (read neq))))",
    "(optional o (allow init_t init_t (file (neq read))))",
    "(optional o (allow init_t init_t (file (dom read write))))",
    "(optional o (allow init_t init_t (file (range))))",
    "(optional o (allow init_t init_t (file (read range))))",
    "(optional o (allow init_t init_t (file (range read write))))",
    "(optional o (typeattributeset domain eq))",
    "(optional o (typeattributeset domain (init_t eq)))",
    "(optional o (typeattributeset domain (eq init_t)))",
    "(optional o (typeattributeset domain (init_t range)))",
    "(optional o (typeattributeset domain (range init_t kernel_t)))",
    "(optional o (categoryset cs (c1 neq)))",
    "(optional o (categoryset cs (c1 range)))",
    "(optional o (categoryset cs (range)))",
    "(optional o (level l (s0 (c1 eq))))",
    "(optional o (permissionx p (ioctl file (1 eq))))",
    "(boolean x true)(optional o (booleanif (range x x) (true (allow init_t init_t (file (read))))))",
    "(boolean x true)(optional o (booleanif (x range) (true (allow init_t init_t (file (read))))))",
    "(class cl (eq))(classorder (unordered cl))(allow init_t init_t (cl (eq)))",
    "(class cl (neq))(classorder (unordered cl))",
    "(type eq)(typeattributeset domain (init_t eq))",
    "(type eq)(allow init_t eq (file (read)))",
    "(type range)(typeattributeset domain (init_t range))",
];

/// Class maps as long as the compiler takes them; ours end at 4096.
#[test]
fn long_class_maps_mean_what_the_compiler_makes_of_them() {
    let Some(root) = corpus() else { return };
    if !tools(&["secilc", "sesearch"]) {
        return;
    }
    let base = base(&root);
    let folder = folder("class-maps");
    for length in [64, 65, 200] {
        let names: Vec<String> = (0..length).map(|i| format!("m{i}")).collect();
        let mut text = format!("(classmap cm ({}))\n", names.join(" "));
        for (i, name) in names.iter().enumerate() {
            let permission = ["read", "write", "open"][i % 3];
            text += &format!("(classmapping cm {name} (file ({permission})))\n");
        }
        let last = length - 1;
        text += &format!("(allow init_t etc_t (cm (m{last})))(allow init_t tmp_t (cm (not (m{last} m0))))\n");
        let path = folder.join(format!("map{length}.cil"));
        std::fs::write(&path, &text).unwrap();
        let mut files = ["base.cil", "mls.cil", "templates.cil"].map(|f| root.join(f)).to_vec();
        files.push(path);
        let binary = folder.join("policy.bin");
        let result = secilc(&[], &files, &binary);
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        let mut forest = Forest::new();
        for t in [&base[0], &base[1], &base[2], &text] {
            forest.add("", t.as_str()).unwrap();
        }
        let policy = resolve(&forest, &Options::default().for_version(Version::V3_4)).unwrap();
        for target in ["etc_t", "tmp_t"] {
            let search = ["-A", "-ds", "-dt", "-s", "init_t", "-t", target, "-c", "file"];
            let output = Command::new("sesearch").args(search).arg(&binary).output().unwrap();
            let output = String::from_utf8(output.stdout).unwrap();
            for permission in ["read", "write", "open"] {
                let answer = policy.query("init_t", target, "file", permission).unwrap();
                assert_eq!(
                    answer.allowed,
                    output.contains(permission),
                    "{length} {target} {permission}: {output}"
                );
            }
        }
    }
}
