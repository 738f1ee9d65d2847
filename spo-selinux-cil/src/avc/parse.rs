//! One line → one record, in every frame it is logged in.

use super::{
    Label, Line, Record, Refusal, Sibling, Value,
    frame::{Kind, frame},
};
use crate::policy::Context;

/// Longest line that is read; the kernel's records have at most 8970 bytes (`MAX_AUDIT_MESSAGE_LENGTH`).
const MAX_LINE: usize = 16 * 1024;

/// Fields a process can influence: the kernel writes them in quotes, or in hexadecimal where they have other bytes.
const UNTRUSTED: [&str; 13] = [
    "comm",
    "cwd",
    "dev",
    "exe",
    "invalid_context",
    "key_desc",
    "kmod",
    "name",
    "netif",
    "ocomm",
    "path",
    "srawcon",
    "trawcon",
];

/// Reads a line of an audit log, a kernel log, or a journal. Lines about other things are [`Line::Other`].
///
/// The frame in front of a record is checked: text that only contains what looks like a record, for example in a
/// message another program logged, is not one.
///
/// # Errors
/// Says what is wrong with a line that is an AVC record by its frame but does not have the parts of one.
pub fn parse(line: &str) -> Result<Line, AvcError> {
    let line = line.trim_end_matches(['\n', '\r', ' ']);
    if line.len() > MAX_LINE {
        return Err(AvcError::TooLong(line.len()));
    }
    let (line, enriched) = line.split_once('\u{1d}').unwrap_or((line, ""));
    let Some(frame) = frame(line) else { return Ok(Line::Other) };
    match frame.kind {
        Kind::Avc | Kind::UserAvc => {}
        Kind::PolicyLoad => return Ok(Line::PolicyLoad),
        Kind::SelinuxErr => {
            return Ok(match refusal(frame.body) {
                Some(mut refusal) => {
                    refusal.node = frame.node.map(str::to_owned);
                    refusal.stamp = frame.stamp;
                    Line::Refusal(Box::new(refusal))
                }
                None => Line::Other,
            });
        }
        Kind::Sibling(kind) => {
            let stamp = frame.stamp.ok_or(AvcError::Stamp)?;
            let (node, fields) = (frame.node.map(str::to_owned), owned(fields(frame.body)));
            return Ok(Line::Sibling(Box::new(Sibling { node, stamp, kind, fields })));
        }
    }
    let body = match frame.kind {
        Kind::UserAvc => match frame.body.split_once("msg='") {
            Some((_, inner)) => inner.rsplit_once('\'').map_or(inner, |i| i.0),
            None => return Ok(Line::Other),
        },
        _ => frame.body,
    };
    // AppArmor uses the same record type; a user-space object manager also logs other messages.
    let Some(body) = body.trim_start().strip_prefix("avc:") else { return Ok(Line::Other) };
    let mut record = record(body)?;
    record.node = frame.node.map(str::to_owned);
    record.user = matches!(frame.kind, Kind::UserAvc);
    record.stamp = frame.stamp;
    let text = |(k, v): (&str, Value)| (k.to_owned(), v.as_str().to_owned());
    record.enriched = fields(enriched).into_iter().map(text).collect();
    Ok(Line::Avc(Box::new(record)))
}

