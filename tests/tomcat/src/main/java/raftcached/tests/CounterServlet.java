package raftcached.tests;

import java.io.IOException;
import java.util.Arrays;
import java.util.Random;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import javax.servlet.http.HttpSession;

/**
 * Counts requests in the session, beside 20 KB that must survive unchanged.
 *
 * <p>Answers one line, {@code node,counter,new,payload}: the Tomcat that served it, the counter
 * after this request, whether the session held nothing yet, and {@code ok} or {@code broken}.
 */
final class CounterServlet extends HttpServlet {
    private static final long serialVersionUID = 1L;
    private static final int PAYLOAD_LEN = 20 * 1024;

    private final String name;

    CounterServlet(String name) {
        this.name = name;
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response)
            throws IOException {
        HttpSession session = request.getSession();
        // Not HttpSession.isNew(): what counts for a user is whether the contents are there.
        Integer before = (Integer) session.getAttribute("counter");
        boolean isNew = before == null;
        int counter = isNew ? 1 : before + 1;
        if (isNew) {
            long seed = new Random().nextLong();
            session.setAttribute("seed", seed);
            session.setAttribute("payload", payload(seed));
        }
        session.setAttribute("counter", counter);
        byte[] payload = (byte[]) session.getAttribute("payload");
        Long seed = (Long) session.getAttribute("seed");
        boolean intact = payload != null && seed != null && Arrays.equals(payload, payload(seed));
        response.setContentType("text/plain");
        response.getWriter().print(
                name + "," + counter + "," + isNew + "," + (intact ? "ok" : "broken"));
    }

    private static byte[] payload(long seed) {
        byte[] bytes = new byte[PAYLOAD_LEN];
        new Random(seed).nextBytes(bytes);
        return bytes;
    }
}
