//! Policies against a direct reading of the profile: evaluation, algebra, writing back, compiling, comparing.

use proptest::prelude::*;
use spo_model::seccomp::{
    Action, Arch, ArgFilter, ArgIndex, ArgValue, Errno, Op, SeccompProfileSpec, SyscallName, SyscallRule,
};
use spo_seccomp::{
    ArchExt, CompileOptions, Data, NotExpressible, Options, Policy, Relation, Semantics, Source, Verdict,
    compile, diff, diff_programs, explain, inherit, simulate, subtract, syscalls::Syscall,
};

const ARCH: Arch = Arch::X86_64;
const NAMES: [&str; 6] = ["read", "write", "socket", "personality", "clone", "ioctl"];

/// The first matching rule, read straight from the profile; 32-bit parameters compare their low half.
fn reference(profile: &SeccompProfileSpec, number: u32, args: &[u64; 6]) -> Verdict {
    for rule in profile.rules() {
        for name in &rule.names {
            let call = Syscall::by_name(name.as_str()).unwrap();
            if call.number(ARCH) == Some(number) && rule.conditions().iter().all(|f| holds(f, call, args)) {
                return Verdict::of(rule.action, rule.errno_ret);
            }
        }
    }
    Verdict::of(profile.default_action, profile.default_errno_ret)
}

fn holds(filter: &ArgFilter, call: Syscall, args: &[u64; 6]) -> bool {
    let narrow = call.param(filter.index.get()).bits <= 32;
    let (mut a, mut value, mut two) =
        (args[usize::from(filter.index.get())], filter.value.0, filter.value_two.0);
    if narrow {
        a &= 0xffff_ffff;
        let negative = |v: u64| v >> 31 == 0x1_ffff_ffff;
        if negative(value) && (filter.op != Op::MaskedEqual || two >> 32 == 0xffff_ffff) {
            (value, two) = (value & 0xffff_ffff, two & 0xffff_ffff);
        }
    }
    match filter.op {
        Op::NotEqual => a != value,
        Op::LessThan => a < value,
        Op::LessOrEqual => a <= value,
        Op::Equal => a == value,
        Op::GreaterOrEqual => a >= value,
        Op::GreaterThan => a > value,
        Op::MaskedEqual => a & value == two & value,
    }
}