/// Why a line is no record although its frame says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AvcError {
    /// It is longer than any record.
    #[error("the line has {0} bytes, which is longer than any record")]
    TooLong(usize),
    /// Neither `denied` nor `granted`.
    #[error("the record says neither denied nor granted")]
    Decision,
    /// The permissions are not in braces.
    #[error("the permissions are not in braces")]
    Permissions,
    /// A field every record has is missing.
    #[error("the record has no field {0:?}")]
    Missing(&'static str),
    /// A field does not have the form it should.
    #[error("the field {key:?} has the value {value:?}")]
    Value {
        /// The field.
        key: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// The stamp is not `audit(seconds.milliseconds:serial)`.
    #[error("the record has no time stamp")]
    Stamp,
}

fn record(body: &str) -> Result<Record, AvcError> {
    let body = body.trim_start();
    let (decision, rest) = body.split_once(' ').ok_or(AvcError::Decision)?;
    let denied = match decision {
        "denied" => true,
        "granted" => false,
        _ => return Err(AvcError::Decision),
    };
    let rest = rest.trim_start();
    let mut permissions = Vec::new();
    let mut unnamed = None;
    let rest = if let Some(rest) = rest.strip_prefix("null") {
        rest
    } else {
        let (inside, rest) =
            rest.strip_prefix('{').and_then(|r| r.split_once('}')).ok_or(AvcError::Permissions)?;
        for word in inside.split_ascii_whitespace() {
            match word.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
                Some(bits) => unnamed = Some(bits),
                None => permissions.push(word.to_owned()),
            }
        }
        rest
    };
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("for ").unwrap_or(rest);
    let mut labels: [Option<Label>; 2] = [None, None];
    let mut class = None;
    let mut permissive = None;
    let mut others = Vec::new();
    for (key, value) in fields(rest) {
        let text = value.as_str();
        match key {
            "scontext" => labels[0] = Some(context("scontext", text)?),
            "tcontext" => labels[1] = Some(context("tcontext", text)?),
            "ssid" => labels[0] = Some(sid("ssid", text)?),
            "tsid" => labels[1] = Some(sid("tsid", text)?),
            "tclass" if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                class = Some(text.to_owned());
            }
            "tclass" => return Err(wrong("tclass", text)),
            "permissive" => {
                permissive = match text {
                    "0" => Some(false),
                    "1" => Some(true),
                    _ => return Err(wrong("permissive", text)),
                }
            }
            _ => others.push((key.to_owned(), value)),
        }
    }
    let [source, target] = labels;
    Ok(Record {
        node: None,
        user: false,
        stamp: None,
        denied,
        permissions,
        unnamed,
        source: source.ok_or(AvcError::Missing("scontext"))?,
        target: target.ok_or(AvcError::Missing("tcontext"))?,
        class: class.ok_or(AvcError::Missing("tclass"))?,
        permissive,
        fields: others,
        enriched: Vec::new(),
        call: None,
        bounded: Vec::new(),
    })
}

/// `op=security_compute_av reason=bounds scontext=… tcontext=… tclass=… perms=a,b` and the other forms of
/// `security/selinux/ss/services.c`. Texts without `op` are other messages of the same type.
fn refusal(body: &str) -> Option<Refusal> {
    let mut all = fields(body);
    let mut take = |key: &str| {
        let at = all.iter().position(|f| f.0 == key)?;
        Some(all.remove(at).1.as_str().to_owned())
    };
    let operation = take("op")?;
    let mut labels = |keys: [&str; 2]| keys.into_iter().find_map(&mut take).and_then(|t| Context::parse(&t));
    let source = labels(["scontext", "oldcontext"]);
    let target = labels(["tcontext", "newcontext"]);
    let reason = take("reason");
    let class = take("tclass");
    let permissions = take("perms").unwrap_or_default();
    let permissions = permissions.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    let invalid = take("invalid_context");
    let fields = owned(all);
    let (node, stamp) = (None, None);
    Some(Refusal { node, stamp, operation, reason, source, target, class, permissions, invalid, fields })
}

fn owned(fields: Vec<(&str, Value)>) -> Vec<(String, Value)> {
    fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// The kernel writes contexts as they are: no name in them can have a quote, a blank or an equals sign.
fn context(key: &'static str, text: &str) -> Result<Label, AvcError> {
    if text.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b'"' | b'\'' | b'=')) {
        return Err(wrong(key, text));
    }
    Context::parse(text).map(Label::Context).ok_or_else(|| wrong(key, text))
}

fn sid(key: &'static str, text: &str) -> Result<Label, AvcError> {
    text.parse().map(Label::Sid).map_err(|_| wrong(key, text))
}

fn wrong(key: &'static str, value: &str) -> AvcError {
    AvcError::Value { key, value: crate::syntax::brief(value).into_owned() }
}

/// `key=value` pairs; words without `=` are skipped.
fn fields(text: &str) -> Vec<(&str, Value)> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word_end = rest.find(' ').unwrap_or(rest.len());
        let Some(equals) = rest[..word_end].find('=') else {
            rest = rest[word_end..].trim_start();
            continue;
        };
        let key = &rest[..equals];
        let after = &rest[equals + 1..];
        if let Some(quoted) = after.strip_prefix('"')
            && let Some(end) = closing_quote(quoted)
        {
            out.push((key, Value::Quoted(quoted[..end].to_owned())));
            rest = quoted[end + 1..].trim_start();
            continue;
        }
        let end = after.find(' ').unwrap_or(after.len());
        let value = &after[..end];
        out.push((key, if UNTRUSTED.contains(&key) { decode(value) } else { Value::Bare(value.to_owned()) }));
        rest = after[end..].trim_start();
    }
    out
}

