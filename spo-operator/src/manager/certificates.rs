//! The operator's own certificate authority: what is missing or due, and how it is made.
//!
//! ```text
//! Secrets, time ──plan──► what to make ──Authority, issue──► Secrets
//! ```
//!
//! An authority lives a year and what it signs 90 days; each is replaced after two thirds of its life. A new authority
//! joins the bundle and signs what is made from then on; what the old one signed stays until its own time comes, which
//! is before the old authority ends. So both are trusted while either is used, and nothing has to happen at once.

use std::collections::BTreeSet;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sha2::{Digest as _, Sha256};
use x509_parser::{extensions::GeneralName, pem::Pem};

/// How long an authority lives, in seconds.
pub const AUTHORITY_LIFE: u64 = 365 * DAY;

/// How long a certificate of a server lives, in seconds.
pub const SERVER_LIFE: u64 = 90 * DAY;

/// Clocks of nodes may be behind by so much: certificates are valid from before they were made.
pub const SKEW: u64 = 60 * 60;

const DAY: u64 = 24 * 60 * 60;

/// The most certificates of a bundle: authorities that were lost and made again pile up otherwise.
const TRUSTED: usize = 4;

/// The texts of a Secret: `tls.crt`, `tls.key`, `ca.crt`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, as PEM.
    pub certificate: String,
    /// Its key, as PEM.
    pub key: String,
    /// Whom to trust, as PEM.
    pub bundle: String,
}

impl std::fmt::Debug for Pair {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A server that gets a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The Secret.
    pub secret: String,
    /// The names by which clients call it, the first one its common name.
    pub names: Vec<String>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Why a new authority is made, if one is.
    pub authority: Option<&'static str>,
    /// What happens to each server's Secret.
    pub servers: Vec<Step>,
    /// When to look again, in seconds since 1970.
    pub again: u64,
}

/// What happens to the Secret of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// A new certificate, for this reason.
    Issue(&'static str),
    /// The same certificate with the bundle as it is now.
    Rebundle,
}

/// What to do at a time (seconds since 1970) about the authority and the servers, as their Secrets are.
pub fn plan(now: u64, authority: Option<&Pair>, servers: &[(&Server, Option<&Pair>)]) -> Plan {
    let known = authority.and_then(|pair| Some((pair, Facts::read(&pair.certificate)?)));
    let why = match &known {
        None => Some("there is none"),
        Some((pair, facts)) => facts.unusable(now, &pair.key),
    };
    let mut again = known.as_ref().map_or(now, |(_, facts)| facts.due());
    let bundle = authority.map(|pair| pair.bundle.as_str()).unwrap_or_default();
    let trusted: BTreeSet<Vec<u8>> = certificates(bundle).map(|(facts, _)| facts.subject).collect();
    let step = |server: &Server, pair: Option<&Pair>, again: &mut u64| {
        let Some((pair, facts)) = pair.and_then(|pair| Some((pair, Facts::read(&pair.certificate)?))) else {
            return Step::Issue("there is none");
        };
        if let Some(why) = facts.unusable(now, &pair.key) {
            return Step::Issue(why);
        }
        if facts.names != server.names.iter().cloned().collect() {
            return Step::Issue("it is for other names");
        }
        *again = (*again).min(facts.due());
        // Where the authority is lost, what it signed is trusted on until it is replaced.
        match (known.is_some(), trusted.contains(&facts.issuer), pair.bundle == bundle) {
            (true, false, _) => Step::Issue("its authority is not trusted any more"),
            (true, true, true) => Step::Keep,
            _ => Step::Rebundle,
        }
    };
    let servers = servers.iter().map(|(server, pair)| step(server, *pair, &mut again)).collect();
    Plan { authority: why, servers, again: again.max(now) }
}

/// Why no certificate is made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The certificate cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A new authority that trusts itself, and beside itself the certificates of `before` that have not ended.
///
/// # Errors
/// [`Error`] if there is no randomness.
pub fn authority(now: u64, before: &[&str]) -> Result<Pair, Error> {
    let key = KeyPair::generate()?;
    // By its name a certificate finds its authority, so each has a name of its own.
    let digest = Sha256::digest(key.public_key_raw());
    let id: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("security-profiles-operator CA {id}"));
    life(&mut params, now, AUTHORITY_LIFE);
    let certificate = params.self_signed(&key)?.pem();
    let mut bundle = certificate.clone();
    let mut subjects = BTreeSet::new();
    let old = before.iter().flat_map(|text| certificates(text));
    let old = old.filter(|(facts, _)| facts.is_authority && facts.end > now && facts.start <= now + SKEW);
    for (_, text) in old.filter(|(facts, _)| subjects.insert(facts.subject.clone())).take(TRUSTED - 1) {
        bundle.push_str(&text);
    }
    Ok(Pair { certificate, key: key.serialize_pem(), bundle })
}

