//! Connections to peers: kept, shared, and opened again when they break.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::dial::Dial;
use crate::refusals::Refusals;
use crate::tls::PeerTls;
use crate::types::{Member, ReplicaId};
use crate::version::Versions;
use crate::world::Net;

/// One connection for what is urgent and one for what is long, per address and node.
pub(crate) struct Peers {
    net: Arc<dyn Net>,
    tls: Option<Arc<PeerTls>>,
    refusals: Arc<Refusals>,
    channels: Mutex<HashMap<Target, Channel>>,
}

/// What a channel leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Target {
    address: String,
    /// The node that must answer there, if it is known.
    name: Option<String>,
    traffic: Traffic,
}

/// A snapshot must not stand in a heartbeat's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Traffic {
    /// Appends, heartbeats, votes.
    Urgent,
    /// Batches and read barriers on their way to the leader, questions.
    Forward,
    /// Snapshots.
    Bulk,
}

/// `host:port` is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a peer address: host:port is expected")]
pub(crate) struct BadAddress(pub(crate) String);

impl Peers {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        tls: Option<Arc<PeerTls>>,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { net, tls, refusals, channels: Mutex::default() }
    }

    /// The channel to `member`: with TLS, to the node of that name and no other.
    pub(crate) fn channel_to(
        &self,
        member: &Member,
        traffic: Traffic,
    ) -> Result<Channel, BadAddress> {
        self.open(&member.peer, Some(&member.name), traffic)
    }

    /// The channel to whichever node is at `address`.
    pub(crate) fn channel(&self, address: &str, traffic: Traffic) -> Result<Channel, BadAddress> {
        self.open(address, None, traffic)
    }

    /// Connects when it is used, resolves host names each time.
    fn open(
        &self,
        address: &str,
        name: Option<&str>,
        traffic: Traffic,
    ) -> Result<Channel, BadAddress> {
        let mut channels = self.channels.lock();
        let (address, name) = (address.to_owned(), name.map(str::to_owned));
        let target = Target { address: address.clone(), name: name.clone(), traffic };
        if let Some(channel) = channels.get(&target) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|_| BadAddress(address.clone()))?;
        let (tls, refusals) = (self.tls.clone(), Arc::clone(&self.refusals));
        let dial = Dial { address, name, tls, refusals, net: Arc::clone(&self.net) };
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_LEN)
            .initial_connection_window_size(WINDOW_LEN)
            .connect_with_connector_lazy(dial);
        channels.insert(target, channel.clone());
        Ok(channel)
    }
}

/// Who calls whom, in which cluster: checked by the one who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) cluster: u64,
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
}

impl Envelope {
    /// A request with this envelope.
    pub(crate) fn wrap<T>(self, message: T) -> Request<T> {
        let mut request = greeting(message);
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER, MetadataValue::from(self.cluster));
        metadata.insert(FROM, MetadataValue::from(self.from));
        metadata.insert(TO, MetadataValue::from(self.to));
        request
    }

    /// The envelope of a request, if it has a whole one.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |name| headers.get(name)?.to_str().ok()?.parse().ok();
        Some(Self { cluster: number(CLUSTER)?, from: number(FROM)?, to: number(TO)? })
    }
}

/// A request without an envelope, for calls between nodes that share no cluster yet.
pub(crate) fn greeting<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(versions) = MetadataValue::try_from(Versions::OURS.to_string()) {
        request.metadata_mut().insert(VERSION, versions);
    }
    request
}

/// The versions that a caller speaks.
pub(crate) fn versions(headers: &HeaderMap) -> Option<Versions> {
    headers.get(VERSION)?.to_str().ok()?.parse().ok()
}

const VERSION: &str = "raftcached-version";
const CLUSTER: &str = "raftcached-cluster";
const FROM: &str = "raftcached-from";
const TO: &str = "raftcached-to";

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A link that swallows packets is given up after both together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(1000);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1000);

/// Bytes in flight on one stream before the receiver must have read them.
pub(crate) const WINDOW_LEN: u32 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn an_envelope_survives_the_wire() {
        let envelope = Envelope { cluster: u64::MAX, from: 1, to: 7 };
        let headers = envelope.wrap(()).into_parts().0.into_headers();
        assert_eq!(Envelope::read(&headers), Some(envelope));
        assert_eq!(versions(&headers), Some(Versions::OURS));
        assert_eq!(Envelope::read(&HeaderMap::new()), None);
        assert_eq!(versions(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_named() {
        let error = Peers::new(World::real().net, None, Arc::default())
            .channel("no port here", Traffic::Bulk)
            .unwrap_err();
        assert!(error.to_string().contains("no port here"));
    }
}
