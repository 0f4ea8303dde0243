//! How a client's connection becomes one over TLS.

use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ClientTls;
use crate::connection::linger;
use crate::server::Context;

/// Shakes hands with the client on `stream`; `None` if that came to nothing, and is counted.
///
/// The client has [`HANDSHAKE_TIMEOUT`], and rustls keeps no more than 64 KiB of what it sends
/// until it is done. At the node's shutdown it is given up.
pub(crate) async fn shake_hands<S>(
    tls: &ClientTls,
    stream: S,
    context: &Context,
) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accept = TlsAcceptor::from(tls.config()).accept(stream).into_fallible();
    let accepted = tokio::select! {
        accepted = timeout(HANDSHAKE_TIMEOUT, accept) => accepted,
        () = context.shared.drain_started() => return None,
    };
    match accepted {
        Ok(Ok(stream)) => {
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            if tls.options.session_cache && !resumed {
                context.counters.ssl_new_sessions.add(1);
            }
            Some(stream)
        }
        failed => {
            context.counters.ssl_handshake_errors.add(1);
            if let Ok(Err((_, mut stream))) = failed {
                // Who speaks no TLS gets to see an end, not a reset.
                let _ = linger(&mut stream).await;
            }
            None
        }
    }
}

/// For all of a handshake, of which a client far away needs two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
