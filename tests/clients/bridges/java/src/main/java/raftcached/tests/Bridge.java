package raftcached.tests;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.stream.Collectors;

/** The bridge of spymemcached and xmemcached; arguments: which, and "text" or "binary". */
final class Bridge {
    /** What both clients can do. Nothing found, stored or matched is null or false. */
    interface Client {
        boolean set(String key, int exptime, String value) throws Exception;

        boolean add(String key, int exptime, String value) throws Exception;

        boolean replace(String key, int exptime, String value) throws Exception;

        boolean append(String key, String value) throws Exception;

        String get(String key) throws Exception;

        /** As get, and keeps the token for the next cas of this key. */
        String gets(String key) throws Exception;

        boolean cas(String key, int exptime, String value) throws Exception;

        Map<String, ?> getMany(List<String> keys) throws Exception;

        /** The new value, or -1 if there is none. */
        long incr(String key, int delta) throws Exception;

        boolean touch(String key, int exptime) throws Exception;

        boolean delete(String key) throws Exception;
    }

    private Bridge() {
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        LogManager.getLogManager().reset();
        LogManager.getLogManager().getLogger("").setLevel(Level.OFF);
        boolean binary = args[1].equals("binary");
        Map<String, Client> clients = new HashMap<>();
        PrintStream out = System.out;
        // What a library prints must not get between the replies.
        System.setOut(System.err);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            String reply;
            try {
                if (words[1].equals("open")) {
                    clients.put(words[0], args[0].equals("spymemcached")
                            ? new Spymemcached(words[2], binary)
                            : new Xmemcached(words[2], binary));
                    reply = "ok";
                } else {
                    List<String> rest = Arrays.asList(words).subList(2, words.length);
                    reply = call(clients.get(words[0]), words[1], rest);
                }
            } catch (Exception error) {
                reply = "error " + error;
            }
            out.println(reply.replace('\n', ' '));
            out.flush();
        }
        System.exit(0);
    }

    private static String call(Client client, String verb, List<String> args) throws Exception {
        String key = args.get(0);
        switch (verb) {
            case "set":
                return told(client.set(key, number(args.get(1)), args.get(2)));
            case "add":
                return told(client.add(key, number(args.get(1)), args.get(2)));
            case "replace":
                return told(client.replace(key, number(args.get(1)), args.get(2)));
            case "append":
                return told(client.append(key, args.get(1)));
            case "get":
                return found(client.get(key));
            case "gets":
                return found(client.gets(key));
            case "cas":
                return told(client.cas(key, number(args.get(1)), args.get(2)));
            case "mget":
                return "values" + client.getMany(args).entrySet().stream()
                        .map(each -> " " + each.getKey() + "=" + each.getValue())
                        .collect(Collectors.joining());
            case "incr":
                long value = client.incr(key, number(args.get(1)));
                return value < 0 ? "no" : "value " + value;
            case "touch":
                return told(client.touch(key, number(args.get(1))));
            case "delete":
                return told(client.delete(key));
            default:
                return "error unknown verb " + verb;
        }
    }

    private static String told(boolean done) {
        return done ? "ok" : "no";
    }

    private static String found(String value) {
        return value == null ? "no" : "value " + value;
    }

    private static int number(String text) {
        return Integer.parseInt(text);
    }
}
