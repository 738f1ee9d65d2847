//! What profiles mean, against brute force and against what the language says.

use proptest::prelude::*;
use spo_apparmor::{
    NoIncludes, Unit,
    aare::Aare,
    dfa::{Budget, Dfa},
    expand::FlatProfile,
    load,
    meaning::{
        Compiled, Event, FindingKind, Grants, MergeMode, Relation, Side, Subject, Verdict, conflicts, diff,
        escapes, features_of, least, merge, target,
    },
    tree::{FilePerms, Version},
};

fn unit(body: &str) -> Unit {
    let unit = load(&format!("profile p {{\n{body}\n}}\n"), &NoIncludes, Default::default());
    assert!(unit.is_ok(), "{body}: {:?}", unit.diagnostics);
    unit
}

fn compiled(unit: &Unit) -> Compiled {
    Compiled::new(&unit.profiles[0], Budget::default()).unwrap()
}

fn relation(a: &str, b: &str) -> Relation {
    let (a, b) = (unit(a), unit(b));
    let grants = |u: &Unit| Grants::of(&u.profiles[0]);
    diff((&compiled(&a), &grants(&a)), (&compiled(&b), &grants(&b)), Budget::default()).unwrap().relation
}

fn perms(text: &str) -> FilePerms {
    text.parse().unwrap()
}

#[test]
fn deny_beats_allow_and_priority_beats_deny() {
    let u = unit("/a/** rw,\ndeny /a/b w,\npriority=1 /a/b/c w,\ndeny /a/b/c w,");
    let c = compiled(&u);
    let ask = |path, p| c.query(path, perms(p), Subject::Other).verdict;
    assert_eq!(ask("/a/x", "rw"), Verdict::Allowed);
    assert_eq!(ask("/a/b", "r"), Verdict::Allowed);
    assert_eq!(ask("/a/b", "w"), Verdict::Denied);
    assert_eq!(ask("/a/b", "a"), Verdict::Denied);
    assert_eq!(ask("/a/b/c", "w"), Verdict::Allowed);
}

#[test]
fn owner_rules_are_about_own_files() {
    let u = unit("owner /h/** rw,\nother /h/** r,");
    let c = compiled(&u);
    assert_eq!(c.query("/h/x", perms("w"), Subject::Owner).verdict, Verdict::Allowed);
    assert_eq!(c.query("/h/x", perms("w"), Subject::Other).verdict, Verdict::NotAllowed);
    assert_eq!(c.query("/h/x", perms("r"), Subject::Other).verdict, Verdict::Allowed);
}

#[test]
fn an_exact_path_overrides_the_way_a_glob_executes() {
    let u = unit("/bin/* px,\n/bin/ls ix,");
    let c = compiled(&u);
    let answer = c.query("/bin/ls", perms("x"), Subject::Other);
    let outcome = answer.exec.unwrap();
    assert_eq!(outcome.exec.to_string(), "ix");
    assert_eq!(u.profile_after_exec(&u.profiles[0], outcome, "/bin/ls").as_deref(), Some("p"));
    assert_eq!(answer.rules.len(), 2);
    // What runs under the same profile may be mapped.
    assert_eq!(c.query("/bin/ls", perms("m"), Subject::Other).verdict, Verdict::Allowed);
    assert_eq!(c.query("/bin/cat", perms("m"), Subject::Other).verdict, Verdict::NotAllowed);
}

#[test]
fn which_gives_examples_that_hold() {
    let u = unit("/etc/* r,\ndeny /etc/a r,\n/tmp/** rw,");
    let c = compiled(&u);
    let found = c.which(perms("r"), Subject::Other);
    assert_eq!(found.iter().map(|w| w.glob.as_str()).collect::<Vec<_>>(), ["/etc/*", "/tmp/**"]);
    for which in found {
        assert_eq!(c.query(&which.example, perms("r"), Subject::Other).verdict, Verdict::Allowed);
    }
    assert_eq!(c.which(perms("w"), Subject::Other).len(), 1);
}

