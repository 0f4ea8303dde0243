package raftcached.tests;

import java.io.IOException;
import javax.servlet.ServletException;
import javax.servlet.http.HttpServletResponse;
import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.valves.ValveBase;

/**
 * Hands a request back to the balancer when this Tomcat has lost its node.
 *
 * <p>memcached-session-manager treats a get that fails like a session that does not exist: it makes
 * a new one, overwrites the cookie, and answers 200. A set that fails is only logged. Both are
 * invisible to a balancer, so a cluster that lost nothing still logs the user out. This valve makes
 * them visible, as 503:
 *
 * <ul>
 *   <li>before the request, when there is no connection to the node: nothing has happened, any
 *       retry is safe;
 *   <li>after the request, when the connection was lost meanwhile: the answer may rest on a failed
 *       get, or its set may not have been stored. The set may also have been applied, so a retried
 *       request may count twice. It is never lost.
 * </ul>
 *
 * <p>It sits on the engine, outside the manager's own valves, so that the backup is over when it
 * looks. A response larger than Tomcat's buffer is committed by then and cannot be taken back.
 */
final class SessionGuardValve extends ValveBase {
    private final NodeConnection connection;

    SessionGuardValve(NodeConnection connection) {
        super(true);
        this.connection = connection;
    }

    @Override
    public void invoke(Request request, Response response) throws IOException, ServletException {
        // Order matters: a loss between the two reads must not be missed.
        long lostBefore = connection.lostCount();
        if (!connection.isUp()) {
            response.sendError(HttpServletResponse.SC_SERVICE_UNAVAILABLE);
            return;
        }
        getNext().invoke(request, response);
        // The client marks the node as down before it fails what is in flight, and reports the loss
        // only after that: so ask both.
        boolean lost = !connection.isUp() || connection.lostCount() != lostBefore;
        if (lost && !response.isCommitted()) {
            response.reset(); // Drops the new session's cookie too.
            response.sendError(HttpServletResponse.SC_SERVICE_UNAVAILABLE);
        }
    }
}
