//! Records of every form, with what must be read from them and the profile that would have allowed them.

mod material;

use std::{collections::BTreeMap, fs};

use material::corpus;

use spo_apparmor::{
    log::{Choices, Kind, Record, learn, missing, parse_line, policy_of},
    meaning::{Compiled, Grants},
};

/// The fields in the words of the suite.
fn fields(record: Option<&Record>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(r) = record else {
        out.insert("Event type".to_owned(), "AA_RECORD_INVALID".to_owned());
        return out;
    };
    let kind = match r.kind {
        Kind::Audit => "AUDIT",
        Kind::Allowed => "ALLOWED",
        Kind::Denied => "DENIED",
        Kind::Hint => "HINT",
        Kind::Status => "STATUS",
        Kind::Error => "ERROR",
        Kind::Killed => "KILLED",
        Kind::Invalid => "INVALID",
    };
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    let text = |key: &str| r.get(key).map(str::to_owned);
    let number = |key: &str| r.number(key).map(|n| n.to_string());
    put("Event type", Some(format!("AA_RECORD_{kind}")));
    put("Audit ID", r.audit_stamp.clone());
    put("Epoch", r.audit_id.map(|(epoch, _)| epoch.to_string()));
    put("Audit subid", r.audit_id.map(|(_, serial)| serial.to_string()));
    // For free text the suite names the record type here.
    put(
        "Operation",
        r.operation().map(str::to_owned).or_else(|| r.free_text.as_ref().and(r.record_type.clone())),
    );
    put("Mask", r.requested().map(str::to_owned));
    put("Denied Mask", r.denied().map(str::to_owned));
    for (name, key) in [
        ("fsuid", "fsuid"),
        ("ouid", "ouid"),
        ("Parent", "parent"),
        ("PID", "pid"),
        ("Peer PID", "peer_pid"),
        ("Task", "task"),
        ("Token", "magic_token"),
        ("Local port", "?"),
        ("Foreign port", "?"),
    ] {
        put(name, number(key));
    }
    put("Local port", r.local().1.map(str::to_owned));
    put("Foreign port", r.foreign().1.map(str::to_owned));
    put("Local addr", r.local().0.map(str::to_owned));
    put("Foreign addr", r.foreign().0.map(str::to_owned));
    put("Profile", r.profile().map(str::to_owned));
    let peer = r.peer().map(str::to_owned);
    if r.get("peer").is_some() {
        put("Peer", peer);
    } else {
        put("Peer profile", peer);
    }
    for (name, key) in [
        ("Name", "name"),
        ("Namespace", "namespace"),
        ("Attribute", "attribute"),
        ("Network family", "family"),
        ("Socket type", "sock_type"),
        ("Class", "class"),
        ("Execpath", "execpath"),
        ("Src name", "srcname"),
        ("Signal", "signal"),
        ("DBus bus", "bus"),
        ("DBus member", "member"),
        ("DBus interface", "interface"),
        ("DBus path", "path"),
        ("Net Addr", "addr"),
    ] {
        put(name, text(key));
    }
    put("Command", r.command().map(str::to_owned));
    put("Name2", r.target().map(str::to_owned));
    put("Info", text("info").or_else(|| r.free_text.clone()));
    put("ErrorCode", r.number("error").map(|n| n.abs().to_string()));
    put(
        "Protocol",
        text("protocol").map(|p| match p.as_str() {
            "0" => "ip".to_owned(),
            "6" => "tcp".to_owned(),
            "17" => "udp".to_owned(),
            n if n.parse::<u32>().is_ok() => format!("unknown({n})"),
            word => word.to_owned(),
        }),
    );
    out
}

