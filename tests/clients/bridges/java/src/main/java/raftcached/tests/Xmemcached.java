package raftcached.tests;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import net.rubyeye.xmemcached.GetsResponse;
import net.rubyeye.xmemcached.MemcachedClient;
import net.rubyeye.xmemcached.XMemcachedClientBuilder;
import net.rubyeye.xmemcached.command.BinaryCommandFactory;
import net.rubyeye.xmemcached.impl.KetamaMemcachedSessionLocator;
import net.rubyeye.xmemcached.transcoders.SerializingTranscoder;
import net.rubyeye.xmemcached.utils.AddrUtil;

/** xmemcached with consistent hashing; a dead server leaves the ring. */
final class Xmemcached implements Bridge.Client {
    private static final long TIMEOUT_MS = 5000;

    private final MemcachedClient client;
    private final Map<String, Long> tokens = new HashMap<>();

    Xmemcached(String addresses, boolean binary) throws Exception {
        XMemcachedClientBuilder builder = new XMemcachedClientBuilder(
                AddrUtil.getAddresses(addresses.replace(',', ' ')));
        if (binary) {
            builder.setCommandFactory(new BinaryCommandFactory());
        }
        SerializingTranscoder transcoder = new SerializingTranscoder();
        transcoder.setCompressionThreshold(Integer.MAX_VALUE);
        builder.setTranscoder(transcoder);
        builder.setSessionLocator(new KetamaMemcachedSessionLocator());
        builder.setOpTimeout(TIMEOUT_MS);
        client = builder.build();
    }

    @Override
    public boolean set(String key, int exptime, String value) throws Exception {
        return client.set(key, exptime, value);
    }

    @Override
    public boolean add(String key, int exptime, String value) throws Exception {
        return client.add(key, exptime, value);
    }

    @Override
    public boolean replace(String key, int exptime, String value) throws Exception {
        return client.replace(key, exptime, value);
    }

    @Override
    public boolean append(String key, String value) throws Exception {
        return client.append(key, value);
    }

    @Override
    public String get(String key) throws Exception {
        return client.get(key);
    }

    @Override
    public String gets(String key) throws Exception {
        GetsResponse<String> got = client.gets(key);
        if (got == null) {
            return null;
        }
        tokens.put(key, got.getCas());
        return got.getValue();
    }

    @Override
    public boolean cas(String key, int exptime, String value) throws Exception {
        return client.cas(key, exptime, value, tokens.get(key));
    }

    @Override
    public Map<String, ?> getMany(List<String> keys) throws Exception {
        return client.get(keys);
    }

    @Override
    public long incr(String key, int delta) throws Exception {
        return client.incr(key, delta);
    }

    @Override
    public boolean touch(String key, int exptime) throws Exception {
        return client.touch(key, exptime);
    }

    @Override
    public boolean delete(String key) throws Exception {
        return client.delete(key);
    }
}