/// A certificate for a server, signed by an authority.
///
/// # Errors
/// [`Error`] if the authority's texts cannot be used, or there is no randomness.
pub fn issue(now: u64, authority: &Pair, server: &Server) -> Result<Pair, Error> {
    let signer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(server.names.clone())?;
    let name = server.names.first().map_or("", String::as_str);
    // A common name has at most 64 characters (RFC 5280, A.1).
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    life(&mut params, now, SERVER_LIFE);
    let certificate = params.signed_by(&key, &signer)?.pem();
    Ok(Pair { certificate, key: key.serialize_pem(), bundle: authority.bundle.clone() })
}

fn life(params: &mut CertificateParams, now: u64, seconds: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + std::time::Duration::from_secs(now.saturating_sub(SKEW));
    params.not_after = epoch + std::time::Duration::from_secs(now + seconds);
}

/// What a certificate says about itself.
struct Facts {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key: Vec<u8>,
    names: BTreeSet<String>,
    is_authority: bool,
    start: u64,
    end: u64,
}

impl Facts {
    /// Of the first certificate of a text.
    fn read(text: &str) -> Option<Self> {
        certificates(text).next().map(|(facts, _)| facts)
    }

    fn of(pem: &Pem) -> Option<Self> {
        let certificate = pem.parse_x509().ok()?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok();
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|names| &names.value.general_names);
        Some(Self {
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            key: certificate.public_key().subject_public_key.data.to_vec(),
            names: names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect(),
            is_authority: certificate.is_ca(),
            start: seconds(certificate.validity().not_before)?,
            end: seconds(certificate.validity().not_after)?,
        })
    }

    /// When it has to be replaced: after two thirds of its life.
    fn due(&self) -> u64 {
        self.start + self.end.saturating_sub(self.start) / 3 * 2
    }

    fn unusable(&self, now: u64, key: &str) -> Option<&'static str> {
        let fits = KeyPair::from_pem(key).is_ok_and(|key| key.public_key_raw() == self.key);
        if !fits {
            return Some("its key is another one's");
        }
        if now >= self.due() {
            return Some("two thirds of its life are over");
        }
        // Made by a clock that was ahead.
        (self.start > now + SKEW).then_some("it is not valid yet")
    }
}