#[test]
fn every_record_is_read_and_gives_its_profile() {
    let Some(dir) = corpus("log_records") else { return };
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "in"))
        .collect();
    names.sort();
    let (mut wrong, mut profiles) = (Vec::new(), 0);
    for path in &names {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let line = fs::read_to_string(path).unwrap().replace('\n', " ");
        let record = parse_line(&line);
        let expected: BTreeMap<String, String> = fs::read_to_string(path.with_extension("out"))
            .unwrap()
            .lines()
            .filter_map(|l| l.split_once(": "))
            .filter(|(key, _)| *key != "File")
            .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
            .collect();
        let got: BTreeMap<String, String> =
            fields(record.as_ref()).into_iter().map(|(k, v)| (k, v.trim().to_owned())).collect();
        for key in expected.keys().chain(got.keys()) {
            if expected.get(key) != got.get(key) {
                wrong.push(format!("{name}: {key}: want {:?}, got {:?}", expected.get(key), got.get(key)));
            }
        }
        let Ok(text) = fs::read_to_string(path.with_extension("profile")) else { continue };
        let wanted = spo_apparmor::parse(&text, Default::default());
        assert!(wanted.is_ok(), "{name}: {:?}", wanted.diagnostics);
        let learned = learn(record.as_ref(), Choices::default());
        // Where nothing is known but the profile, the suite has an empty profile.
        let policy = policy_of(&learned);
        let (a, b) = (spo_apparmor::print(&wanted.policy), spo_apparmor::print(&policy));
        if a != b {
            wrong.push(format!("{name}: want\n{a}got\n{b}"));
        }
        profiles += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("log records: {} read, {profiles} profiles", names.len());
    assert!(names.len() >= 96);
}

#[test]
fn what_a_profile_grants_already_is_not_learned_again() {
    let text = "profile p {\n  /etc/** r,\n  capability chown,\n}\n";
    let unit = spo_apparmor::load(text, &spo_apparmor::NoIncludes, Default::default());
    let compiled = Compiled::new(&unit.profiles[0], Default::default()).unwrap();
    let lines = [
        r#"type=AVC audit(1.0:1): apparmor="ALLOWED" operation="open" profile="p" name="/etc/hosts" requested_mask="r" denied_mask="r" fsuid=0 ouid=1"#,
        r#"type=AVC audit(1.0:2): apparmor="ALLOWED" operation="open" profile="p" name="/etc/x*y" requested_mask="wr" denied_mask="w" fsuid=0 ouid=1"#,
        r#"type=AVC audit(1.0:3): apparmor="ALLOWED" operation="open" profile="p" name="/etc/x*y" requested_mask="a" denied_mask="a" fsuid=0 ouid=1"#,
        r#"type=AVC audit(1.0:4): apparmor="ALLOWED" operation="capable" profile="p" capability=0 capname="chown""#,
        r#"type=AVC audit(1.0:5): apparmor="ALLOWED" operation="capable" profile="p" capability=5 capname="kill""#,
    ];
    let records: Vec<_> = lines.iter().map(|l| parse_line(l).unwrap()).collect();
    let learned = learn(&records, Choices::default());
    let found = missing(&compiled, &Grants::of(&unit.profiles[0]), &learned[0].rules);
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["/etc/x\\*y w,", "capability kill,"]);
}

proptest::proptest! {
    #[test]
    fn no_line_panics(line in "(type=AVC msg=audit\\(1\\.2:3\\): |apparmor=\"DENIED\" |operation=|name=|profile=|[a-f0-9]{0,6}|\"|=|\\PC){0,30}") {
        if let Some(record) = parse_line(&line) {
            let policy = policy_of(&learn([&record], Choices::default()));
            let text = spo_apparmor::print(&policy);
            // Whatever a record holds, the profile made of it is legal.
            let back = spo_apparmor::parse(&text, Default::default());
            proptest::prop_assert!(back.is_ok(), "{text}: {:?}", back.diagnostics);
        }
    }
}