fn value() -> impl Strategy<Value = u64> {
    let edges = vec![
        0,
        1,
        2,
        3,
        38,
        0x7e02_0000,
        0x7fff_ffff,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    prop_oneof![3 => prop::sample::select(edges), 1 => any::<u64>()]
}

fn arguments() -> impl Strategy<Value = [u64; 6]> {
    prop::array::uniform6(value())
}

fn action() -> impl Strategy<Value = Action> {
    use Action::{Allow, Errno, Kill, KillProcess, Log, Notify, Trace, Trap};
    prop::sample::select(vec![Allow, Allow, Errno, Errno, Log, Kill, KillProcess, Trap, Trace, Notify])
}

fn filter() -> impl Strategy<Value = ArgFilter> {
    (0u8..4, value(), value(), prop::sample::select(Op::ALL)).prop_map(|(index, value, two, op)| ArgFilter {
        index: ArgIndex::new(index).unwrap(),
        value: ArgValue(value),
        value_two: ArgValue(if op == Op::MaskedEqual { two } else { 0 }),
        op,
    })
}

fn rule() -> impl Strategy<Value = SyscallRule> {
    let names = prop::sample::subsequence(NAMES.to_vec(), 1..3);
    (names, action(), prop::option::of(0u16..3), prop::collection::vec(filter(), 0..4)).prop_map(
        |(names, action, errno, args)| {
            let names = names.into_iter().map(name);
            let errno_ret = errno.and_then(Errno::new);
            SyscallRule {
                errno_ret,
                args: (!args.is_empty()).then_some(args),
                ..SyscallRule::new(action, names)
            }
        },
    )
}

fn profile() -> impl Strategy<Value = SeccompProfileSpec> {
    (action(), prop::collection::vec(rule(), 0..8)).prop_map(|(default, rules)| {
        let mut profile = SeccompProfileSpec::new(default);
        profile.syscalls = Some(rules);
        profile
    })
}

fn first_match() -> Options {
    Options::new(ARCH).semantics(Semantics::FirstMatch)
}

fn read(profile: &SeccompProfileSpec) -> Policy {
    Policy::from_profile(profile, &first_match()).unwrap()
}

fn name(text: &str) -> SyscallName {
    text.parse().unwrap()
}

fn numbers() -> Vec<u32> {
    let named = NAMES.map(|name| Syscall::by_name(name).unwrap().number(ARCH).unwrap());
    named.into_iter().chain([600, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_is_its_profile(profile in profile(), calls in prop::collection::vec(arguments(), 16)) {
        let policy = read(&profile);
        for args in &calls {
            for name in NAMES {
                let number = Syscall::by_name(name).unwrap().number(ARCH).unwrap();
                prop_assert_eq!(policy.eval(ARCH, number, args), reference(&profile, number, args));
            }
        }
    }

    #[test]
    fn a_program_is_its_policy(profile in profile(), calls in prop::collection::vec(arguments(), 16), enosys: bool) {
        let policy = read(&profile);
        let program = compile(&policy, &[ARCH], &CompileOptions::default().enosys_ceiling(enosys)).unwrap();
        for args in &calls {
            for number in numbers() {
                let got = simulate(program.insns(), &Data::new(ARCH, number, *args), ARCH.endian()).unwrap().verdict;
                let above = enosys && number < 0x4000_0000 && newest(&profile).is_some_and(|newest| number > newest);
                if above && !Verdict::of(profile.default_action, None).permits() {
                    prop_assert_eq!(got, Verdict::errno(Errno::ENOSYS));
                } else {
                    prop_assert_eq!(got, policy.eval(ARCH, number, args), "{:#x}", number);
                }
            }
        }
        // BPF to policy and back.
        let again = Policy::from_program(program.insns(), &[ARCH]).unwrap();
        if !enosys {
            prop_assert_eq!(diff(&policy, &again).relation, Relation::Equal);
        }
        let recompiled = compile(&again, &[ARCH], &CompileOptions::default()).unwrap();
        prop_assert_eq!(diff_programs(program.insns(), recompiled.insns(), &[ARCH]).unwrap().relation, Relation::Equal);
    }

    #[test]
    fn algebra_is_exact_at_every_point(
        a in profile(),
        b in profile(),
        calls in prop::collection::vec(arguments(), 12),
    ) {
        let (a, b) = (read(&a), read(&b).with_bad_arch(Verdict::KILL_PROCESS));
        let (union, both, minus) = (a.union(&b).unwrap(), a.intersect(&b).unwrap(), a.subtract(&b).unwrap());
        for args in &calls {
            for number in numbers() {
                let (x, y) = (a.eval(ARCH, number, args), b.eval(ARCH, number, args));
                prop_assert_eq!(union.eval(ARCH, number, args), x.less_restrictive(y));
                prop_assert_eq!(both.eval(ARCH, number, args), x.more_restrictive(y));
                let left = minus.eval(ARCH, number, args);
                if y.permits() {
                    prop_assert!(!left.permits(), "{:#x} {} {} {}", number, x, y, left);
                } else {
                    prop_assert_eq!(left, x);
                }
            }
        }
    }

    #[test]
    fn a_written_profile_means_the_policy(a in profile(), b in profile()) {
        let options = Options::new(ARCH);
        let (Ok(a), Ok(b)) = (Policy::from_profile(&a, &options), Policy::from_profile(&b, &options)) else {
            return Ok(());
        };
        let union = a.union(&b).unwrap();
        if let Ok(written) = union.to_profile(&options) {
            let again = Policy::from_profile(&written.profile, &options.always_native(false)).unwrap();
            prop_assert_eq!(diff(&union, &again).changes, vec![]);
            prop_assert_eq!(union.to_profile(&options).unwrap(), written);
        }
    }

    #[test]
    fn a_difference_comes_with_a_call_that_shows_it(a in profile(), b in profile()) {
        let (a, b) = (read(&a), read(&b));
        let found = diff(&a, &b);
        for change in &found.changes {
            let arch = change.arch.unwrap();
            prop_assert_eq!(a.eval(arch, change.number, &change.args), change.before);
            prop_assert_eq!(b.eval(arch, change.number, &change.args), change.after);
            prop_assert_ne!(change.before, change.after);
        }
        prop_assert_eq!(found.relation == Relation::Equal, found.changes.is_empty());
        prop_assert_eq!(diff(&a, &a.union(&b).unwrap()).denied().count(), 0);
        prop_assert_eq!(diff(&a, &a.intersect(&b).unwrap()).allowed().count(), 0);
    }

    #[test]
    fn explanations_name_a_rule_that_matches(profile in profile(), args in arguments()) {
        let policy = read(&profile);
        for number in numbers() {
            let explanation = explain(&policy, ARCH, number, &args);
            prop_assert_eq!(explanation.verdict, policy.eval(ARCH, number, &args));
            if let spo_seccomp::Reason::Rule(origin) = explanation.reason {
                let rule = &profile.rules()[origin.rule];
                prop_assert_eq!(Verdict::of(rule.action, rule.errno_ret), explanation.verdict);
            }
        }
    }
}

/// The largest number a rule names.
fn newest(profile: &SeccompProfileSpec) -> Option<u32> {
    let names = profile.rules().iter().flat_map(|rule| &rule.names);
    names.filter_map(|name| Syscall::by_name(name.as_str())?.number(ARCH)).max()
}

fn equal(index: u8, value: u64) -> ArgFilter {
    ArgFilter {
        index: ArgIndex::new(index).unwrap(),
        value: ArgValue(value),
        value_two: ArgValue(0),
        op: Op::Equal,
    }
}

fn with(rules: Vec<(Action, &str, Vec<ArgFilter>)>) -> SeccompProfileSpec {
    let mut profile = SeccompProfileSpec::new(Action::Errno);
    let rules = rules.into_iter().map(|(action, call, args)| {
        let args = (!args.is_empty()).then_some(args);
        SyscallRule { args, ..SyscallRule::new(action, [name(call)]) }
    });
    profile.syscalls = Some(rules.collect());
    profile
}

/// Merges base and child, and checks the written profile point by point.
fn merged(child: &SeccompProfileSpec, base: &SeccompProfileSpec) -> SeccompProfileSpec {
    let options = Options::new(ARCH);
    let effective = inherit(&[child, base], &options).unwrap();
    let [a, b, union] = [child, base, &effective.profile].map(|p| Policy::from_profile(p, &options).unwrap());
    for x in [0, 1, 2, 3, 4, 1 << 32] {
        for y in [0, 1, 2, 3] {
            for number in numbers() {
                let args = [x, y, 0, 0, 0, 0];
                let want = a.eval(ARCH, number, &args).less_restrictive(b.eval(ARCH, number, &args));
                assert_eq!(union.eval(ARCH, number, &args), want);
            }
        }
    }
    assert_eq!(effective.origins.len(), effective.profile.rules().len());
    effective.profile
}

/// The unsound cases of the existing merge, each with its number in the notes on it.
mod unions {
    use super::*;

    #[test]
    fn u1_conditions_of_two_profiles_stay_alternatives() {
        let base = with(vec![(Action::Allow, "read", vec![equal(0, 1)])]);
        let child = with(vec![(Action::Allow, "read", vec![equal(1, 2)])]);
        assert_eq!(merged(&child, &base).rules().len(), 2, "one rule each");
    }

    #[test]
    fn u2_conjunctions_on_one_argument_stay_conjunctions() {
        let base = with(vec![(Action::Allow, "read", vec![equal(0, 1), equal(1, 1)])]);
        let child = with(vec![(Action::Allow, "read", vec![equal(0, 2), equal(1, 2)])]);
        for rule in merged(&child, &base).rules() {
            assert_eq!(rule.conditions().len(), 2);
        }
    }

    #[test]
    fn u3_a_denial_does_not_widen_a_conditional_permission() {
        let base = with(vec![(Action::Allow, "read", vec![equal(0, 1)])]);
        let child = with(vec![(Action::Errno, "read", vec![])]);
        merged(&child, &base);
        let mut other = with(vec![(Action::Errno, "read", vec![])]);
        other.syscalls.as_mut().unwrap()[0].errno_ret = Errno::new(5);
        let profile = merged(&other, &base);
        assert!(
            profile.rules().iter().all(|rule| rule.action != Action::Allow || !rule.conditions().is_empty())
        );
    }

    #[test]
    fn u4_no_rule_gets_more_conditions_than_arguments() {
        let all = |v: u64| (0..6).map(|i| equal(i, v)).collect();
        let base = with(vec![(Action::Allow, "read", all(1))]);
        let child = with(vec![(Action::Allow, "read", all(2))]);
        assert!(merged(&child, &base).rules().iter().all(|rule| rule.conditions().len() == 6));
    }

    #[test]
    fn u5_a_profile_can_take_away() {
        let base = with(vec![(Action::Allow, "read", vec![]), (Action::Allow, "socket", vec![])]);
        let minus = with(vec![(Action::Allow, "socket", vec![equal(0, 38)])]);
        let options = Options::new(ARCH);
        let effective = subtract(&base, &[&minus], &options).unwrap();
        let policy = Policy::from_profile(&effective.profile, &options).unwrap();
        let socket = Syscall::by_name("socket").unwrap().number(ARCH).unwrap();
        assert_eq!(policy.eval(ARCH, socket, &[38, 0, 0, 0, 0, 0]), Verdict::errno(Errno::EPERM));
        assert_eq!(policy.eval(ARCH, socket, &[2, 0, 0, 0, 0, 0]), Verdict::ALLOW);
        assert_eq!(policy.eval(ARCH, 0, &[0; 6]), Verdict::ALLOW);
    }

    #[test]
    fn u6_default_actions_count() {
        let mut base = with(vec![(Action::Errno, "socket", vec![])]);
        base.default_action = Action::Allow;
        let child = with(vec![(Action::Allow, "read", vec![])]);
        let profile = merged(&child, &base);
        assert_eq!(profile.default_action, Action::Allow);
    }

    #[test]
    fn u7_alternatives_of_one_profile_survive() {
        let base = with(vec![
            (Action::Allow, "socket", vec![equal(0, 1)]),
            (Action::Allow, "socket", vec![equal(0, 2)]),
        ]);
        let child = with(vec![(Action::Allow, "socket", vec![equal(0, 3)])]);
        assert_eq!(merged(&child, &base).rules().len(), 3);
    }

    #[test]
    fn what_no_profile_says_is_refused() {
        let between = |low, high| {
            let bound = |op, value| ArgFilter { op, ..equal(0, value) };
            vec![bound(Op::GreaterOrEqual, low), bound(Op::LessOrEqual, high)]
        };
        let profile = with(vec![(Action::Allow, "read", between(5, 9))]);
        let policy = read(&profile);
        let refused = policy.to_profile(&Options::new(ARCH));
        assert!(matches!(refused, Err(NotExpressible::Decision { .. })), "{refused:?}");
    }
}

/// The explanation names the file, line and column of the call's name in the rule that decides, also across bases.
#[test]
fn an_explanation_points_into_the_text() {
    use spo_model::manifest::{Limits, documents};
    let child =
        "spec:\n  defaultAction: SCMP_ACT_ERRNO\n  syscalls:\n  - names: [write]\n    action: SCMP_ACT_LOG\n";
    let base = "spec:\n  defaultAction: SCMP_ACT_ERRNO\n  syscalls:\n  - action: SCMP_ACT_ALLOW\n    names:\n    - read\n    - openat\n";
    let read_in = |label: &str, text: &str| {
        let document = documents(text, &Limits::default()).unwrap().remove(0);
        let profile: SeccompProfileSpec =
            serde_json::from_value(document.to_value()["spec"].clone()).unwrap();
        let source = Source::located(label, &profile, |path| Some(document.span_of(path)));
        (profile, source)
    };
    let (child, base) = (read_in("child.yaml", child), read_in("base.yaml", base));
    let effective = inherit(&[&child.0, &base.0], &Options::new(ARCH)).unwrap();
    let policy = effective.policy.with_sources([child.1.clone(), base.1]);
    let place = |policy: &Policy, name: &str| {
        let found = spo_seccomp::explain_name(policy, ARCH, name, &[0; 6]).unwrap();
        (found.profile.clone(), found.span.map(|span| (span.line, span.column)), found.to_string())
    };
    assert_eq!(place(&policy, "write").1, Some((4, 13)));
    assert_eq!(place(&policy, "write").0, "child.yaml");
    let openat = place(&policy, "openat");
    assert_eq!((openat.0.as_str(), openat.1), ("base.yaml", Some((7, 7))));
    assert_eq!(openat.2, "ALLOW: rule spec.syscalls[0] at base.yaml:7:7");
    assert_eq!(place(&policy, "bpf").1, None, "the default of two profiles is in neither");
    let alone = Policy::from_profile(&child.0, &Options::new(ARCH)).unwrap().with_sources([child.1]);
    assert_eq!(place(&alone, "bpf").2, "ERRNO(1): no rule matches, the default action at child.yaml:2:18");
}

#[test]
fn big_endian_programs_look_at_the_right_halves() {
    let profile = with(vec![(Action::Allow, "read", vec![equal(1, 0x1_0000_0002)])]);
    let options = Options::new(Arch::S390x);
    let policy = Policy::from_profile(&profile, &options).unwrap();
    let program = compile(&policy, &[Arch::S390x], &CompileOptions::default()).unwrap();
    let verdict = |value| {
        let data = Data::new(Arch::S390x, 3, [0, value, 0, 0, 0, 0]);
        simulate(program.insns(), &data, Arch::S390x.endian()).unwrap().verdict
    };
    assert_eq!(verdict(0x1_0000_0002), Verdict::ALLOW);
    assert_ne!(verdict(0x2_0000_0001), Verdict::ALLOW);
    assert_eq!(program.to_bytes()[..2], [0, 0x20], "big-endian bytes");
}
