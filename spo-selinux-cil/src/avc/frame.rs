//! What is around a record: the forms of auditd, of the kernel log and its copies, and of journald.

use super::{SiblingKind, Stamp};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Avc,
    UserAvc,
    SelinuxErr,
    Sibling(SiblingKind),
    PolicyLoad,
}

pub(super) struct Frame<'l> {
    pub(super) node: Option<&'l str>,
    pub(super) kind: Kind,
    pub(super) stamp: Option<Stamp>,
    pub(super) body: &'l str,
}

/// Takes the frame off a line; `None` for lines that hold no record of interest.
pub(super) fn frame(line: &str) -> Option<Frame<'_>> {
    let (node, rest) = match line.strip_prefix("node=") {
        Some(rest) => rest.split_once(' ').map(|(n, r)| (Some(n), r))?,
        None => (None, line),
    };
    if let Some(rest) = rest.strip_prefix("type=") {
        return typed(node, rest);
    }
    let rest = kernel_prefix(rest).unwrap_or(rest);
    if let Some(rest) = rest.strip_prefix("audit: type=") {
        return typed(node, rest);
    }
    // Kernels before 2.6.16 wrote no type.
    if rest.starts_with("audit(") {
        let (stamp, body) = stamp(rest)?;
        return body.trim_start().starts_with("avc:").then_some(Frame {
            node,
            kind: Kind::Avc,
            stamp: Some(stamp),
            body,
        });
    }
    journal(node, rest)
}

/// `AVC msg=audit(…): …`, `1400 audit(…): …`.
fn typed<'l>(node: Option<&'l str>, rest: &'l str) -> Option<Frame<'l>> {
    let (name, rest) = rest.split_once(' ')?;
    let kind = kind(name)?;
    let rest = rest.strip_prefix("msg=").unwrap_or(rest);
    let (stamp, body) = stamp(rest)?;
    Some(Frame { node, kind, stamp: Some(stamp), body })
}

/// What is in front of a message in the kernel log and in files made from it: `<5>`, `[ 12.3] `, the header of
/// /dev/kmsg, or a syslog header that ends in `kernel: `.
fn kernel_prefix(line: &str) -> Option<&str> {
    let time = |t: &str| -> Option<usize> {
        let end = t.strip_prefix('[')?.find(']')? + 2;
        let inside = &t[1..end - 1];
        let fine = inside.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b' '));
        fine.then_some(end)
    };
    let skip_time = |t: &'_ str| time(t).map_or(0, |n| n + t[n..].len() - t[n..].trim_start().len());
    if let Some((header, message)) = line.split_once(';') {
        let kmsg = header.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'-' | b'c'));
        if kmsg && header.contains(',') {
            return Some(message);
        }
    }
    let mut rest = line;
    if let Some((number, after)) = line.strip_prefix('<').and_then(|l| l.split_once('>'))
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        rest = after;
    }
    if rest.starts_with('[') {
        return Some(&rest[skip_time(rest)..]);
    }
    // `Nov 23 04:50:00 host kernel: [ 12.3] …` and the ISO form: at most four words before the tag.
    if let Some(at) = rest.find("kernel: ") {
        let header = &rest[..at];
        let words = header.split_ascii_whitespace().count();
        if words <= 4
            && (header.is_empty() || header.ends_with(' '))
            && !header.contains([':']) | clock(header)
        {
            let message = &rest[at + "kernel: ".len()..];
            return Some(&message[skip_time(message)..]);
        }
    }
    Some(rest)
}

/// Whether the colons of a header are those of a time of day.
fn clock(header: &str) -> bool {
    header.split_ascii_whitespace().all(|word| {
        !word.contains(':') || word.bytes().next().is_some_and(|b| b.is_ascii_digit()) && !word.ends_with(':')
    })
}

/// `Nov 23 04:50:00 host audit[812]: AVC avc: …`, and the same without a header.
fn journal<'l>(node: Option<&'l str>, line: &'l str) -> Option<Frame<'l>> {
    let at = line.find("audit[")?;
    let header = &line[..at];
    if header.split_ascii_whitespace().count() > 4 || !clock(header) || !(at == 0 || header.ends_with(' ')) {
        return None;
    }
    let (pid, rest) = line[at + "audit[".len()..].split_once("]: ")?;
    if !pid.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (name, body) = rest.split_once(' ')?;
    // The journal drops the stamp, and with it what would tie other records of an event to this one.
    let kind = kind(name).filter(|k| !matches!(k, Kind::Sibling(_)))?;
    Some(Frame { node, kind, stamp: None, body })
}

/// The record types of `include/uapi/linux/audit.h`, by the names auditd has for them and by number.
fn kind(name: &str) -> Option<Kind> {
    let name = name.strip_prefix("UNKNOWN[").and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    Some(match name {
        "AVC" | "1400" => Kind::Avc,
        "USER_AVC" | "1107" => Kind::UserAvc,
        "SELINUX_ERR" | "1401" => Kind::SelinuxErr,
        "MAC_POLICY_LOAD" | "1403" => Kind::PolicyLoad,
        "AVC_PATH" | "1402" => Kind::Sibling(SiblingKind::AvcPath),
        "SYSCALL" | "1300" => Kind::Sibling(SiblingKind::Syscall),
        "PATH" | "1302" => Kind::Sibling(SiblingKind::Path),
        "CWD" | "1307" => Kind::Sibling(SiblingKind::Directory),
        "EOE" | "1320" => Kind::Sibling(SiblingKind::End),
        _ => return None,
    })
}

/// `audit(seconds.milliseconds:serial): rest`.
fn stamp(text: &str) -> Option<(Stamp, &str)> {
    let (inside, rest) = text.strip_prefix("audit(")?.split_once("):")?;
    let (time, serial) = inside.split_once(':')?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let stamp = Stamp {
        seconds: seconds.parse().ok()?,
        milliseconds: fraction.parse().ok()?,
        serial: serial.parse().ok()?,
    };
    Some((stamp, rest))
}
