//! AVC records a real kernel wrote.

mod installed;

use std::collections::BTreeMap;

use spo_selinux_cil::avc::{Line, Record, parse, reduce};

fn corpus(file: &str) -> Option<String> {
    let text = std::fs::read(installed::corpus()?.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn records(text: &str) -> Vec<(&str, Record)> {
    text.lines()
        .map(|line| match parse(line) {
            Ok(Line::Avc(r)) => (line, *r),
            other => panic!("{line}: {other:?}"),
        })
        .collect()
}

/// Printing a record gives the kernel's own text back, so no field was lost, moved or changed.
#[test]
fn every_record_of_the_kernel_log_has_every_field() {
    let Some(text) = corpus("selinux/avc-kernel.log") else { return };
    let records = records(&text);
    assert_eq!(records.len(), 61);
    for (line, record) in &records {
        let stamp = record.stamp.unwrap();
        assert_eq!(format!("audit: type=1400 {stamp}: {record}"), line.trim_end());
        assert!(record.denied && record.pid().is_some() && record.comm().is_some());
    }
    let count = |f: &dyn Fn(&Record) -> bool| records.iter().filter(|(_, r)| f(r)).count();
    // Counted in the file with grep.
    assert_eq!(count(&|r| r.permissive == Some(true)), text.matches("permissive=1").count());
    assert_eq!(count(&|r| r.class == "chr_file"), text.matches("tclass=chr_file").count());
    assert_eq!(count(&|r| r.port() == Some(6379)), text.matches(" src=6379 ").count());
    assert_eq!(count(&|r| r.permissions.len() == 2), text.matches("{ read write }").count());
}

#[test]
fn the_profile_of_the_kernel_log() {
    let Some(text) = corpus("selinux/avc-kernel.log") else { return };
    let all: Vec<Record> = records(&text).into_iter().map(|(_, r)| r).collect();
    let found = reduce(&all, &|t| t == "nginx-selinux.process", None);
    let mut expected: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    // An independent reading: words of each line, split at spaces and equals signs.
    for line in text.lines().filter(|l| l.contains(":nginx-selinux.process:")) {
        let after = |key: &str| line.split(key).nth(1).unwrap().split_whitespace().next().unwrap();
        let target = after("tcontext=").split(':').nth(2).unwrap().to_owned();
        let permissions = line.split("{ ").nth(1).unwrap().split(" }").next().unwrap();
        let entry = expected.entry((target, after("tclass=").to_owned())).or_default();
        entry.extend(permissions.split(' ').map(str::to_owned));
        entry.sort();
        entry.dedup();
    }
    let flat: BTreeMap<(String, String), Vec<String>> = found
        .spec
        .allow
        .iter()
        .flatten()
        .flat_map(|(t, classes)| {
            classes.iter().map(move |(c, p)| {
                ((t.to_string(), c.to_string()), p.iter().map(ToString::to_string).collect())
            })
        })
        .collect();
    assert_eq!(flat, expected);
    assert!(found.notes.is_empty());
}

/// The lines of the common matrix that are SELinux records, in the order they are there.
#[test]
fn every_form_of_the_matrix_is_told_apart() {
    let Some(text) = corpus("audit/lines-matrix.txt") else { return };
    let found: Vec<(bool, Vec<String>)> = text
        .lines()
        .filter_map(|l| match parse(l) {
            Ok(Line::Avc(r)) => Some((r.denied, r.permissions)),
            Ok(_) => None,
            Err(e) => panic!("{l}: {e}"),
        })
        .collect();
    let own = |p: &[&str]| p.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            (true, own(&["getattr", "open"])),
            (true, own(&["open"])),
            (false, own(&["execute"])),
            (true, own(&["start"])),
        ]
    );
}
