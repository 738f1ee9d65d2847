//! One line of a log.

use std::collections::BTreeMap;

/// What a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An allowed access of an `audit` rule.
    Audit,
    /// An access that complain mode allowed.
    Allowed,
    /// An access that was denied.
    Denied,
    /// A hint for the tools that make profiles.
    Hint,
    /// A change of the policy.
    Status,
    /// An error of the module.
    Error,
    /// A task that was killed.
    Killed,
    /// Not understood: free text, or values that are no text.
    Invalid,
}

/// A record of AppArmor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it reports.
    pub kind: Kind,
    /// Seconds since 1970, and the serial number, of `audit(SEC.MS:SERIAL)`.
    pub audit_id: Option<(u64, u64)>,
    /// The text between the parentheses of `audit(…)`.
    pub audit_stamp: Option<String>,
    /// The record type in front, for example `AVC`.
    pub record_type: Option<String>,
    /// For records of free text: the text.
    pub free_text: Option<String>,
    fields: BTreeMap<String, String>,
}

impl Record {
    /// The text of a field, hex forms decoded; of a repeated field the first.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// The number of a field.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.parse().ok()
    }

    /// Every field.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// What the task wanted to do.
    pub fn operation(&self) -> Option<&str> {
        self.get("operation")
    }

    /// The profile of the task, as the kernel names it: `parent//child`.
    pub fn profile(&self) -> Option<&str> {
        self.get("profile").or_else(|| self.get("label"))
    }

    /// The program: its name, or its path in records of daemons.
    pub fn command(&self) -> Option<&str> {
        self.get("comm").or_else(|| self.get("exe"))
    }

    /// What was asked for.
    pub fn requested(&self) -> Option<&str> {
        self.get("requested_mask").or_else(|| self.get("requested"))
    }

    /// What was denied.
    pub fn denied(&self) -> Option<&str> {
        self.get("denied_mask").or_else(|| self.get("denied")).or_else(|| self.get("mask"))
    }

    /// The second name: the target of a link or change of profile.
    pub fn target(&self) -> Option<&str> {
        self.get("name2").or_else(|| self.get("target"))
    }

    /// The profile of the other side.
    pub fn peer(&self) -> Option<&str> {
        ["peer_profile", "peer_label", "tcontext", "peer"].into_iter().find_map(|key| self.get(key))
    }

    /// The own address and port of a socket.
    pub fn local(&self) -> (Option<&str>, Option<&str>) {
        (self.get("laddr").or_else(|| self.get("saddr")), self.get("lport").or_else(|| self.get("src")))
    }

    /// The other side's address and port.
    pub fn foreign(&self) -> (Option<&str>, Option<&str>) {
        (self.get("faddr").or_else(|| self.get("daddr")), self.get("fport").or_else(|| self.get("dest")))
    }

    /// Whether the file belongs to the user of the task; `None` when the record does not say.
    pub fn is_owner(&self) -> Option<bool> {
        Some(self.number("fsuid")? == self.number("ouid")?)
    }
}

/// Reads one line; `None` when it is not about AppArmor.
///
/// ```
/// let line = r#"audit: type=1400 audit(1437850920.403:64): apparmor="DENIED" operation="open" profile="p" name=2F612062 pid=1"#;
/// let record = spo_apparmor::log::parse_line(line).unwrap();
/// assert_eq!(record.get("name"), Some("/a b"));
/// ```
pub fn parse_line(line: &str) -> Option<Record> {
    let line = line.trim_end();
    let audit = line.find("audit(").and_then(|at| {
        let inner = &line[at + 6..];
        let end = inner.find(')')?;
        Some((inner[..end].to_owned(), inner[end + 1..].trim_start_matches([':', ' ', '\t'])))
    });
    let record_type = record_type(line);
    let named = line.find("apparmor=\"");
    let body = match (named, &audit) {
        (Some(at), _) => &line[at..],
        (None, Some((_, rest))) => rest,
        (None, None) => return None,
    };
    let ours = record_type.as_deref().is_some_and(|t| t.starts_with("APPARMOR") || is_old_number(t));
    if named.is_none() && !ours {
        return None;
    }
    let (stamp, audit_id) = match audit {
        Some((stamp, _)) => (Some(stamp.clone()), audit_id(&stamp)),
        None => (None, None),
    };
    let mut record = Record {
        kind: Kind::Invalid,
        audit_id,
        audit_stamp: stamp,
        record_type,
        free_text: None,
        fields: BTreeMap::new(),
    };
    let garbage = read_fields(body, &mut record);
    if record.fields.is_empty() || record.get("operation").is_none() && record.get("apparmor").is_none() {
        record.free_text = Some(body.to_owned());
        record.fields.clear();
        return Some(record);
    }
    if !garbage {
        record.kind = kind_of(&record);
    }
    Some(record)
}

