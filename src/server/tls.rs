//! Certificates of the listeners, exchanged while they serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use pingora::tls::{ServerConfig, install_default_crypto_provider, load_certs_and_key_files, version};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock;
use crate::config::Tls;

/// The protocols that a listener offers, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a listener shows of itself, and until when clients believe it.
pub(super) struct Identity {
    config: Arc<ServerConfig>,
    /// Since 1970-01-01 UTC.
    expires: Duration,
}

impl Identity {
    /// Says in the log when it is over already: clients will refuse it, and all else looks well.
    pub(super) fn warn_if_over(&self, listener: SocketAddr) {
        if self.expires < clock::unix_now() {
            log::warn!(
                "the certificate of the listener at {listener} expired on {}: clients will refuse it until a new one stands \
                 in its file",
                httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + self.expires)
            );
        }
    }
}

/// A listener's certificate: new connections meet the newest.
pub(super) struct Certificate {
    current: ArcSwap<Identity>,
}

impl Certificate {
    pub(super) fn new(identity: Identity) -> Self {
        Self { current: ArcSwap::from_pointee(identity) }
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// When clients cease to believe it, since 1970-01-01 UTC.
    pub(super) fn expires(&self) -> Duration {
        self.current.load().expires
    }

    pub(super) fn replace(&self, identity: Identity) {
        self.current.store(Arc::new(identity));
    }
}

/// Reads chain and key.
///
/// # Errors
///
/// Says what is wrong with them.
pub(super) fn load(files: &Tls) -> Result<Identity, String> {
    install_default_crypto_provider();
    let (cert, key) = (files.cert.to_string_lossy(), files.key.to_string_lossy());
    let loaded = load_certs_and_key_files(&cert, &key).map_err(|error| error.to_string())?;
    let (chain, key) = loaded.ok_or_else(|| format!("{cert} or {key} holds no certificate, or no key"))?;
    let expires = expiry(chain.first().map(AsRef::as_ref).unwrap_or_default())?;
    let versions = [&version::TLS12, &version::TLS13];
    let builder = ServerConfig::builder_with_protocol_versions(&versions).with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Identity { config: Arc::new(config), expires })
}

/// When a certificate is over, since 1970-01-01 UTC.
fn expiry(certificate: &[u8]) -> Result<Duration, String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    Ok(Duration::from_secs(certificate.validity().not_after.timestamp().try_into().unwrap_or(0)))
}
