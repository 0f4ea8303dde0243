//! Mutual TLS between nodes: who a peer is, proven by a certificate.
//!
//! One CA signs the certificates of one cluster's nodes and nothing else. A certificate carries its
//! node's name as the URI `raftcached://node/NAME`, and may be used for both ends of a connection.
//! Both sides of every connection demand such a certificate, and speak TLS 1.3.
//!
//! ```text
//!   files ──load──▶ Material ──▶ new connections
//!     │                ▲
//!     └──every 2 s and when told, if they have changed and fit together
//! ```
//!
//! Sessions are not resumed: a resumed one would be trusted by a certificate that was checked long
//! ago, perhaps by a CA that has been replaced since.

mod certificate;
mod files;
mod reload;
mod verifier;

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use certificate::node_uri;
pub(crate) use certificate::{node_name, reason};
pub use files::{BadFile, PeerTlsFiles, TlsError, TlsFile};
pub(crate) use reload::keep_fresh;

use files::FileBytes;
use verifier::NodeVerifier;

/// A node's certificate and key, and the CA that its peers' certificates must come from.
#[derive(Debug)]
pub struct PeerTls {
    files: PeerTlsFiles,
    /// The node's own name, which its certificate must carry.
    name: String,
    current: Mutex<Arc<Material>>,
    /// Held while the files are read, so that what was read last is what is in force.
    reading: Mutex<()>,
}

/// What connections are made with.
#[derive(Debug)]
struct Material {
    /// What the files held, to notice that they have changed.
    bytes: FileBytes,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl PeerTls {
    /// Reads the files of the node called `name`, and checks them as a peer will.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why.
    pub fn load(files: PeerTlsFiles, name: &str) -> Result<Self, TlsError> {
        let bytes = files.read()?;
        let material = Material::new(bytes, &files, name, UnixTime::now())?;
        let current = Mutex::new(Arc::new(material));
        Ok(Self { files, name: name.to_owned(), current, reading: Mutex::default() })
    }

    /// Where they are read from.
    pub fn files(&self) -> &PeerTlsFiles {
        &self.files
    }

    /// For connections that peers make from now on.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.lock().server)
    }

    /// For connections to peers from now on. Which node answers is for the caller to compare.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.lock().client)
    }

    /// Reads the files again, for connections from now on, and says whether something new is in
    /// force. Blocks.
    ///
    /// # Errors
    ///
    /// As [`PeerTls::load`]; what is in force stays as it is.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let _reading = self.reading.lock();
        let bytes = self.files.read()?;
        if bytes == self.current.lock().bytes {
            return Ok(false);
        }
        let material = Material::new(bytes, &self.files, &self.name, UnixTime::now())?;
        *self.current.lock() = Arc::new(material);
        tracing::info!("new certificates are in use for new connections to peers");
        Ok(true)
    }

    /// Whether peers would still accept the own certificate at `time`.
    fn check_at(&self, time: UnixTime) -> Result<(), TlsError> {
        let bytes = self.current.lock().bytes.clone();
        Material::new(bytes, &self.files, &self.name, time).map(|_| ())
    }
}

impl Material {
    fn new(
        bytes: FileBytes,
        files: &PeerTlsFiles,
        name: &str,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(files.roots(&bytes)?);
        let key = files.certified_key(&bytes, &provider)?;
        let verifier = verifier(roots, &provider).map_err(|why| files.bad(TlsFile::Ca, why))?;
        let wrong = |why| files.bad(TlsFile::Certificate, why);
        let (own, intermediates) = key.cert.split_first().ok_or(wrong(BadFile::Empty))?;
        verifier
            .verify(own, intermediates, now)
            .map_err(|error| wrong(BadFile::unusable(&error)))?;
        let found = node_name(own).unwrap_or_default();
        if found != name {
            return Err(wrong(BadFile::OtherNode { found, wanted: name.to_owned() }));
        }
        let (server, client) =
            configs(verifier, key, provider).map_err(|error| wrong(BadFile::unusable(&error)))?;
        Ok(Self { bytes, server, client })
    }
}

fn verifier(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<NodeVerifier>, BadFile> {
    let verifier = NodeVerifier::new(roots, provider);
    verifier.map(Arc::new).map_err(|error| BadFile::Unusable(error.to_string()))
}

fn configs(
    verifier: Arc<NodeVerifier>,
    key: CertifiedKey,
    provider: Arc<CryptoProvider>,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), rustls::Error> {
    let key = Arc::new(SingleCertAndKey::from(key));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let mut server = server
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::<NodeVerifier>::clone(&verifier))
        .with_cert_resolver(Arc::<SingleCertAndKey>::clone(&key));
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        // Stricter than the usual one, but for the host's name: a node is known by its own.
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(key);
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    Ok((Arc::new(server), Arc::new(client)))
}

const ALPN: &[u8] = b"h2";

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
