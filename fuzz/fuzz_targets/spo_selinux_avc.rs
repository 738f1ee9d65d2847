//! Any log: its lines are read and joined without a panic, no decision is lost, and what is read can be classified and
//! reduced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_selinux_cil::{
    Base,
    avc::{Event, Line, classify, join, parse, reduce},
};

fuzz_target!(|log: &str| {
    static BASE: std::sync::OnceLock<Base> = std::sync::OnceLock::new();
    let base = BASE.get_or_init(|| Base::builtin().expect("the built-in base"));
    let lines: Vec<Line> = log.lines().filter_map(|l| parse(l).ok()).collect();
    let decisions = lines.iter().filter(|l| matches!(l, Line::Avc(_))).count();
    let mut records = Vec::new();
    for event in join(lines) {
        match event {
            Event::Access(record) => records.push(*record),
            Event::Refusal(refusal) => drop(refusal.cause()),
            _ => {}
        }
    }
    assert_eq!(records.len(), decisions);
    for record in &records {
        let _ = (classify(record, None), classify(record, Some(base.policy())));
        let _ = (record.path(), record.exe(), record.port(), record.ioctl());
        let again = parse(&format!("type=AVC msg=audit(1.2:3): {record}"));
        assert!(again.is_ok(), "{record}: {again:?}");
    }
    let _ = reduce(&records, &|_| true, Some(base.policy())).allowx();
});
