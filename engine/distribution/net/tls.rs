//! Whom to trust: the host's certificate authorities, those of a registry's own folder, and nobody where a registry is said to
//! be insecure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Failure, Origin};
use crate::Config;

pub(super) struct Tls {
    folders: Vec<PathBuf>,
    provider: Arc<CryptoProvider>,
    /// Read when they are first needed.
    authorities: OnceLock<Arc<RootCertStore>>,
    configs: Mutex<HashMap<(String, bool), Arc<ClientConfig>>>,
}

impl Tls {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            folders: config.certificates.clone(),
            provider: Arc::new(ring::default_provider()),
            authorities: OnceLock::new(),
            configs: Mutex::default(),
        }
    }

    pub(super) fn of(&self, origin: &Origin, insecure: bool) -> Result<Arc<ClientConfig>, Failure> {
        let key = (origin.authority(), insecure);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&key) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.make(origin, insecure)?);
        configs.insert(key, config.clone());
        Ok(config)
    }

    fn make(&self, origin: &Origin, insecure: bool) -> Result<ClientConfig, Failure> {
        let wrong = |error: rustls::Error| Failure::lasting(format!("set up TLS for {origin}: {error}"));
        let own = Own::read(&self.folders, origin)?;
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
        let usual = if insecure {
            None
        } else {
            let mut roots = RootCertStore::clone(&self.authorities());
            for certificate in &own.authorities {
                roots.add(certificate.clone()).map_err(wrong)?;
            }
            let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
            Some(usual.map_err(|error| Failure::lasting(format!("set up TLS for {origin}: {error}")))?)
        };
        let verifier = Verifier { usual, own: own.authorities, provider: self.provider.clone() };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        match own.identity {
            Some((certificates, key)) => builder.with_client_auth_cert(certificates, key).map_err(wrong),
            None => Ok(builder.with_no_client_auth()),
        }
    }

    /// The host's (SSL_CERT_FILE, SSL_CERT_DIR, else the usual folders), or those that Mozilla trusts where a host has none.
    fn authorities(&self) -> Arc<RootCertStore> {
        let read = || {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::debug!("certificate authorities: {error}");
            }
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            Arc::new(roots)
        };
        self.authorities.get_or_init(read).clone()
    }
}

/// What a registry's own folder has.
#[derive(Default)]
struct Own {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Own {
    /// A file that cannot be read is an error: who put it there counts on it.
    fn read(folders: &[PathBuf], origin: &Origin) -> Result<Self, Failure> {
        let mut own = Self::default();
        // Docker's folders are by the name as people write it, with and without the usual port.
        let mut names = vec![origin.authority(), origin.with_port()];
        names.dedup();
        let folders = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        for path in folders.flat_map(|folder| files(&folder)) {
            let wrong = |error: rustls::pki_types::pem::Error| {
                Failure::lasting(format!("certificate {}: {error}", path.display()))
            };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    for certificate in CertificateDer::pem_file_iter(&path).map_err(wrong)? {
                        own.authorities.push(certificate.map_err(wrong)?);
                    }
                }
                Some("cert") => {
                    let key = PrivateKeyDer::from_pem_file(path.with_extension("key")).map_err(wrong)?;
                    let certificates = CertificateDer::pem_file_iter(&path).map_err(wrong)?;
                    own.identity = Some((certificates.collect::<Result<_, _>>().map_err(wrong)?, key));
                }
                _ => {}
            }
        }
        Ok(own)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// As usual, and beyond that: what a registry's own folder has may be the registry's certificate itself, which `openssl req -x509`
/// makes an authority, and which is none for others. Its dates do not count then: somebody has put it there.
#[derive(Debug)]
struct Verifier {
    /// `None`: everybody is believed to be who he says he is; that he has the key of what he shows is still checked.
    usual: Option<Arc<WebPkiServerVerifier>>,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(usual) = &self.usual else { return Ok(ServerCertVerified::assertion()) };
        match usual.verify_server_cert(certificate, intermediates, name, staple, now) {
            Err(_) if self.own.contains(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
