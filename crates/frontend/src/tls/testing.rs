//! Certificates for tests.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::TlsOptions;

/// A CA with a directory for what it signs.
pub(crate) struct TestCa {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Signs a certificate for `name`, in `NAME.crt` and `NAME.key`.
    pub(crate) fn issue(&self, name: &str) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Options with the certificate of `localhost`, which is issued.
    pub(crate) fn options(&self) -> TlsOptions {
        self.issue("localhost");
        TlsOptions {
            chain_cert: self.path("localhost.crt"),
            key: self.path("localhost.key"),
            ca: Some(self.path("ca.crt")),
            verify: super::Verify::None,
            min_version: 2,
            ciphers: None,
            session_cache: false,
        }
    }

    /// A file with that content.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(Path::new(&path), bytes).unwrap();
        path
    }
}
