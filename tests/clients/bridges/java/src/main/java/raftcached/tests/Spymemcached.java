package raftcached.tests;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.FailureMode;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;
import net.spy.memcached.internal.OperationFuture;
import net.spy.memcached.ops.StatusCode;
import net.spy.memcached.transcoders.SerializingTranscoder;

/**
 * spymemcached as it is by default, but that what a dead server had to answer goes to the next.
 *
 * Not with consistent hashing: it then draws the next server seven times (KetamaNodeLocator), and
 * where each time the dead one is drawn asks that, for as long as it is dead. Its default hash puts
 * keys that are alike on one server.
 */
final class Spymemcached implements Bridge.Client {
    private final MemcachedClient client;
    private final Map<String, Long> tokens = new HashMap<>();

    Spymemcached(String addresses, boolean binary) throws Exception {
        SerializingTranscoder transcoder = new SerializingTranscoder();
        transcoder.setCompressionThreshold(Integer.MAX_VALUE);
        ConnectionFactoryBuilder builder = new ConnectionFactoryBuilder()
                .setProtocol(binary ? ConnectionFactoryBuilder.Protocol.BINARY
                        : ConnectionFactoryBuilder.Protocol.TEXT)
                .setLocatorType(ConnectionFactoryBuilder.Locator.ARRAY_MOD)
                .setFailureMode(FailureMode.Redistribute)
                .setMaxReconnectDelay(1)
                .setOpTimeout(5000)
                .setDaemon(true)
                .setTranscoder(transcoder);
        String user = System.getenv("CLIENT_USER");
        if (user != null) {
            builder.setAuthDescriptor(new AuthDescriptor(new String[] {"PLAIN"},
                    new PlainCallbackHandler(user, System.getenv("CLIENT_PASSWORD"))));
        }
        client = new MemcachedClient(builder.build(),
                AddrUtil.getAddresses(addresses.replace(',', ' ')));
    }

    @Override
    public boolean set(String key, int exptime, String value) throws Exception {
        return done(client.set(key, exptime, value));
    }

    @Override
    public boolean add(String key, int exptime, String value) throws Exception {
        return done(client.add(key, exptime, value));
    }

    @Override
    public boolean replace(String key, int exptime, String value) throws Exception {
        return done(client.replace(key, exptime, value));
    }

    @Override
    public boolean append(String key, String value) throws Exception {
        return done(client.append(key, value));
    }

    @Override
    public String get(String key) {
        return (String) client.get(key);
    }

    @Override
    public String gets(String key) {
        CASValue<Object> got = client.gets(key);
        if (got == null) {
            return null;
        }
        tokens.put(key, got.getCas());
        return (String) got.getValue();
    }

    @Override
    public boolean cas(String key, int exptime, String value) {
        CASResponse response = client.cas(key, tokens.get(key), exptime, value);
        if (response == CASResponse.EXISTS || response == CASResponse.NOT_FOUND) {
            return false;
        }
        if (response != CASResponse.OK) {
            throw new IllegalStateException("cas: " + response);
        }
        return true;
    }

    @Override
    public Map<String, ?> getMany(List<String> keys) {
        return client.getBulk(keys);
    }

    @Override
    public long incr(String key, int delta) throws Exception {
        // Its incr says -1 of what was cancelled, too.
        OperationFuture<Long> future = client.asyncIncr(key, delta);
        long value = future.get();
        check(future, value >= 0);
        return value;
    }

    @Override
    public boolean touch(String key, int exptime) throws Exception {
        return done(client.touch(key, exptime));
    }

    @Override
    public boolean delete(String key) throws Exception {
        return done(client.delete(key));
    }

    private static boolean done(OperationFuture<Boolean> future) throws Exception {
        boolean result = future.get();
        check(future, result);
        return result;
    }

    /** Nothing done is also what an error comes to; the status tells them apart. */
    private static void check(OperationFuture<?> future, boolean done) {
        StatusCode code = future.getStatus().getStatusCode();
        if (!done && code != StatusCode.ERR_NOT_FOUND && code != StatusCode.ERR_EXISTS
                && code != StatusCode.ERR_NOT_STORED) {
            throw new IllegalStateException(future.getStatus().toString());
        }
    }
}
