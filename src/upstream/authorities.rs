//! Certificate authorities of a provider's own, from a PEM file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::tls::RootCertStore;
use pingora_core::utils::tls::WrappedX509;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::provider::Authorities;

/// Why a file of certificate authorities cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthoritiesError {
    /// The file is not PEM.
    #[error("cannot read certificates from {path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate: it must have at least one `BEGIN CERTIFICATE` section", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot vouch for others.
    #[error("certificate {number} of {path} cannot serve as an authority: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// What went wrong.
        reason: String,
    },
}

/// Reads the certificate authorities of a PEM file, which stands at `path` and holds `pem`, and proves that each can be
/// used.
///
/// # Errors
///
/// When the file is not PEM, holds no certificate, or holds one that cannot be used.
pub fn read_authorities(path: &Path, pem: &[u8]) -> Result<Authorities, AuthoritiesError> {
    let unreadable = |error: rustls_pki_types::pem::Error| AuthoritiesError::Unreadable {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    let mut certificates = Vec::new();
    for found in CertificateDer::pem_slice_iter(pem) {
        let der = found.map_err(unreadable)?;
        let number = certificates.len() + 1;
        prove(&der).map_err(|reason| AuthoritiesError::Unusable { path: path.to_path_buf(), number, reason })?;
        certificates.push(der.to_vec());
    }
    if certificates.is_empty() {
        return Err(AuthoritiesError::Empty { path: path.to_path_buf() });
    }
    Ok(Authorities { path: path.to_path_buf(), certificates })
}

/// The same certificates as Pingora wants them. One that cannot be parsed is left out, and a list without any makes
/// every connection fail: a provider with authorities of its own never falls back to the system's roots.
pub(super) fn for_pingora(authorities: &Authorities) -> Arc<CaType> {
    authorities.certificates.iter().filter_map(|der| wrap(der).ok()).collect()
}

fn prove(der: &CertificateDer<'_>) -> Result<(), String> {
    RootCertStore::empty().add(der.clone()).map_err(|error| error.to_string())?;
    wrap(der).map(|_| ())
}

fn wrap(der: &[u8]) -> Result<WrappedX509, String> {
    WrappedX509::try_new(der.to_vec(), |raw| {
        X509Certificate::from_der(raw).map(|(_, certificate)| certificate).map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<usize, String> {
        let read = read_authorities(Path::new("FILE"), text.as_bytes()).map_err(|error| error.to_string())?;
        assert_eq!(for_pingora(&read).len(), read.certificates.len());
        Ok(read.certificates.len())
    }

    fn authority() -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn certificates_are_read_and_proven() {
        let pem = authority();
        assert_eq!(check(&pem), Ok(1));
        assert_eq!(check(&format!("{pem}{}", authority())), Ok(2));
        assert!(check("").unwrap_err().starts_with("FILE holds no certificate"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(check(&format!("{pem}{broken}")).unwrap_err().starts_with("certificate 2 of FILE cannot serve"));
        assert!(check("-----BEGIN CERTIFICATE-----\n!\n").unwrap_err().starts_with("cannot read certificates"));
    }
}
