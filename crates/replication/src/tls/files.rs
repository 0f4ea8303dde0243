//! The three files, read with suspicion.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::certificate::reason;

/// Where a node finds its certificate; all of them PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTlsFiles {
    /// Certificates of the CA that signs the nodes' certificates; more than one while it changes.
    pub ca: PathBuf,
    /// The node's own certificate, and what is between it and the CA, if anything.
    pub certificate: PathBuf,
    /// The key of that certificate; nobody but its owner may read it.
    pub key: PathBuf,
}

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// [`PeerTlsFiles::ca`]
    Ca,
    /// [`PeerTlsFiles::certificate`]
    Certificate,
    /// [`PeerTlsFiles::key`]
    Key,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct TlsError {
    /// Which one.
    pub file: TlsFile,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub why: BadFile,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadFile {
    /// It holds nothing of what it should, in PEM.
    #[error("there is nothing in it that could be used (PEM is needed)")]
    Empty,
    /// Others than its owner can read the key.
    #[error("mode {mode:04o} lets others read the key: chmod 600 is needed")]
    Exposed {
        /// Permission bits.
        mode: u32,
    },
    /// It is longer than certificates and keys ever are.
    #[error("longer than {FILE_LEN_MAX} bytes: this is no certificate or key")]
    Long,
    /// The key is not the certificate's.
    #[error("this is not the key of the certificate")]
    Mismatch,
    /// The certificate is another node's.
    #[error("the certificate is of node `{found}`, and this node is `{wanted}`")]
    OtherNode {
        /// In the certificate.
        found: String,
        /// This node.
        wanted: String,
    },
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Its content would be refused by peers, or by ourselves.
    #[error("{0}")]
    Unusable(String),
}

impl BadFile {
    pub(super) fn unusable(error: &rustls::Error) -> Self {
        Self::Unusable(reason(error))
    }
}

/// The files' content. The key is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FileBytes {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileBytes")
    }
}

impl PeerTlsFiles {
    pub(super) fn read(&self) -> Result<FileBytes, TlsError> {
        Ok(FileBytes {
            ca: self.read_one(TlsFile::Ca)?,
            certificate: self.read_one(TlsFile::Certificate)?,
            key: self.read_one(TlsFile::Key)?,
        })
    }

    /// The CA's certificates.
    pub(super) fn roots(&self, bytes: &FileBytes) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(TlsFile::Ca, &bytes.ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| self.bad(TlsFile::Ca, BadFile::unusable(&error)))?;
        }
        Ok(roots)
    }

    /// The certificate with its key, which are checked to belong together.
    pub(super) fn certified_key(
        &self,
        bytes: &FileBytes,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let chain = self.certificates(TlsFile::Certificate, &bytes.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes.key);
        let key = key.map_err(|_| self.bad(TlsFile::Key, BadFile::Empty))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let mismatch =
                matches!(error, rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
            let why = if mismatch { BadFile::Mismatch } else { BadFile::unusable(&error) };
            self.bad(TlsFile::Key, why)
        })
    }

    pub(super) fn bad(&self, file: TlsFile, why: BadFile) -> TlsError {
        TlsError { file, path: self.path(file).to_owned(), why }
    }

    fn path(&self, file: TlsFile) -> &Path {
        match file {
            TlsFile::Ca => &self.ca,
            TlsFile::Certificate => &self.certificate,
            TlsFile::Key => &self.key,
        }
    }

    fn certificates(
        &self,
        file: TlsFile,
        bytes: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        certificates.ok_or_else(|| self.bad(file, BadFile::Empty))
    }

    fn read_one(&self, file: TlsFile) -> Result<Vec<u8>, TlsError> {
        let read = || {
            // The file that is open is the one that is checked.
            let mut open = File::open(self.path(file)).map_err(BadFile::Read)?;
            let metadata = open.metadata().map_err(BadFile::Read)?;
            let mode = metadata.mode() & 0o7777;
            if file == TlsFile::Key && mode & 0o077 != 0 {
                return Err(BadFile::Exposed { mode });
            }
            let mut bytes = Vec::new();
            open.by_ref().take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(BadFile::Read)?;
            if FILE_LEN_MAX < bytes.len() as u64 {
                return Err(BadFile::Long);
            }
            Ok(bytes)
        };
        read().map_err(|why| self.bad(file, why))
    }
}

const FILE_LEN_MAX: u64 = 1024 * 1024;
