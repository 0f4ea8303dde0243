package raftcached.tests;

import java.net.SocketAddress;
import java.util.concurrent.atomic.AtomicLong;
import net.spy.memcached.ConnectionObserver;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.MemcachedNode;
import net.spy.memcached.ops.Operation;

/** What the session manager's one connection to its node is doing. */
final class NodeConnection implements ConnectionObserver {
    private final AtomicLong lostCount = new AtomicLong();
    private MemcachedClient client;

    /** Begins to watch; called once, before any request is served. */
    void watch(MemcachedClient watched) {
        client = watched;
        watched.addObserver(this);
    }

    /** Whether a request may be sent now. False from the loss until the reconnect succeeded. */
    boolean isUp() {
        return !client.getAvailableServers().isEmpty();
    }

    /** How often the connection was lost so far. */
    long lostCount() {
        return lostCount.get();
    }

    @Override
    public void connectionEstablished(SocketAddress address, int reconnectCount) {
        // isUp() asks the client itself.
    }

    /**
     * Counts, and drops what was not completely written. The client would keep the operation it was
     * writing and send it after the reconnect, however long that takes: an old session over a new
     * one that another Tomcat has stored meanwhile.
     *
     * <p>Called on the client's I/O thread, which is the only one that touches the write queue.
     */
    @Override
    public void connectionLost(SocketAddress address) {
        lostCount.incrementAndGet();
        for (MemcachedNode node : client.getConnection().getLocator().getAll()) {
            for (Operation op = node.getCurrentWriteOp(); op != null;
                    op = node.getCurrentWriteOp()) {
                op.cancel();
                node.removeCurrentWriteOp();
            }
        }
    }
}