/// The certificates of a text, each with its own text; what is none is left out.
fn certificates(text: &str) -> impl Iterator<Item = (Facts, String)> {
    const END: &str = "-----END CERTIFICATE-----";
    text.split_inclusive(END).filter_map(|part| {
        let text = part.get(part.find("-----BEGIN CERTIFICATE-----")?..)?;
        let pem = Pem::iter_from_buffer(text.as_bytes()).next()?.ok()?;
        Some((Facts::of(&pem)?, format!("{text}\n")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn server() -> Server {
        let names = ["webhook-service.spo.svc", "webhook-service.spo.svc.cluster.local"];
        Server { secret: "webhook".to_owned(), names: names.map(str::to_owned).to_vec() }
    }

    fn made(now: u64) -> (Pair, Pair) {
        let authority = authority(now, &[]).expect("an authority");
        let pair = issue(now, &authority, &server()).expect("a certificate");
        (authority, pair)
    }

    fn planned(now: u64, authority: Option<&Pair>, pair: Option<&Pair>) -> (bool, Step, u64) {
        let plan = plan(now, authority, &[(&server(), pair)]);
        (plan.authority.is_some(), plan.servers[0], plan.again)
    }

    #[test]
    fn what_is_fresh_is_kept_until_two_thirds_of_its_life() {
        let (authority, pair) = made(NOW);
        let (new, step, again) = planned(NOW, Some(&authority), Some(&pair));
        assert_eq!((new, step), (false, Step::Keep));
        // 60 of 90 days, and a bit for the clocks.
        assert!(again.abs_diff(NOW + 60 * DAY) < DAY, "{again}");
        assert_eq!(planned(again - 1, Some(&authority), Some(&pair)).1, Step::Keep);
        assert!(matches!(planned(again, Some(&authority), Some(&pair)).1, Step::Issue(_)));
    }

    #[test]
    fn everything_that_is_missing_or_cannot_be_read_is_made() {
        let (authority, pair) = made(NOW);
        assert!(planned(NOW, None, None).0);
        assert!(matches!(planned(NOW, Some(&authority), None).1, Step::Issue(_)));
        let broken = Pair { certificate: "no certificate".to_owned(), ..authority.clone() };
        assert!(planned(NOW, Some(&broken), Some(&pair)).0);
        let other = Pair { key: made(NOW).1.key, ..pair.clone() };
        assert_eq!(planned(NOW, Some(&authority), Some(&other)).1, Step::Issue("its key is another one's"));
        let mut renamed = server();
        renamed.names.pop();
        let short = issue(NOW, &authority, &renamed).expect("a certificate");
        assert_eq!(planned(NOW, Some(&authority), Some(&short)).1, Step::Issue("it is for other names"));
    }

    /// The rotation of an authority: at no time is a server's certificate signed by one that is not in the bundle.
    #[test]
    fn both_authorities_are_trusted_while_either_is_used() {
        let (mut ca, mut pair) = made(NOW);
        let first = ca.certificate.clone();
        let mut seen_two = false;
        for day in 0..3 * 365 {
            let now = NOW + day * DAY;
            let plan = plan(now, Some(&ca), &[(&server(), Some(&pair))]);
            if plan.authority.is_some() {
                ca = authority(now, &[&ca.bundle, &pair.bundle]).expect("an authority");
            }
            match super::plan(now, Some(&ca), &[(&server(), Some(&pair))]).servers[0] {
                Step::Keep => {}
                Step::Issue(_) => pair = issue(now, &ca, &server()).expect("a certificate"),
                Step::Rebundle => pair.bundle.clone_from(&ca.bundle),
            }
            let facts = Facts::read(&pair.certificate).expect("facts");
            let trusted: Vec<Facts> = certificates(&ca.bundle).map(|(facts, _)| facts).collect();
            let signer = trusted.iter().find(|ca| ca.subject == facts.issuer).expect("is trusted");
            assert!(facts.end > now && signer.end >= facts.end, "day {day}");
            seen_two |= trusted.len() == 2;
            assert!(trusted.len() <= 2, "day {day}");
        }
        assert!(seen_two && ca.certificate != first);
    }

    /// Somebody deletes the Secret of the authority: what it signed works until it is replaced.
    #[test]
    fn a_lost_authority_is_trusted_on() {
        let (_, pair) = made(NOW);
        let (new, step, _) = planned(NOW + DAY, None, Some(&pair));
        assert_eq!((new, step), (true, Step::Rebundle));
        let again = authority(NOW + DAY, &[&pair.bundle]).expect("an authority");
        assert_eq!(certificates(&again.bundle).count(), 2);
        let (new, step, _) = planned(NOW + DAY, Some(&again), Some(&pair));
        assert_eq!((new, step), (false, Step::Rebundle));
        // Without the old certificate nobody would trust it.
        let stranger = Pair { bundle: again.certificate.clone(), ..again };
        assert!(matches!(planned(NOW + DAY, Some(&stranger), Some(&pair)).1, Step::Issue(_)));
    }

    #[test]
    fn clocks_may_differ() {
        let (authority, pair) = made(NOW);
        let facts = Facts::read(&pair.certificate).expect("facts");
        assert_eq!(facts.start, NOW - SKEW, "a node whose clock is behind accepts it");
        assert_eq!(planned(NOW - SKEW, Some(&authority), Some(&pair)).1, Step::Keep);
        let (new, step, _) = planned(NOW - 3 * SKEW, Some(&authority), Some(&pair));
        assert!(new && matches!(step, Step::Rebundle | Step::Issue(_)), "made by a clock far ahead");
    }

    #[test]
    fn a_bundle_does_not_grow() {
        let mut bundle = String::new();
        for _ in 0..10 {
            bundle = authority(NOW, &[&bundle]).expect("an authority").bundle;
        }
        assert_eq!(certificates(&bundle).count(), TRUSTED);
        assert_eq!(certificates("-----END CERTIFICATE-----ä-----BEGIN CERTIFICATE-----").count(), 0);
    }
}
