//! Certificates for tests, good and bad.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;
use tempfile::TempDir;

use super::{PeerTls, PeerTlsFiles, node_uri};

/// A CA with a directory for what it signs.
pub(crate) struct TestCa {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The files of `name`; `change` makes its certificate bad.
    pub(crate) fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> PeerTlsFiles {
        let mut params = CertificateParams::default();
        let uri = node_uri(name).try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = PeerTlsFiles {
            ca: self.path("ca.crt"),
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        write_key(&files.key, key.serialize_pem().as_bytes());
        files
    }

    /// Good files of `name`.
    pub(crate) fn issue(&self, name: &str) -> PeerTlsFiles {
        self.issue_with(name, |_| {})
    }

    /// What the node called `name` makes connections with.
    pub(crate) fn tls(&self, name: &str) -> PeerTls {
        PeerTls::load(self.issue(name), name).unwrap()
    }
}

/// What the owner of a bad certificate makes connections with: `good` tells it whom to trust.
pub(crate) fn client_with(good: &PeerTls, files: &PeerTlsFiles) -> Arc<ClientConfig> {
    let provider = rustls::crypto::ring::default_provider();
    let key = files.certified_key(&files.read().unwrap(), &provider).unwrap();
    let mut config = (*good.client()).clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    Arc::new(config)
}

/// Writes a key as it must be, for its owner alone.
pub(crate) fn write_key(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