#[test]
fn relations_of_profiles() {
    assert_eq!(relation("/a/** r,", "/a/** r,"), Relation::Equal);
    assert_eq!(relation("/a/{b,c} r,", "/a/b r,\n/a/c r,"), Relation::Equal);
    assert_eq!(relation("/a/** r,", "/a/* r,"), Relation::Stricter);
    assert_eq!(relation("/a/* r,", "/a/* rw,"), Relation::Looser);
    assert_eq!(relation("/a r,", "/b r,"), Relation::Incomparable);
    assert_eq!(relation("/a ix,", "/a px,"), Relation::Incomparable);
    assert_eq!(relation("/a r,", "/a r,\ndeny /b r,"), Relation::Equal);
    assert_eq!(relation("capability,", "capability chown,"), Relation::Stricter);
    assert_eq!(relation("network inet,", "network inet stream,"), Relation::Stricter);
    assert_eq!(relation("network tcp,", "network inet tcp,\nnetwork inet6 tcp,"), Relation::Equal);
    assert_eq!(relation("signal,", "signal send,"), Relation::Stricter);
    assert_eq!(relation("signal send peer=foo,", "signal send peer=f*,"), Relation::Looser);
    assert_eq!(relation("ptrace,", "ptrace,\ndeny ptrace trace peer=x,"), Relation::Stricter);
    assert_eq!(relation("mount,", "mount fstype=tmpfs,"), Relation::Stricter);
    assert_eq!(relation("userns,", "userns create,"), Relation::Equal);
}

#[test]
fn a_difference_has_a_shortest_witness() {
    let (a, b) = (unit("/data/** rw,"), unit("/data/** r,\n/data/x w,"));
    let grants = Grants::default();
    let result = diff((&compiled(&a), &grants), (&compiled(&b), &grants), Budget::default()).unwrap();
    assert_eq!(result.relation, Relation::Stricter);
    assert!(result.files.iter().all(|d| d.side == Side::First && d.witness.len() == "/data/a".len()));
}

#[test]
fn rules_against_each_other_are_found() {
    let u =
        unit("/a/** r,\ndeny /b r,\n/c r,\ndeny /c r,\n/a/x r,\n/d/** rw,\ndeny /d/secret w,\n/e r,\n/e r,");
    let kinds: Vec<_> = conflicts(&compiled(&u)).into_iter().map(|f| (f.rule, f.kind)).collect();
    assert_eq!(
        kinds,
        [
            (1, FindingKind::QuietDeny),
            (2, FindingKind::DeadAllow),
            (4, FindingKind::Redundant),
            (5, FindingKind::PartlyDenied),
            (8, FindingKind::Redundant),
        ]
    );
    let partly = conflicts(&compiled(&u)).into_iter().find(|f| f.kind == FindingKind::PartlyDenied).unwrap();
    assert_eq!(partly.witness, "/d/secret");
}

#[test]
fn least_privilege_against_events() {
    let u = unit("/etc/** r,\n/var/log/x w,\n/unused r,\ncapability chown,\ncapability kill,");
    let grants = Grants::of(&u.profiles[0]);
    let chown = grants.allowed.iter().find(|g| g.what == "chown").unwrap().clone();
    let file =
        |path: &str, p: &str| Event::File { path: path.to_owned(), perms: perms(p), subject: Subject::Other };
    let events =
        [file("/etc/hosts", "r"), file("/var/log/x", "w"), file("/etc/hosts", "w"), Event::Grant(chown)];
    let result = least(&u.profiles[0], &compiled(&u), &grants, &events);
    assert_eq!(result.missing, [file("/etc/hosts", "w")]);
    assert_eq!(result.unused, [2, 4]);
    assert_eq!(result.over_broad.iter().map(|o| o.glob.as_str()).collect::<Vec<_>>(), ["/etc/**"]);
}

#[test]
fn merging() {
    let (a, b) =
        (unit("/a/** r,\ndeny /x w,\ncapability chown,"), unit("/a/b rw,\n/x w,\ncapability chown kill,"));
    let both = merge(&a.profiles[0], &b.profiles[0], MergeMode::Union);
    let text: Vec<_> = both.rules.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["/a/** r,", "/a/b rw,", "/x w,", "capability chown kill,", "capability chown,"]);
    assert_eq!(both.notes.len(), 1);
    let common = merge(&a.profiles[0], &b.profiles[0], MergeMode::Intersection);
    let text: Vec<_> = common.rules.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["/a/b r,", "capability chown,", "deny /x w,"]);
}

