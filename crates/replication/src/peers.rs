//! Connections to peers: kept, shared, and opened again when they break.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::types::ReplicaId;

/// One connection for what is urgent and one for what is long, per address.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    channels: Mutex<HashMap<(String, Traffic), Channel>>,
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
    /// The channel to `address`; connects when it is used, resolves host names each time.
    pub(crate) fn channel(&self, address: &str, traffic: Traffic) -> Result<Channel, BadAddress> {
        let mut channels = self.channels.lock();
        let key = (address.to_owned(), traffic);
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|_| BadAddress(address.to_owned()))?;
        let channel = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_LEN)
            .initial_connection_window_size(WINDOW_LEN)
            .connect_lazy();
        channels.insert(key, channel.clone());
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
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER, MetadataValue::from(self.cluster));
        metadata.insert(FROM, MetadataValue::from(self.from));
        metadata.insert(TO, MetadataValue::from(self.to));
        request
    }

    /// The envelope of a request, if it has a whole one.
    pub(crate) fn read(metadata: &MetadataMap) -> Option<Self> {
        let number = |name| metadata.get(name)?.to_str().ok()?.parse().ok();
        Some(Self { cluster: number(CLUSTER)?, from: number(FROM)?, to: number(TO)? })
    }
}

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

    #[test]
    fn an_envelope_survives_the_wire() {
        let envelope = Envelope { cluster: u64::MAX, from: 1, to: 7 };
        let request = envelope.wrap(());
        assert_eq!(Envelope::read(request.metadata()), Some(envelope));
        assert_eq!(Envelope::read(&MetadataMap::new()), None);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_named() {
        let error = Peers::default().channel("no port here", Traffic::Bulk).unwrap_err();
        assert!(error.to_string().contains("no port here"));
    }
}
