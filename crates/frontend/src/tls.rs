//! TLS for clients: memcached's `-Z` and its `ssl_` options.
//!
//! ```text
//!   files ──load──▶ Material ──▶ new connections
//!     │                ▲
//!     └──refresh_certs─┘
//! ```
//!
//! TLS 1.2 and 1.3 are spoken; an older version as the least one means 1.2. Connections that exist
//! keep the certificate that they began with. A session is resumed, if at all, only as long as the
//! certificates in force are those that it was begun under.

mod ciphers;
mod files;
mod handshake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub use files::{BadFile, TlsFile};
pub(crate) use handshake::shake_hands;

use files::FileBytes;

/// What the operator decides about TLS (`-Z`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The node's certificate, and what is between it and a CA that clients know, in PEM
    /// (`ssl_chain_cert`).
    pub chain_cert: PathBuf,
    /// The key of that certificate, in PEM (`ssl_key`).
    pub key: PathBuf,
    /// Certificates of the CAs that sign clients' certificates, in PEM (`ssl_ca_cert`).
    pub ca: Option<PathBuf>,
    /// Whether clients show a certificate (`ssl_verify_mode`).
    pub verify: Verify,
    /// The least version (`ssl_min_version`): 0 to 3 for TLS 1.0 to 1.3; 0 and 1 mean 1.2.
    pub min_version: u8,
    /// Names of cipher suites, OpenSSL's or IANA's, with `:` between them (`ssl_ciphers`); `None`:
    /// all. As with OpenSSL, those of TLS 1.3 stay unless some of them are named.
    pub ciphers: Option<String>,
    /// Whether clients may resume sessions (`ssl_session_cache`).
    pub session_cache: bool,
}

/// Whether clients show a certificate, signed by [`TlsOptions::ca`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// 0: they are not asked for one.
    #[default]
    None,
    /// 1: a bad one is refused, none is not.
    Request,
    /// 2: they have to.
    Require,
    /// 3: they have to, and are not asked again, which nobody is.
    Once,
}

/// Why clients cannot be served over TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Certificates are to be verified, and there is no CA to do it by.
    #[error("clients' certificates cannot be verified without a CA's (ssl_ca_cert)")]
    CaMissing,
    /// A cipher suite has no such name, or is not among those that are safe to use.
    #[error("cipher suite `{name}` is unknown (known: {})", ciphers::known())]
    CipherUnknown {
        /// The name.
        name: String,
    },
    /// A file cannot be used.
    #[error("{}: {why}", .path.display())]
    File {
        /// What it is for.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: BadFile,
    },
    /// The version and the cipher suites leave nothing to speak.
    #[error("version and cipher suites do not go together: {0}")]
    Nothing(#[source] rustls::Error),
    /// There is no such version.
    #[error("least TLS version {0}: must be 0 to 3, for TLS 1.0 to 1.3")]
    Version(u8),
}

/// The certificate that clients are shown, and the rules that they are served by.
#[derive(Debug)]
pub struct ClientTls {
    options: TlsOptions,
    current: Mutex<Material>,
    /// Held while the files are read, so that what was read last is what is in force.
    reading: Mutex<()>,
}

/// What connections are begun with.
#[derive(Debug)]
struct Material {
    /// What the files held, to notice that they have changed.
    bytes: FileBytes,
    config: Arc<ServerConfig>,
    /// When that was seen last.
    read_at: Instant,
}

impl ClientTls {
    /// Reads the files, and checks that they and the other options go together.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; it names the file, or the option by its value.
    pub fn load(options: TlsOptions) -> Result<Arc<Self>, TlsError> {
        if options.min_version < 2 {
            tracing::warn!("TLS 1.0 and 1.1 are not spoken: the least version is 1.2");
        }
        let material = Material::read(&options)?;
        let (current, reading) = (Mutex::new(material), Mutex::default());
        Ok(Arc::new(Self { options, current, reading }))
    }

    /// Reads the files again, for connections from now on, and says whether they have changed.
    /// Blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::load`]; what is in force stays as it is.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let _reading = self.reading.lock();
        let bytes = FileBytes::read(&self.options)?;
        if bytes == self.current.lock().bytes {
            // Sessions that clients have from before stay good.
            self.current.lock().read_at = Instant::now();
            return Ok(false);
        }
        let material = Material::new(bytes, &self.options)?;
        *self.current.lock() = material;
        tracing::info!("new certificates are in use for new connections of clients");
        Ok(true)
    }

    /// How long ago the files were read without an error (`time_since_server_cert_refresh`).
    pub fn since_refresh(&self) -> Duration {
        self.current.lock().read_at.elapsed()
    }

    /// Where the files are, and the rules.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// For connections that begin now.
    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.lock().config)
    }
}

impl Material {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        Self::new(FileBytes::read(options)?, options)
    }

    fn new(bytes: FileBytes, options: &TlsOptions) -> Result<Self, TlsError> {
        let versions: &[&'static SupportedProtocolVersion] = match options.min_version {
            0..=2 => &[&TLS12, &TLS13],
            3 => &[&TLS13],
            other => return Err(TlsError::Version(other)),
        };
        let mut provider = default_provider();
        if let Some(names) = &options.ciphers {
            ciphers::restrict(&mut provider.cipher_suites, names)?;
        }
        let key = bytes.certified_key(options, &provider)?;
        let roots = bytes.roots(options)?;
        let provider = Arc::new(provider);
        let verifier = verifier(options, roots, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsError::Nothing)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        if options.session_cache {
            config.session_storage = ServerSessionMemoryCache::new(SESSION_COUNT_MAX);
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { bytes, config: Arc::new(config), read_at: Instant::now() })
    }
}

fn verifier(
    options: &TlsOptions,
    roots: Option<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if options.verify == Verify::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let (roots, path) = roots.zip(options.ca.as_ref()).ok_or(TlsError::CaMissing)?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if options.verify == Verify::Request {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| TlsError::File {
        file: TlsFile::Ca,
        path: path.clone(),
        why: BadFile::Unusable(error.to_string()),
    })
}

/// Sessions that are remembered; each takes some hundred bytes, and the client's certificate.
const SESSION_COUNT_MAX: usize = 1024;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