#[test]
fn the_oldest_release_and_the_kernel_that_fit() {
    let t = target(&unit("/a r,\nsignal send,\nuserns,\npriority=1 /b r,"));
    assert_eq!(t.version, Version::V4_1);
    let kernel = features_of(["file/mask", "caps/mask", "signal/mask"]);
    let ignored: Vec<_> = t.ignored(&kernel).map(spo_apparmor::meaning::Feature::path).collect();
    assert_eq!(ignored, ["namespaces/userns_create"]);
    assert_eq!(target(&unit("/a r,")).version, Version::V3_0);
    assert_eq!(target(&unit("mount options=nosymfollow /a -> /b,")).version, Version::V4_0);
    // 3.0 knows no variable for the attachment of the header.
    let text = "profile p /bin/p {\n  @{exec_path} r,\n}\n";
    for (version, ok) in [(Version::V3_0, false), (Version::V5_0, true)] {
        let options = spo_apparmor::ParseOptions { version, tokens: false };
        assert_eq!(load(text, &NoIncludes, options).is_ok(), ok, "{version}");
    }
}

#[test]
fn ways_out_are_found() {
    let codes = |body: &str| -> Vec<&'static str> {
        let u = unit(body);
        let found = escapes(&u.profiles[0], &compiled(&u), &Grants::of(&u.profiles[0]));
        found.into_iter().map(|e| e.code).collect()
    };
    assert!(codes("/a r,\n/b ix,").is_empty());
    assert_eq!(codes("/a ux,"), ["exec-unconfined"]);
    assert_eq!(codes("/a pux,"), ["exec-fallback"]);
    assert_eq!(codes("/a px -> unconfined,"), ["exec-unconfined"]);
    assert_eq!(codes("change_profile,"), ["change-profile"]);
    assert_eq!(codes("change_profile -> child,"), [""; 0]);
    assert_eq!(codes("/a wpx,"), ["write-and-exec"]);
    assert_eq!(codes("/etc/** w,"), ["write-policy"]);
    assert_eq!(codes("/etc/** w,\ndeny /etc/apparmor.d/** w,"), [""; 0]);
    assert_eq!(codes("capability mac_admin,"), ["capability"]);
    assert_eq!(codes("mount,"), ["mount"]);
    assert_eq!(codes("ptrace trace,"), ["ptrace"]);
    assert_eq!(codes("ptrace trace peer=p,"), [""; 0]);
}

/// Globs over a short alphabet, as text.
fn glob() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "/"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["*", "**", "?", "[ab]", "[^a]", "\\*"]).prop_map(str::to_owned),
    ];
    let leaf = prop::collection::vec(atom, 1..4).prop_map(|v| v.concat());
    let part = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a},{b}}}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a}{b}")),
        ]
    });
    part.prop_map(|p| spo_apparmor::aare::collapse_slashes(&format!("/{p}")))
}

fn rule() -> impl Strategy<Value = String> {
    let prefix = prop::sample::select(vec!["", "", "", "deny ", "owner ", "audit ", "deny owner "]);
    let perms = prop::sample::select(vec!["r", "w", "rw", "a", "k", "m", "rwl", "mr"]);
    (prefix, glob(), perms).prop_map(|(x, g, p)| format!("{x}{g} {p},"))
}

/// Every text over the alphabet up to a length.
fn texts(length: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..length {
        last = last.iter().flat_map(|t| ["a", "b", "/", "*"].map(|c| format!("{t}{c}"))).collect();
        all.extend(last.iter().cloned());
    }
    all
}

