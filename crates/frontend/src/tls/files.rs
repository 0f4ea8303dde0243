//! The files, read with suspicion.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::{TlsError, TlsOptions};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsOptions::ca`]
    Ca,
    /// [`TlsOptions::chain_cert`]
    ChainCert,
    /// [`TlsOptions::key`]
    Key,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadFile {
    /// It holds nothing of what it should, in PEM.
    #[error("there is nothing in it that could be used (PEM is needed)")]
    Empty,
    /// It is longer than certificates and keys ever are.
    #[error("longer than {FILE_LEN_MAX} bytes: this is no certificate or key")]
    Long,
    /// The key is not the certificate's.
    #[error("this is not the key of the certificate")]
    Mismatch,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Its content cannot be worked with.
    #[error("{0}")]
    Unusable(String),
}

/// The files' content. The key is never printed.
#[derive(PartialEq, Eq)]
pub(super) struct FileBytes {
    ca: Option<Vec<u8>>,
    chain_cert: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileBytes")
    }
}

impl FileBytes {
    pub(super) fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let ca = options.ca.as_deref().map(|path| read(TlsFile::Ca, path));
        Ok(Self {
            ca: ca.transpose()?,
            chain_cert: read(TlsFile::ChainCert, &options.chain_cert)?,
            key: read(TlsFile::Key, &options.key)?,
        })
    }

    /// The CAs' certificates, if there are to be any.
    pub(super) fn roots(&self, options: &TlsOptions) -> Result<Option<RootCertStore>, TlsError> {
        let Some((bytes, path)) = self.ca.as_deref().zip(options.ca.as_deref()) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(TlsFile::Ca, path, bytes)? {
            let added = roots.add(certificate);
            added.map_err(|error| bad(TlsFile::Ca, path, BadFile::Unusable(error.to_string())))?;
        }
        Ok(Some(roots))
    }

    /// The certificate with its key, which are checked to belong together.
    pub(super) fn certified_key(
        &self,
        options: &TlsOptions,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let chain = certificates(TlsFile::ChainCert, &options.chain_cert, &self.chain_cert)?;
        let bad_key = |why| bad(TlsFile::Key, &options.key, why);
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| bad_key(BadFile::Empty))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            if error == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                return bad_key(BadFile::Mismatch);
            }
            let why = BadFile::Unusable(error.to_string());
            if let rustls::Error::InvalidCertificate(_) = error {
                bad(TlsFile::ChainCert, &options.chain_cert, why)
            } else {
                bad_key(why)
            }
        })
    }
}

fn certificates(
    file: TlsFile,
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    certificates.ok_or_else(|| bad(file, path, BadFile::Empty))
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut open = File::open(path).map_err(BadFile::Read)?;
        let mode = open.metadata().map_err(BadFile::Read)?.mode() & 0o7777;
        if file == TlsFile::Key && mode & 0o077 != 0 {
            // memcached takes it, and so do those who come from there.
            tracing::warn!(path = %path.display(), "mode {mode:04o} lets others read the key");
        }
        let mut bytes = Vec::new();
        open.by_ref().take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(BadFile::Read)?;
        if FILE_LEN_MAX < bytes.len() as u64 {
            return Err(BadFile::Long);
        }
        Ok(bytes)
    };
    read().map_err(|why| bad(file, path, why))
}

fn bad(file: TlsFile, path: &Path, why: BadFile) -> TlsError {
    TlsError::File { file, path: path.to_owned(), why }
}

const FILE_LEN_MAX: u64 = 1024 * 1024;
