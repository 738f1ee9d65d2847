//! Filters for people: pseudo-code of a policy, a listing of a program, and the program's tree as a DOT graph.

use std::fmt::Write;

use spo_model::seccomp::{Arch, Op};

use crate::{
    Policy, Program, Verdict,
    arch::ArchExt,
    bpf::{self, op},
    decision::{Comparison, Width},
    syscalls::Syscall,
};

/// What a policy does, as text: per architecture the calls by verdict, then the calls with conditions.
///
/// ```text
/// x86_64:
///   ALLOW: read, write
///   socket:
///     if (u32) a0 == 0x26: ERRNO(1)
///     otherwise: ALLOW
///   otherwise: ERRNO(1)
/// ```
pub fn pseudo_code(policy: &Policy) -> String {
    let mut out = String::new();
    for arch in policy.architectures() {
        let _ = writeln!(out, "{}:", arch_name(arch));
        let Some(own) = policy.arches.get(&arch) else { continue };
        let mut verdicts: Vec<(Verdict, Vec<String>)> = Vec::new();
        let mut conditional = String::new();
        for call in &own.calls {
            let name = Syscall::by_number(arch, call.number)
                .map_or_else(|| format!("{:#x}", call.number), |syscall| syscall.name().to_owned());
            match policy.store.verdict(call.decision) {
                Some(_) if call.decision == own.default => {}
                Some(verdict) => match verdicts.iter_mut().find(|(known, _)| *known == verdict) {
                    Some((_, names)) => names.push(name),
                    None => verdicts.push((verdict, vec![name])),
                },
                None => conditions(policy, arch, call.number, &name, &mut conditional),
            }
        }
        verdicts.sort_by(|a, b| b.0.cmp_permissive(a.0).then_with(|| a.0.raw().cmp(&b.0.raw())));
        for (verdict, mut names) in verdicts {
            names.sort();
            let _ = writeln!(out, "  {verdict}: {}", names.join(", "));
        }
        out.push_str(&conditional);
        if let Some(default) = policy.store.verdict(own.default) {
            let _ = writeln!(out, "  otherwise: {default}");
        }
    }
    let _ = writeln!(out, "other architectures: {}", policy.bad_arch());
    out
}

/// A program as one instruction per line, with targets of jumps as line numbers and the names of what is tested.
pub fn disassemble(program: &Program) -> String {
    let mut out = String::new();
    let mut words: Vec<Option<u32>> = vec![None; program.insns().len()];
    let mut loaded = None;
    for (at, insn) in program.insns().iter().enumerate() {
        // Jumps go forwards, so what an instruction finds loaded is settled when it is reached.
        loaded = words[at].or(loaded);
        if insn.code == op::LD {
            loaded = Some(insn.k);
        }
        let (jt, jf) = (at + 1 + usize::from(insn.jt), at + 1 + usize::from(insn.jf));
        let text = match insn.code {
            op::LD => format!("ld   {}", word_name(insn.k, program)),
            op::JA => format!("ja   {}", at + 1 + insn.k as usize),
            op::JEQ => format!("jeq  {:#x}, {jt}, {jf}", insn.k),
            op::JGT => format!("jgt  {:#x}, {jt}, {jf}", insn.k),
            op::JGE => format!("jge  {:#x}, {jt}, {jf}", insn.k),
            op::JSET => format!("jset {:#x}, {jt}, {jf}", insn.k),
            op::AND => format!("and  {:#x}", insn.k),
            op::RET => format!("ret  {}", Verdict::from_raw(insn.k)),
            _ => insn.to_string(),
        };
        let comment = comment(insn.code, insn.k, loaded, program);
        match comment {
            Some(comment) => {
                let _ = writeln!(out, "{at:4}: {text:32} ; {comment}");
            }
            None => {
                let _ = writeln!(out, "{at:4}: {text}");
            }
        }
        match insn.code {
            op::JA => note(&mut words, at + 1 + insn.k as usize, loaded),
            code if code & 7 == 5 => {
                note(&mut words, jt, loaded);
                note(&mut words, jf, loaded);
            }
            _ => {}
        }
    }
    out
}

/// The program's control flow as a DOT graph: tests are boxes, answers ellipses.
pub fn dot(program: &Program) -> String {
    let mut out = String::from("digraph filter {\n  node [shape=box, fontname=monospace];\n");
    for (at, insn) in program.insns().iter().enumerate() {
        let edge = |to: usize, label: &str| format!("  n{at} -> n{to} [label=\"{label}\"];\n");
        match insn.code {
            op::RET => {
                let verdict = Verdict::from_raw(insn.k);
                let _ = writeln!(out, "  n{at} [shape=ellipse, label=\"{verdict}\"];");
            }
            op::JA => {
                let _ = writeln!(out, "  n{at} [label=\"ja\"];");
                out.push_str(&edge(at + 1 + insn.k as usize, ""));
            }
            op::JEQ | op::JGT | op::JGE | op::JSET => {
                let sign = match insn.code {
                    op::JEQ => "==",
                    op::JGT => ">",
                    op::JGE => ">=",
                    _ => "&",
                };
                let _ = writeln!(out, "  n{at} [label=\"{sign} {:#x}\"];", insn.k);
                out.push_str(&edge(at + 1 + usize::from(insn.jt), "yes"));
                out.push_str(&edge(at + 1 + usize::from(insn.jf), "no"));
            }
            op::LD => {
                let _ = writeln!(out, "  n{at} [label=\"{}\"];", word_name(insn.k, program));
                out.push_str(&edge(at + 1, ""));
            }
            _ => {
                let _ = writeln!(out, "  n{at} [label=\"{insn}\"];");
                out.push_str(&edge(at + 1, ""));
            }
        }
    }
    out.push_str("}\n");
    out
}