fn flat(rules: &[String]) -> FlatProfile {
    unit(&rules.join("\n")).profiles.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_automaton_agrees_with_trying_every_way(globs in prop::collection::vec(glob(), 1..4)) {
        let parsed: Vec<Aare> = globs.iter().map(|g| Aare::parse(g).unwrap()).collect();
        let dfa = Dfa::build(&parsed.iter().collect::<Vec<_>>(), Budget::default()).unwrap();
        for text in texts(4).iter().map(|t| format!("/{t}")) {
            let expected: Vec<u32> =
                (0_u32..).zip(&parsed).filter(|(_, g)| g.matches(text.as_bytes())).map(|(i, _)| i).collect();
            prop_assert_eq!(dfa.matches(text.as_bytes()), expected, "{} {:?}", text, globs);
        }
    }

    #[test]
    fn printing_a_glob_keeps_its_language(text in glob()) {
        let first = Aare::parse(&text).unwrap();
        let second = Aare::parse(&first.to_string()).unwrap();
        for text in texts(4).iter().map(|t| format!("/{t}")) {
            prop_assert_eq!(first.matches(text.as_bytes()), second.matches(text.as_bytes()));
        }
    }

    #[test]
    fn a_profile_does_not_differ_from_itself(rules in prop::collection::vec(rule(), 0..5)) {
        let p = flat(&rules);
        let (c, g) = (Compiled::new(&p, Budget::default()).unwrap(), Grants::of(&p));
        prop_assert_eq!(diff((&c, &g), (&c, &g), Budget::default()).unwrap().relation, Relation::Equal);
    }

    #[test]
    fn a_union_grants_what_either_grants_and_an_intersection_no_more(
        a in prop::collection::vec(rule(), 0..4), b in prop::collection::vec(rule(), 0..4)
    ) {
        let (a, b) = (flat(&a), flat(&b));
        let build = |mode| {
            let rules: Vec<String> = merge(&a, &b, mode).rules.iter().map(ToString::to_string).collect();
            Compiled::new(&flat(&rules), Budget::default()).unwrap()
        };
        let (union, common) = (build(MergeMode::Union), build(MergeMode::Intersection));
        let (a, b) = (Compiled::new(&a, Budget::default()).unwrap(), Compiled::new(&b, Budget::default()).unwrap());
        for text in texts(4).iter().map(|t| format!("/{t}")) {
            for subject in Subject::BOTH {
                let of = |c: &Compiled| c.decide(text.as_bytes(), subject).allow;
                prop_assert!(of(&union).contains(of(&a).union(of(&b))), "{}", text);
                prop_assert!(of(&a).intersection(of(&b)).contains(of(&common)), "{}", text);
            }
        }
    }
}

/// The three steps of the kernel's `aa_path_link`, each on its own.
#[test]
fn links_are_pairs_of_name_and_target() {
    let may = |body: &str, name: &str, target: &str| {
        let unit = unit(body);
        let compiled = compiled(&unit);
        compiled.links(Budget::default()).unwrap().query(name, target, Subject::Owner).verdict
    };
    let (yes, no, denied) = (Verdict::Allowed, Verdict::NotAllowed, Verdict::Denied);
    for (body, name, target, wanted) in [
        // A link rule names its targets and tests nothing else.
        ("link /a -> /b,", "/a", "/b", yes),
        ("link /a -> /b,", "/a", "/c", no),
        ("link /a -> /b,", "/b", "/b", no),
        ("link /a -> /b,\n/a rw,", "/a", "/b", yes),
        ("l /a -> /b,", "/a", "/b", yes),
        ("l /a -> /b,", "/a", "/c", no),
        // With "subset", or without a target, the name may be used for nothing that the target may not be used for.
        ("link subset /a -> /b,\n/a rw,\n/b r,", "/a", "/b", no),
        ("link subset /a -> /b,\n/a r,\n/b rw,", "/a", "/b", yes),
        ("link subset /a -> /b,", "/a", "/b", yes),
        ("/a rl,", "/a", "/b", no),
        ("/a rl,\n/b r,", "/a", "/b", yes),
        ("/a l,", "/a", "/b", yes),
        // The way of executing counts, too; a scrubbed environment is less.
        ("/a ixl,\n/b ixr,", "/a", "/b", yes),
        ("/a ixl,\n/b pxr,", "/a", "/b", no),
        ("/a Pxl,\n/b Px,", "/a", "/b", yes),
        ("/a pxl,\n/b Px,", "/a", "/b", no),
        // A pair from two rules is tested when one of them asks for it.
        ("link /a -> /b,\n/a rl,", "/a", "/b", no),
        // Denies are about pairs.
        ("/a l,\ndeny link /a -> /b,", "/a", "/b", denied),
        ("/a l,\ndeny link /a -> /b,", "/a", "/c", yes),
        ("/a l,\ndeny /a l,", "/a", "/c", denied),
        ("/a/* l,\ndeny /a/b wl,", "/a/c", "/c", yes),
        ("link /a -> /b,\ndeny /a l,", "/a", "/b", denied),
        ("priority=1 link /a -> /b,\ndeny /a l,", "/a", "/b", yes),
        ("owner link /a -> /b,", "/a", "/b", yes),
        ("other link /a -> /b,", "/a", "/b", no),
    ] {
        assert_eq!(may(body, name, target), wanted, "{body}: {name} -> {target}");
    }
}

