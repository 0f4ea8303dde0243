package raftcached.tests;

import de.javakaffee.web.msm.MemcachedBackupSessionManager;
import de.javakaffee.web.msm.MemcachedNodesManager;
import de.javakaffee.web.msm.MemcachedSessionService;
import de.javakaffee.web.msm.RequestTrackingContextValve;
import de.javakaffee.web.msm.CurrentRequest;
import de.javakaffee.web.msm.RequestTrackingHostValve;
import de.javakaffee.web.msm.Statistics;
import de.javakaffee.web.msm.storage.MemcachedStorageClient;
import de.javakaffee.web.msm.storage.StorageClient;
import java.io.IOException;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.FailureMode;
import net.spy.memcached.MemcachedClient;
import org.apache.catalina.Engine;
import org.apache.catalina.LifecycleException;

/**
 * The session manager, with a client that fails at once when its node is gone, and the
 * {@link SessionGuardValve} that hands such requests back to the balancer.
 *
 * <p>The client that the manager makes for a node without an id waits for a reconnect instead
 * (FailureMode.Redistribute with nobody to redistribute to): each operation of a request takes its
 * whole timeout, three or four times in a row. With a node id the manager would ask for
 * FailureMode.Cancel itself, but then one slow write makes it call the node unavailable for a
 * second and replace every session.
 */
public final class GuardedSessionManager extends MemcachedBackupSessionManager {
    private String protocol = "text";
    private NodeConnection connection;

    /** Made by Tomcat from {@code className} in context.xml, or by hand. */
    public GuardedSessionManager() {
        _msm = new Service(this);
    }

    @Override
    public void setMemcachedProtocol(String memcachedProtocol) {
        super.setMemcachedProtocol(memcachedProtocol);
        protocol = memcachedProtocol;
    }

    @Override
    public void startInternal() throws LifecycleException {
        super.startInternal();
        Engine engine = (Engine) getContext().getParent().getParent();
        engine.getPipeline().addValve(new SessionGuardValve(connection));
    }

    private StorageClient connect(MemcachedNodesManager nodes) {
        connection = new NodeConnection();
        ConnectionFactoryBuilder factory = new ConnectionFactoryBuilder()
                .setProtocol("binary".equals(protocol) ? Protocol.BINARY : Protocol.TEXT)
                .setFailureMode(FailureMode.Cancel)
                .setOpTimeout(getOperationTimeout())
                .setMaxReconnectDelay(Integer.getInteger("msm.maxReconnectDelay", 30));
        try {
            MemcachedClient client =
                    new MemcachedClient(factory.build(), nodes.getAllMemcachedAddresses());
            connection.watch(client);
            return new MemcachedStorageClient(client);
        } catch (IOException e) {
            throw new IllegalStateException("cannot open a socket", e);
        }
    }

    /** As the manager's own, except for where the client comes from. */
    private final class Service extends MemcachedSessionService {
        Service(SessionManager manager) {
            super(manager);
        }

        @Override
        protected StorageClient createStorageClient(
                MemcachedNodesManager nodes, Statistics statistics) {
            return connect(nodes);
        }

        @Override
        protected RequestTrackingContextValve createRequestTrackingContextValve(String cookie) {
            RequestTrackingContextValve valve = super.createRequestTrackingContextValve(cookie);
            valve.setAsyncSupported(true);
            return valve;
        }

        @Override
        protected RequestTrackingHostValve createRequestTrackingHostValve(
                String cookie, CurrentRequest currentRequest) {
            RequestTrackingHostValve valve =
                    super.createRequestTrackingHostValve(cookie, currentRequest);
            valve.setAsyncSupported(true);
            return valve;
        }
    }
}
