//! Certificates of the listeners, exchanged while they serve.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::tls::{ServerConfig, install_default_crypto_provider, load_certs_and_key_files, version};

use crate::config::Tls;

/// The protocols that a listener offers, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A listener's certificate: new connections meet the newest.
pub(super) struct Certificate {
    current: ArcSwap<ServerConfig>,
}

impl Certificate {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self { current: ArcSwap::new(config) }
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    pub(super) fn replace(&self, config: Arc<ServerConfig>) {
        self.current.store(config);
    }
}

/// Reads chain and key.
///
/// # Errors
///
/// Says what is wrong with them.
pub(super) fn load(files: &Tls) -> Result<Arc<ServerConfig>, String> {
    install_default_crypto_provider();
    let (cert, key) = (files.cert.to_string_lossy(), files.key.to_string_lossy());
    let loaded = load_certs_and_key_files(&cert, &key).map_err(|error| error.to_string())?;
    let (chain, key) = loaded.ok_or_else(|| format!("{cert} or {key} holds no certificate, or no key"))?;
    let versions = [&version::TLS12, &version::TLS13];
    let builder = ServerConfig::builder_with_protocol_versions(&versions).with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