#[test]
fn links_take_part_in_comparisons() {
    let compare = |a: &str, b: &str| {
        let (a, b) = (unit(a), unit(b));
        let none = Grants::default();
        diff((&compiled(&a), &none), (&compiled(&b), &none), Budget::default()).unwrap()
    };
    for (a, b, relation) in [
        ("link /a -> /b,", "link /a -> /b,", Relation::Equal),
        ("link /a -> /{b,c},", "link /a -> /b,", Relation::Stricter),
        ("link /a -> /b,", "link /a -> /c,", Relation::Incomparable),
        ("link /a -> /b,", "/a l,", Relation::Looser),
        ("/a l,\ndeny link /a -> /b,", "/a l,", Relation::Looser),
        ("link subset /a -> /b,\n/a r,", "link /a -> /b,\n/a r,", Relation::Looser),
        // Without another permission of the name there is nothing to test.
        ("link subset /a -> /b,", "link /a -> /b,", Relation::Equal),
        ("link subset /a -> /b,\n/a r,\n/b r,", "link /a -> /b,\n/a r,\n/b r,", Relation::Equal),
        // Less for the name is more for its links.
        ("/a rwl,\n/b r,", "/a rl,\n/b r,", Relation::Incomparable),
    ] {
        let found = compare(a, b);
        assert_eq!(found.relation, relation, "{a} | {b}: {found:?}");
    }
    let found = compare("link /a/* -> /data/**,", "link /a/* -> /data/x/**,");
    assert!(found.files.is_empty());
    let pair = (found.links[0].link.as_str(), found.links[0].target.as_str());
    // No pair is shorter.
    assert_eq!((pair.0.len(), pair.1.len()), ("/a/a".len(), "/data/a".len()), "{pair:?}");
}

#[test]
fn links_against_each_other_are_found() {
    let kinds = |body: &str| {
        let unit = unit(body);
        conflicts(&compiled(&unit)).into_iter().map(|f| (f.rule, f.kind, f.witness)).collect::<Vec<_>>()
    };
    let found = |rule, kind, witness: &str| vec![(rule, kind, witness.to_owned())];
    assert_eq!(kinds("link /a -> /b,\ndeny link /a -> /c,"), found(1, FindingKind::QuietDeny, ""));
    assert_eq!(kinds("link /a -> /b,\ndeny link /a -> /b,"), found(0, FindingKind::DeadAllow, "/a -> /b"));
    assert_eq!(
        kinds("link /a -> /{b,c},\ndeny link /a -> /b,"),
        found(0, FindingKind::PartlyDenied, "/a -> /b")
    );
    assert_eq!(kinds("link /a -> /b,\nlink /a -> /{b,c},"), found(0, FindingKind::Redundant, ""));
    assert_eq!(kinds("link /a -> /b,\nlink /a -> /b,"), found(1, FindingKind::Redundant, ""));
    assert_eq!(kinds("link /a -> /b,\nlink /a -> /c,"), []);
    // The second rule asks for the subset test of every pair, so that the first one changes nothing.
    assert_eq!(kinds("link /a -> /b,\n/a l,"), found(0, FindingKind::Redundant, ""));
    let both = kinds("/a rl,\ndeny /a wl,");
    assert_eq!(both.iter().map(|f| (f.0, f.1)).collect::<Vec<_>>(), [(0, FindingKind::PartlyDenied)]);
}

#[test]
fn common_links_are_never_more_than_both_allow() {
    let common = |a: &str, b: &str| {
        let (a, b) = (unit(a), unit(b));
        let merged = merge(&a.profiles[0], &b.profiles[0], MergeMode::Intersection);
        (merged.rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), merged.notes.len())
    };
    assert_eq!(common("link /a -> /**,", "link /a -> /b,"), ("link /a -> /b,".to_owned(), 0));
    assert_eq!(common("link subset /a -> /b,", "link /a -> /**,"), ("link subset /a -> /b,".to_owned(), 0));
    // What no single rule of the two says is left out, and said so.
    assert_eq!(common("link subset /a -> /**,", "link /a -> /b,"), (String::new(), 1));
    assert_eq!(common("/a l,", "link /a -> /b,"), (String::new(), 1));
    assert_eq!(common("link /a -> /b,", "link /a -> /c,"), (String::new(), 0));
}
