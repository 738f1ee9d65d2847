//! The serving certificate: held in memory, replaced while connections are served.
//!
//! A new pair takes effect for the next handshake; what cannot be used (a key that belongs to another certificate)
//! leaves the pair that is there.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificate that handshakes are answered with.
#[derive(Clone, Default)]
pub struct Certificates(Arc<RwLock<Option<Pair>>>);

/// A certificate with its key, and when it ends, in seconds since 1970; `None` if that cannot be read.
#[derive(Clone)]
struct Pair {
    certified: Arc<CertifiedKey>,
    ends: Option<i64>,
}

/// The lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 and 1.3.
    #[default]
    V1_2,
    /// 1.3 alone.
    V1_3,
}

impl Certificates {
    /// Takes a chain and its key, both as PEM, into use.
    ///
    /// # Errors
    /// [`CertificateError`] if they are no such texts or do not belong together; then nothing changes.
    pub fn set(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| CertificateError::Chain(e.to_string()))?;
        if chain.is_empty() {
            return Err(CertificateError::Chain("it holds no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| CertificateError::Key(e.to_string()))?;
        let ends = chain.first().and_then(ends);
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Pair { certified, ends });
        Ok(())
    }

    /// Takes `tls.crt` and `tls.key` of a directory into use, as Kubernetes mounts a Secret of that type.
    ///
    /// `seen` is what was read last; nothing is done while the files are the same.
    ///
    /// # Errors
    /// [`CertificateError`] if a file cannot be read, or as [`Self::set`].
    pub fn load(&self, directory: &Path, seen: &mut Option<[Vec<u8>; 2]>) -> Result<bool, CertificateError> {
        let read = |name: &str| -> Result<Vec<u8>, CertificateError> {
            let path = directory.join(name);
            fs::read(&path)
                .map_err(|source| CertificateError::Read { path: path.display().to_string(), source })
        };
        let files = [read("tls.crt")?, read("tls.key")?];
        if seen.as_ref() == Some(&files) {
            return Ok(false);
        }
        // Between two reads of a rotation the pair may not fit; the next look finds both new.
        self.set(&files[0], &files[1])?;
        *seen = Some(files);
        Ok(true)
    }

    /// Whether there is a certificate.
    pub fn is_there(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the certificate is over at a time, in seconds since 1970: nobody who checks it would talk on.
    pub fn has_ended(&self, now: i64) -> bool {
        let pair = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pair.as_ref().and_then(|pair| pair.ends).is_some_and(|ends| ends < now)
    }

    /// The configuration of a server with this certificate: HTTP/1.1 and nothing else, since an HTTP/2 connection
    /// of the API server would bind all its requests to one replica.
    ///
    /// # Errors
    /// Only if the versions and the cryptography do not fit together.
    pub fn server_config(&self, lowest: TlsVersion) -> Result<ServerConfig, rustls::Error> {
        let versions: &[&SupportedProtocolVersion] = match lowest {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pair = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pair.as_ref().map(|pair| Arc::clone(&pair.certified))
    }
}

impl std::fmt::Debug for Certificates {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("is_there", &self.is_there()).finish()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The chain is none.
    #[error("the certificate cannot be read: {0}")]
    Chain(String),
    /// The key is none.
    #[error("the key cannot be read: {0}")]
    Key(String),
    /// Chain and key do not belong together, or are of no known kind.
    #[error("the certificate cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

fn ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> [Vec<u8>; 2] {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        [made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes()]
    }

    #[test]
    fn what_does_not_fit_together_leaves_what_is_there() {
        let certificates = Certificates::default();
        let ([chain, key], [other, _]) = (pair(), pair());
        assert!(!certificates.is_there());
        for (chain, key) in
            [(&other, &key), (&key, &key), (&chain, &chain), (&Vec::new(), &key), (&b"\0\xff".to_vec(), &key)]
        {
            assert!(certificates.set(chain, key).is_err());
            assert!(!certificates.is_there());
        }
        certificates.set(&chain, &key).expect("a pair");
        assert!(certificates.set(&other, &key).is_err());
        assert!(certificates.is_there());
    }

    #[test]
    fn the_end_of_a_certificate_is_seen() {
        let certificates = Certificates::default();
        assert!(!certificates.has_ended(i64::MAX), "there is none");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2024, 1, 1);
        let made = params.self_signed(&key).expect("a certificate");
        certificates.set(made.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("a pair");
        // 2024-01-01T00:00:00Z, as `date -ud @1704067200` says.
        assert!(certificates.has_ended(1_704_067_201) && !certificates.has_ended(1_704_067_199));
    }

    #[test]
    fn a_directory_is_read_again_only_when_it_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificates, mut seen) = (Certificates::default(), None);
        assert!(matches!(certificates.load(folder.path(), &mut seen), Err(CertificateError::Read { .. })));
        for _ in 0..2 {
            let [chain, key] = pair();
            fs::write(folder.path().join("tls.crt"), chain).expect("writes");
            fs::write(folder.path().join("tls.key"), key).expect("writes");
            assert!(certificates.load(folder.path(), &mut seen).expect("loads"));
            assert!(!certificates.load(folder.path(), &mut seen).expect("loads"));
        }
        fs::write(folder.path().join("tls.crt"), &pair()[0]).expect("writes");
        assert!(certificates.load(folder.path(), &mut seen).is_err(), "half of a rotation");
        assert!(certificates.is_there());
    }
}