fn conditions(policy: &Policy, arch: Arch, number: u32, name: &str, out: &mut String) {
    let _ = writeln!(out, "  {name}:");
    let rules = policy.rules_of(arch, number);
    for rule in rules {
        let text: Vec<String> =
            rule.conditions.as_deref().unwrap_or_default().iter().map(|(c, w)| condition(*c, *w)).collect();
        if text.is_empty() {
            let _ = writeln!(out, "    always: {}", rule.verdict);
        } else {
            let _ = writeln!(out, "    if {}: {}", text.join(" and "), rule.verdict);
        }
    }
    if rules.is_empty() {
        let _ = writeln!(out, "    depends on its arguments");
    }
    if let Some(default) = policy.default_verdict(arch) {
        let _ = writeln!(out, "    otherwise: {default}");
    }
}

fn condition(c: Comparison, width: Width) -> String {
    let argument = match width {
        Width::Low => format!("(u32) a{}", c.index),
        Width::Full => format!("a{}", c.index),
    };
    let sign = match c.op {
        Op::NotEqual => "!=",
        Op::LessThan => "<",
        Op::LessOrEqual => "<=",
        Op::Equal => "==",
        Op::GreaterOrEqual => ">=",
        Op::GreaterThan => ">",
        Op::MaskedEqual => return format!("{argument} & {:#x} == {:#x}", c.value, c.value_two),
    };
    format!("{argument} {sign} {:#x}", c.value)
}

fn arch_name(arch: Arch) -> String {
    arch.as_str().trim_start_matches("SCMP_ARCH_").to_ascii_lowercase()
}

fn word_name(offset: u32, program: &Program) -> String {
    match offset {
        bpf::OFFSET_NR => "nr".to_owned(),
        bpf::OFFSET_ARCH => "arch".to_owned(),
        16.. => {
            let index = (offset - 16) / 8;
            let high = offset == bpf::offset_of_argument(index as u8, true, program.endian());
            format!("a{index}.{}", if high { "high" } else { "low" })
        }
        other => format!("[{other}]"),
    }
}

fn comment(code: u16, k: u32, loaded: Option<u32>, program: &Program) -> Option<String> {
    match (code, loaded?) {
        (op::JEQ, bpf::OFFSET_ARCH) => {
            let names: Vec<String> =
                program.arches().iter().filter(|a| a.audit_token() == k).map(|a| arch_name(*a)).collect();
            (!names.is_empty()).then(|| names.join(", "))
        }
        (op::JEQ | op::JGE | op::JGT, bpf::OFFSET_NR) => {
            // With several architectures the number alone does not tell the table.
            let [arch] = program.arches() else { return None };
            Syscall::by_number(*arch, k).map(|call| call.name().to_owned())
        }
        _ => None,
    }
}

fn note(words: &mut [Option<u32>], at: usize, loaded: Option<u32>) {
    if let Some(word) = words.get_mut(at) {
        *word = loaded;
    }
}

#[cfg(test)]
mod tests {
    use spo_model::seccomp::SeccompProfileSpec;

    use super::*;
    use crate::{CompileOptions, Options, compile};

    fn example() -> Policy {
        let profile: SeccompProfileSpec = serde_json::from_str(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                {"names":["read","write","exit_group"],"action":"SCMP_ACT_ALLOW"},
                {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
                {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#,
        )
        .unwrap();
        Policy::from_profile(&profile, &Options::new(Arch::X86_64)).unwrap()
    }

    #[test]
    fn pseudo_code_reads_like_the_profile() {
        insta::assert_snapshot!(pseudo_code(&example()), @r"
        x86_64:
          ALLOW: exit_group, read, write
          ERRNO(38): clone3
          socket:
            if (u32) a0 == 0x2: ALLOW
            otherwise: ERRNO(1)
          otherwise: ERRNO(1)
        other architectures: KILL_THREAD
        ");
    }

    #[test]
    fn listing_and_graph_name_what_is_tested() {
        let program = compile(&example(), &[], &CompileOptions::default()).unwrap();
        let listing = disassemble(&program);
        assert!(listing.contains("ld   arch") && listing.contains("; x86_64"), "{listing}");
        assert!(listing.contains("ld   a0.low"), "{listing}");
        assert!(listing.contains("ret  ERRNO(38)"), "{listing}");
        let graph = dot(&program);
        assert_eq!(graph.matches("[shape=ellipse").count(), listing.matches("ret  ").count());
        assert!(graph.starts_with("digraph") && graph.ends_with("}\n"));
    }
}
