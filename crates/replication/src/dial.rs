//! Connects to a peer, and makes sure that it is the one that was meant.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::refusals::{Refusal, Refusals};
use crate::stream::{Caller, PeerStream};
use crate::tls::{PeerTls, reason};
use crate::world::Net;

/// Makes the connections of one channel; whoever owns it limits the time.
#[derive(Clone)]
pub(crate) struct Dial {
    /// `host:port`, resolved anew each time.
    pub(crate) address: String,
    /// The node that must answer there, if it is known.
    pub(crate) name: Option<String>,
    pub(crate) tls: Option<Arc<PeerTls>>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) net: Arc<dyn Net>,
}

impl Dial {
    async fn connect(self) -> io::Result<TokioIo<PeerStream>> {
        let stream = self.net.connect(&self.address).await?;
        let Some(tls) = &self.tls else {
            return Ok(TokioIo::new(PeerStream::plain(stream, None)));
        };
        let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let connected = TlsConnector::from(tls.client()).connect(nobody, stream).await;
        let stream = connected.inspect_err(|error| self.tell(error))?;
        let stream = PeerStream::tls(stream, None);
        if let (Some(wanted), Caller::Certified(found)) = (&self.name, stream.caller())
            && found != *wanted
        {
            let address = &self.address;
            let error = io::Error::other(format!(
                "at {address} node `{wanted}` was expected and the certificate is of `{found}`"
            ));
            self.refusals.log(Refusal::Dial, format_args!("{error}"));
            return Err(error);
        }
        Ok(TokioIo::new(stream))
    }

    /// A peer that is gone in the middle of a handshake is no news; a certificate is.
    fn tell(&self, error: &io::Error) {
        if let Some(error) = tls_cause(error) {
            let why = reason(error);
            let address = &self.address;
            self.refusals.log(Refusal::Dial, format_args!("no TLS with peer {address}: {why}"));
        }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<PeerStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _address: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// What TLS has to say in the chain of causes of `error`, if it has.
pub(crate) fn tls_cause<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        // An I/O error hides the one it was made of from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
