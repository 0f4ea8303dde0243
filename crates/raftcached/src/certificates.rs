//! Certificates, and users, are taken from their files when somebody says so: SIGHUP,
//! `POST /v1/certs/reload`.

use std::sync::Arc;

use frontend::{ClientTls, Credentials};
use replication::tls::{PeerTls, PeerTlsFiles};
use serde::Serialize;
use tokio::signal::unix::Signal;

/// What this node proves itself with.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    /// To its peers, if anything.
    pub(crate) peers: Option<Arc<PeerTls>>,
    /// To clients, if anything.
    pub(crate) clients: Option<Arc<ClientTls>>,
}

/// What is in force now.
#[derive(Debug, Serialize)]
pub(crate) struct Loaded {
    /// Whether it was not before.
    changed: bool,
    ca: String,
    certificate: String,
    key: String,
}

impl Certificates {
    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why; what is in force stays as it is.
    pub(crate) async fn reload(&self) -> anyhow::Result<Loaded> {
        let Some(tls) = self.peers.clone() else {
            anyhow::bail!("this node has no certificates: it was started without --peer-ca");
        };
        // Reading a file can take its time.
        let reload = move || tls.reload().map(|changed| Loaded::new(changed, tls.files()));
        Ok(tokio::task::spawn_blocking(reload).await??)
    }
}

impl Loaded {
    fn new(changed: bool, files: &PeerTlsFiles) -> Self {
        let PeerTlsFiles { ca, certificate, key } = files;
        let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
        Self { changed, ca, certificate, key }
    }
}

/// Reloads at each SIGHUP, which never ends the program: certificates, and the users that clients can
/// be. Never resolves.
pub(crate) async fn reload_on_hangup(
    mut hangup: Signal,
    certificates: Certificates,
    users: Option<Arc<Credentials>>,
) {
    while hangup.recv().await.is_some() {
        if certificates.peers.is_some() {
            match certificates.reload().await {
                Ok(Loaded { changed, .. }) => {
                    tracing::info!(changed, "SIGHUP: certificates were read");
                }
                Err(error) => tracing::error!("SIGHUP: nothing was loaded: {error:#}"),
            }
        }
        if let Some(tls) = certificates.clients.clone() {
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(changed)) => {
                    tracing::info!(changed, "SIGHUP: the certificate for clients was read");
                }
                Ok(Err(error)) => {
                    tracing::error!("SIGHUP: the certificate for clients stays: {error}");
                }
                Err(error) => {
                    tracing::error!("SIGHUP: the certificate for clients stays: {error}");
                }
            }
        }
        if let Some(users) = users.clone() {
            // Reading a file can take its time.
            match tokio::task::spawn_blocking(move || users.reload()).await {
                Ok(Ok(())) => tracing::info!("SIGHUP: users were read"),
                Ok(Err(error)) => tracing::error!("SIGHUP: the users stay as they were: {error}"),
                Err(error) => tracing::error!("SIGHUP: the users stay as they were: {error}"),
            }
        }
        let nothing = certificates.peers.is_none() && certificates.clients.is_none();
        if nothing && users.is_none() {
            tracing::info!("SIGHUP: there is nothing to read again");
        }
    }
    // The runtime is gone, and this with it.
    std::future::pending().await
}