/// The quote that ends a value: the kernel writes no quotes inside, so it is the first.
fn closing_quote(text: &str) -> Option<usize> {
    text.find('"')
}

fn decode(value: &str) -> Value {
    let hex = value.len() >= 2
        && value.len().is_multiple_of(2)
        && value.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    if !hex {
        return Value::Bare(value.to_owned());
    }
    let digit = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 };
    let bytes: Vec<u8> = value.as_bytes().chunks_exact(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect();
    Value::Hex(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avc::{SiblingKind, Stamp};

    const TAIL: &str = "avc:  denied  { getattr open } for  pid=812 comm=\"web\" path=\"/srv/a b\" dev=\"vda\" ino=11 scontext=system_u:system_r:rec.process:s0:c1,c2 tcontext=system_u:object_r:var_t:s0 tclass=file permissive=1";

    fn avc(line: &str) -> Record {
        match parse(line) {
            Ok(Line::Avc(r)) => *r,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_frame_gives_the_same_record() {
        let stamp = Stamp { seconds: 1_795_409_702, milliseconds: 723, serial: 51 };
        let a = stamp.to_string();
        for line in [
            format!("type=AVC msg={a}: {TAIL}"),
            format!("type=1400 msg={a}: {TAIL}"),
            format!("node=n1 type=AVC msg={a}: {TAIL}"),
            format!("audit: type=1400 {a}: {TAIL}\r\n"),
            format!("[   12.345678] audit: type=1400 {a}: {TAIL}"),
            format!("<5>[   12.345678] audit: type=1400 {a}: {TAIL}"),
            format!("5,340,2890745372,-;audit: type=1400 {a}: {TAIL}"),
            format!("Nov 23 04:50:00 n1 kernel: [ 12.3] audit: type=1400 {a}: {TAIL}"),
            format!("2026-11-23T04:50:00.123+00:00 n1 kernel: audit: type=1400 {a}: {TAIL}"),
            format!("kernel: {a}: {TAIL}"),
            format!("Nov 23 04:50:00 n1 kernel: {a}: {TAIL}"),
            format!("type=AVC msg={a}: {TAIL}\u{1d}AUID=\"root\""),
        ] {
            let r = avc(&line);
            assert_eq!(r.stamp, Some(stamp), "{line}");
            assert_eq!(r.to_string(), TAIL, "{line}");
        }
        assert_eq!(avc(&format!("node=n1 type=AVC msg={a}: {TAIL}")).node.as_deref(), Some("n1"));
        let journal = avc(&format!("Nov 23 04:50:00 n1 audit[812]: AVC {TAIL}"));
        assert_eq!((journal.stamp, journal.to_string()), (None, TAIL.to_owned()));
    }

    #[test]
    fn decisions_of_programs_and_old_forms() {
        let r = avc(
            "type=USER_AVC msg=audit(1.2:3): pid=1 uid=0 subj=x msg='avc:  denied  { start } for auid=0 path=\"/x\" scontext=a:b:c:s0 tcontext=d:e:f:s0 tclass=service exe=\"/usr/lib/systemd/systemd\"'",
        );
        assert!(r.user && r.class == "service" && r.permissive.is_none());
        assert_eq!(r.field("exe"), Some("/usr/lib/systemd/systemd"));
        let r = avc("type=AVC msg=audit(1.2:3): avc:  granted  null for  pid=8 ssid=3 tsid=7 tclass=file");
        assert!(!r.denied && r.permissions.is_empty());
        assert_eq!((r.source, r.target), (Label::Sid(3), Label::Sid(7)));
    }

    #[test]
    fn hexadecimal_names_and_unnamed_bits() {
        let r = avc(
            "type=AVC msg=audit(1.2:3): avc:  denied  { read 0x400000 } for  pid=8 comm=7472207565 path=2F612022E9 ioctlcmd=0x5401 scontext=a:b:c:s0 tcontext=d:e:f:s0 tclass=file",
        );
        assert_eq!(r.comm(), Some("tr ue"));
        assert_eq!(r.path(), Some("/a \"\u{fffd}"));
        assert_eq!((r.unnamed, r.ioctl()), (Some(0x40_0000), Some(0x5401)));
    }

    #[test]
    fn what_only_looks_like_a_record_is_none() {
        let a = "audit(1.2:3)";
        for line in [
            format!("Nov 23 04:50:00 n1 myapp[7]: audit: type=1400 {a}: {TAIL}"),
            format!("Nov 23 04:50:00 n1 myapp: kernel: audit: type=1400 {a}: {TAIL}"),
            format!("type=AVC msg={a}: apparmor=\"DENIED\" operation=\"open\" name=\"{TAIL}\""),
            format!("myapp says audit[1]: AVC and more words here {TAIL}"),
            String::new(),
        ] {
            assert_eq!(parse(&line), Ok(Line::Other), "{line}");
        }
        let inside = format!("type=SYSCALL msg={a}: comm=\"x\" key=\"type=AVC msg={a}: {TAIL}\"");
        assert!(matches!(parse(&inside), Ok(Line::Sibling(s)) if s.field("comm") == Some("x")));
        assert!(parse("type=AVC msg=audit(1.2:3): avc:  denied  { read } for  pid=1").is_err());
        assert!(parse("type=AVC msg=audit(1.2:3): avc:  maybe  { read } for  pid=1").is_err());
        assert_eq!(parse("type=MAC_POLICY_LOAD msg=audit(1.2:3): policy loaded"), Ok(Line::PolicyLoad));
        let path = parse("type=AVC_PATH msg=audit(1.2:3):  path=\"/x\"");
        assert!(matches!(path, Ok(Line::Sibling(s)) if s.kind == SiblingKind::AvcPath));
    }

    #[test]
    fn every_form_of_a_refusal() {
        let refusal = |line: &str| match parse(line) {
            Ok(Line::Refusal(r)) => *r,
            other => panic!("{line}: {other:?}"),
        };
        let r = refusal(
            "type=SELINUX_ERR msg=audit(1.2:3): op=security_compute_av reason=bounds scontext=u:r:a.process:s0 tcontext=u:object_r:etc_t:s0 tclass=file perms=read,open",
        );
        assert_eq!((&r.operation[..], r.reason.as_deref()), ("security_compute_av", Some("bounds")));
        assert_eq!(r.source.as_ref().unwrap().type_, "a.process");
        assert_eq!(
            (r.class.as_deref(), &r.permissions[..]),
            (Some("file"), &["read", "open"].map(str::to_owned)[..])
        );
        let r = refusal(
            "audit: type=1401 audit(1.2:3): op=security_bounded_transition seresult=denied oldcontext=u:r:a:s0 newcontext=u:r:b:s0",
        );
        assert_eq!((r.source.unwrap().type_, r.target.unwrap().type_), ("a".to_owned(), "b".to_owned()));
        assert_eq!(r.fields, [("seresult".to_owned(), Value::Bare("denied".to_owned()))]);
        // In quotes, or in hexadecimal where it has other bytes; older kernels wrote it bare.
        for invalid in ["\"u:r:gone_t:s0\"", "753A723A676F6E655F743A7330", "u:r:gone_t:s0"] {
            let r = refusal(&format!(
                "type=SELINUX_ERR msg=audit(1.2:3): op=security_compute_sid invalid_context={invalid} scontext=u:r:a:s0 tcontext=u:r:b:s0 tclass=process"
            ));
            assert_eq!(r.invalid.as_deref(), Some("u:r:gone_t:s0"));
        }
        let r = refusal("Nov 23 04:50:00 n1 audit[81]: SELINUX_ERR op=setxattr invalid_context=\"x\"");
        assert_eq!((r.stamp, r.source, r.invalid.as_deref()), (None, None, Some("x")));
        for bad in [
            "tcontext=u:r:b[\":s0 tclass=file",
            "tcontext=\"u:r:b x:s0\" tclass=file",
            "tcontext=u:r:b:s0 tclass=f:g",
        ] {
            let line =
                format!("type=AVC msg=audit(1.2:3): avc:  denied  {{ read }} for  scontext=u:r:a:s0 {bad}");
            assert!(matches!(parse(&line), Err(AvcError::Value { .. })), "{line}");
        }
        let other = "type=SELINUX_ERR msg=audit(1.2:3): SELinux:  unrecognized netlink message type=9";
        assert_eq!(parse(other), Ok(Line::Other));
    }
}