/// `type=X` wherever it stands; the last one counts, as old records have a word and a number.
fn record_type(line: &str) -> Option<String> {
    let mut found = None;
    for (at, _) in line.match_indices("type=") {
        let before = line[..at].chars().next_back();
        if before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_') {
            let rest = &line[at + 5..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.get_or_insert_with(|| rest[..end].to_owned());
        }
    }
    found
}

fn is_old_number(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|n| (1500..=1507).contains(&n))
}

fn audit_id(stamp: &str) -> Option<(u64, u64)> {
    let (time, serial) = stamp.split_once(':')?;
    let seconds = time.split('.').next()?;
    Some((seconds.parse().ok()?, serial.parse().ok()?))
}

fn kind_of(record: &Record) -> Kind {
    match record.get("apparmor") {
        Some("AUDIT") => return Kind::Audit,
        Some("ALLOWED") => return Kind::Allowed,
        Some("DENIED") => return Kind::Denied,
        Some("HINT") => return Kind::Hint,
        Some("STATUS") => return Kind::Status,
        Some("ERROR") => return Kind::Error,
        Some("KILLED") => return Kind::Killed,
        _ => {}
    }
    // Old records say it in their type only: a word, or the number of the audit message.
    match record.record_type.as_deref() {
        Some("APPARMOR_AUDIT" | "1501") => Kind::Audit,
        Some("APPARMOR_ALLOWED" | "1502") => Kind::Allowed,
        Some("APPARMOR_DENIED" | "1503") => Kind::Denied,
        Some("APPARMOR_HINT" | "1504") => Kind::Hint,
        Some("APPARMOR_STATUS" | "1505") => Kind::Status,
        Some("APPARMOR_ERROR" | "1506") => Kind::Error,
        Some("APPARMOR_KILL" | "1507") => Kind::Killed,
        _ => Kind::Invalid,
    }
}

/// The keys whose bare values may be hex.
const UNTRUSTED: [&str; 16] = [
    "profile",
    "label",
    "name",
    "name2",
    "target",
    "comm",
    "namespace",
    "srcname",
    "exe",
    "execpath",
    "peer",
    "peer_profile",
    "peer_label",
    "tcontext",
    "addr",
    "peer_addr",
];

/// Reads `key=value …`; gives whether a label was no text.
fn read_fields(body: &str, record: &mut Record) -> bool {
    let mut garbage = false;
    let mut rest = body;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',', '\'']);
        let key_end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let key = &rest[..key_end];
        let Some(value) = rest[key_end..].strip_prefix('=') else {
            // Behind 0x1d auditd repeats the fields with names in place of numbers.
            match rest.find([' ', '\t']) {
                Some(space) if !rest.starts_with('\x1d') => {
                    rest = &rest[space..];
                    continue;
                }
                _ => return garbage,
            }
        };
        if key == "msg" && value.starts_with('\'') {
            rest = value;
            continue;
        }
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => match quoted.find('"') {
                Some(end) => (quoted[..end].to_owned(), &quoted[end + 1..]),
                None => return true,
            },
            None => {
                let end = value.find([' ', '\t', '\x1d', '\'']).unwrap_or(value.len());
                let bare = &value[..end];
                let decoded = if UNTRUSTED.contains(&key) { decode_hex(bare) } else { None };
                let text = match decoded.map(String::from_utf8) {
                    None => bare.to_owned(),
                    Some(Ok(text)) => text,
                    // A path may be any bytes, the name of a profile is text.
                    Some(Err(bytes)) if key == "name" || key == "comm" => {
                        String::from_utf8_lossy(bytes.as_bytes()).into_owned()
                    }
                    Some(Err(_)) => {
                        garbage = true;
                        rest = &value[end..];
                        continue;
                    }
                };
                (text, &value[end..])
            }
        };
        // auditd writes "?" for what it does not know.
        if !key.is_empty() && text != "?" {
            record.fields.entry(key.to_owned()).or_insert(text);
        }
        rest = after;
        if rest.starts_with('\x1d') {
            return garbage;
        }
    }
}

/// The bytes of an upper-case hex string, as the kernel prints names with special characters.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    if bytes.is_empty() || !bytes.len().is_multiple_of(2) || !bytes.iter().all(|b| hex(*b)) {
        return None;
    }
    let digit = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 };
    Some(bytes.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}
