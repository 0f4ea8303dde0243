package raftcached.tests;

import de.javakaffee.web.msm.MemcachedBackupSessionManager;
import de.javakaffee.web.msm.storage.MemcachedStorageClient;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/**
 * One Tomcat whose sessions live in memcached, configured by {@code name=value} arguments.
 *
 * <p>{@code name}, {@code port}, {@code dir} say who it is; {@code guard=true} takes the
 * {@link GuardedSessionManager}; the others carry the names of the manager's own attributes.
 */
public final class SessionTomcat {
    private SessionTomcat() {}

    /** Serves {@code POST /count} and {@code GET /health} until killed. */
    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (String arg : args) {
            String[] pair = arg.split("=", 2);
            options.put(pair[0], pair[1]);
        }
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(options.get("dir"));
        tomcat.setPort(Integer.parseInt(options.get("port")));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        tomcat.getEngine().setJvmRoute(options.get("name"));
        // "/" without a directory: nothing is served but the servlets below.
        Context context = tomcat.addContext("", null);
        MemcachedBackupSessionManager manager = manager(options);
        context.setManager(manager);
        Tomcat.addServlet(context, "count", new CounterServlet(options.get("name")));
        context.addServletMappingDecoded("/count", "count");
        Tomcat.addServlet(context, "health", new HealthServlet(manager));
        context.addServletMappingDecoded("/health", "health");
        tomcat.start();
        tomcat.getServer().await();
    }

    private static MemcachedBackupSessionManager manager(Map<String, String> options) {
        MemcachedBackupSessionManager manager = Boolean.parseBoolean(options.get("guard"))
                ? new GuardedSessionManager() : new MemcachedBackupSessionManager();
        manager.setMemcachedNodes(options.get("memcachedNodes"));
        manager.setMemcachedProtocol(options.getOrDefault("memcachedProtocol", "text"));
        manager.setSticky(Boolean.parseBoolean(options.get("sticky")));
        if (options.containsKey("lockingMode")) {
            manager.setLockingMode(options.get("lockingMode"));
        }
        manager.setSessionBackupAsync(false);
        manager.setSessionBackupTimeout(Integer.parseInt(options.get("sessionBackupTimeout")));
        manager.setOperationTimeout(Long.parseLong(options.get("operationTimeout")));
        manager.setLockExpiration(Integer.parseInt(options.get("lockExpiration")));
        manager.setTranscoderFactoryClass(
                "de.javakaffee.web.msm.JavaSerializationTranscoderFactory");
        return manager;
    }

    /** Says whether this Tomcat can reach its node; touches no session. */
    private static final class HealthServlet extends HttpServlet {
        private static final long serialVersionUID = 1L;

        private final transient MemcachedBackupSessionManager manager;

        HealthServlet(MemcachedBackupSessionManager manager) {
            this.manager = manager;
        }

        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response)
                throws IOException {
            MemcachedStorageClient storage = (MemcachedStorageClient)
                    manager.getMemcachedSessionService().getStorageClient();
            boolean up = !storage.getMemcachedClient().getAvailableServers().isEmpty();
            response.setStatus(up ? HttpServletResponse.SC_OK
                    : HttpServletResponse.SC_SERVICE_UNAVAILABLE);
            response.getWriter().print(up ? "up" : "down");
        }
    }
}
