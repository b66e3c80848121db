//! The certificates of the system's authorities, looked at before Pingora does: it takes what is wrong with them for a fault
//! of the program.

use pingora::tls::{RootCertStore, load_native_certs};

use super::StartError;
use crate::config::Settings;

/// Looks whether they can be used, and warns where there are none and a provider of `settings` depends on them.
///
/// # Errors
///
/// They cannot be read, or one of them is none.
pub(super) fn check(settings: &Settings) -> Result<(), StartError> {
    let certificates = load_native_certs().map_err(|error| StartError::Roots { reason: error.to_string() })?;
    let (all, mut store) = (certificates.len(), RootCertStore::empty());
    for (at, certificate) in certificates.into_iter().enumerate() {
        let number = at + 1;
        store
            .add(certificate)
            .map_err(|error| StartError::Roots { reason: format!("certificate {number} of {all} is none: {error}") })?;
    }
    let mut needs = settings
        .providers
        .values()
        .filter(|provider| provider.authorities.is_none() && provider.endpoints.iter().any(|endpoint| endpoint.tls));
    if let (0, Some(provider)) = (all, needs.next()) {
        log::warn!(
            "the system has no certificates of authorities, so that no certificate of provider {} can be right: install \
             them (ca-certificates), or name a file with `ca`",
            provider.name
        );
    }
    Ok(())
}