#[test]
fn a_label_may_begin_with_a_namespace_or_only_look_like_it() {
    let name = |label: &str| {
        let line = format!(r#"apparmor="DENIED" operation="capable" profile="{label}" capname="chown""#);
        let record = parse_line(&line).unwrap();
        let text = spo_apparmor::print(&policy_of(&learn([&record], Choices::default())));
        let parsed = spo_apparmor::parse(&text, Default::default());
        assert!(parsed.is_ok(), "{text}: {:?}", parsed.diagnostics);
        let profile = parsed.policy.profiles().next().unwrap().clone();
        (profile.namespace, profile.name.text)
    };
    assert_eq!(name(":ns://app"), (Some("ns".to_owned()), "app".to_owned()));
    assert_eq!(name(":"), (None, "\\072".to_owned()));
    assert_eq!(name("::x"), (None, "\\072:x".to_owned()));
    assert_eq!(name("app//hat"), (None, "app".to_owned()));
}

/// The transports and the forms of fields, each with what the matching of the existing operator misses of it: records
/// of auditd's type AVC, without a name, with hex values, with `label=`, with a namespace in front of the profile.
#[test]
fn every_transport_and_form_of_field_is_read() {
    let fields = r#"apparmor="DENIED" operation="open" profile="p" name="/etc/x" pid=7 comm="c" requested_mask="r" denied_mask="r" fsuid=0 ouid=0"#;
    for before in [
        "",
        "type=AVC msg=audit(1700000000.123:42): ",
        "type=APPARMOR_DENIED msg=audit(1700000000.123:42): ",
        "type=UNKNOWN[1503] msg=audit(1700000000.123:42): ",
        "type=1400 audit(1700000000.123:42): ",
        "node=host type=AVC msg=audit(1700000000.123:42): ",
        "audit: type=1400 audit(1700000000.123:42): ",
        "[   12.345678] audit: type=1400 audit(1700000000.123:42): ",
        "<5>[   12.345678] audit: type=1400 audit(1700000000.123:42): ",
        "Nov  3 10:00:00 host kernel: [   12.345678] audit: type=1400 audit(1700000000.123:42): ",
        "2024-11-03T10:00:00.123456+00:00 host kernel: audit: type=1400 audit(1700000000.123:42): ",
        "5,1234,12345678,-;audit: type=1400 audit(1700000000.123:42): ",
    ] {
        let line = format!("{before}{fields}");
        let record = parse_line(&line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(
            (record.kind, record.profile(), record.get("name")),
            (Kind::Denied, Some("p"), Some("/etc/x"))
        );
        let stamped = before.contains("audit(").then_some((1_700_000_000, 42));
        assert_eq!(record.audit_id, stamped, "{line}");
    }
    let rules = |line: &str| {
        let learned = learn([&parse_line(line).unwrap()], Choices::default());
        learned.iter().flat_map(|l| &l.rules).map(ToString::to_string).collect::<Vec<_>>()
    };
    let avc = "type=AVC msg=audit(1700000000.123:42): ";
    let file = "requested_mask=\"r\" denied_mask=\"r\" fsuid=0 ouid=1";
    for (line, rule) in [
        // Without a name.
        (format!("{avc}apparmor=\"DENIED\" operation=\"capable\" profile=\"p\" capability=0 capname=\"chown\""), "capability chown,"),
        // Hex, which is used where a byte is no visible character.
        (format!("{avc}apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=2F612062 {file}"), "\"/a b\" r,"),
        (format!("{avc}apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"/ABCD\" {file}"), "/ABCD r,"),
        // Numbers are never hex.
        (format!("{avc}apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"/x\" pid=4142 {file}"), "/x r,"),
        // A namespace in front.
        (format!("{avc}apparmor=\"DENIED\" operation=\"open\" namespace=\"root//ns\" profile=\"p\" name=\"/x\" {file}"), "/x r,"),
        // Fields that auditd repeats with names in place of numbers.
        (format!("{avc}apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"/x\" {file}\u{1d}FSUID=\"root\" OUID=\"bin\""), "/x r,"),
        // Records of dbus come from user space, within quotes, with a label for the profile.
        (
            "type=USER_AVC msg=audit(1700000000.123:42): pid=1 uid=0 msg='apparmor=\"DENIED\" operation=\"dbus_method_call\" bus=\"system\" path=\"/o\" interface=\"i\" member=\"m\" mask=\"send\" label=\"p\" peer_label=\"q\" exe=\"/usr/bin/dbus-daemon\" hostname=? addr=? terminal=?'".to_owned(),
            "dbus send bus=system path=/o interface=i member=m peer=(label=q),",
        ),
    ] {
        assert_eq!(rules(&line), [rule], "{line}");
    }
}
