//! `stats`: memcached's names for what this node has.
//!
//! All items count as one class, 1. `stats cluster` is ours: what memcached has no name for.

pub(crate) mod prefixes;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

use engine::EngineStats;
use nix::sys::resource::{UsageWho, getrusage};
use protocol::{Compat, ProtocolError, ReplyTo, StatsDetail, StatsTopic};

use crate::backend::Backend;
use crate::lower;
use crate::registry::ConnectionInfo;
use crate::server::Shared;

/// Appends the whole answer to one `stats` request.
pub(crate) fn encode<B: Backend>(
    topic: StatsTopic<'_>,
    backend: &B,
    shared: &Shared,
    reply_to: ReplyTo,
    out: &mut Vec<u8>,
) {
    let mut stats = Stats { reply_to, out, value: String::new() };
    match topic {
        StatsTopic::General => stats.general(backend, shared),
        StatsTopic::Settings => stats.settings(backend, shared),
        StatsTopic::Items => stats.items(backend),
        StatsTopic::Slabs => stats.slabs(backend, shared),
        StatsTopic::Sizes => stats.sizes(backend, shared),
        StatsTopic::Conns => stats.connections(shared),
        StatsTopic::Detail(StatsDetail::Dump) => {
            if let ReplyTo::Text(_) = reply_to {
                stats.out.extend_from_slice(shared.prefixes.dump().as_bytes());
            }
        }
        StatsTopic::Detail(turn) => {
            shared.prefixes.turn(turn == StatsDetail::On);
            return reply_to.done(out);
        }
        StatsTopic::CacheDump { class, limit } => stats.cache_dump(backend, class, limit),
        StatsTopic::Other(b"cluster") => {
            backend.cluster_stats(&mut |name, value| stats.put(name, value));
            stats.put("unavailable", shared.counters.totals().unavailable);
            stats.put("unaccepted_connections", shared.unaccepting_count.load(Ordering::Relaxed));
        }
        StatsTopic::Other(_) | StatsTopic::Reset | _ => {
            return reply_to.error(ProtocolError::UnknownStats, out);
        }
    }
    reply_to.stats_end(out);
}

struct Stats<'a> {
    reply_to: ReplyTo,
    out: &'a mut Vec<u8>,
    /// Scratch space for one value.
    value: String,
}

impl Stats<'_> {
    fn put(&mut self, name: &str, value: impl Display) {
        self.value.clear();
        // Writing to a string does not fail; a value whose Display does is cut short.
        let _ = write!(self.value, "{value}");
        self.reply_to.stat(name.as_bytes(), self.value.as_bytes(), self.out);
    }

    fn put_zeros(&mut self, names: &[&str]) {
        for name in names {
            self.put(name, 0);
        }
    }

    fn put_all(&mut self, stats: &[(&str, u64)]) {
        for (name, value) in stats {
            self.put(name, value);
        }
    }

    /// memcached's names in its order, of the version that is followed. Where there is no such thing here (slab pages, LRU
    /// queues, hash tables) the number is 0, as it is there when nothing has happened.
    fn general<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let options = &shared.options;
        let open = shared.open_count();
        self.put("pid", std::process::id());
        self.put("uptime", shared.started.elapsed().as_secs());
        self.put("time", Shared::unix_seconds());
        self.put("version", options.compat.version());
        self.put("libevent", "none");
        self.put("pointer_size", usize::BITS);
        let (user, system) = processor_time();
        self.put("rusage_user", user);
        self.put("rusage_system", system);
        self.put("max_connections", options.connections_max);
        self.put("curr_connections", open);
        self.put("total_connections", shared.accepted_count.load(Ordering::Relaxed));
        self.put("rejected_connections", shared.rejected_count.load(Ordering::Relaxed));
        if options.idle_timeout.is_some() {
            self.put("idle_kicks", shared.counters.totals().idle_kicks);
        }
        self.put("connection_structures", open);
        self.put_zeros(&["response_obj_oom", "response_obj_count", "response_obj_bytes"]);
        self.put_zeros(&["read_buf_count", "read_buf_bytes", "read_buf_bytes_free"]);
        self.put("read_buf_oom", shared.counters.totals().read_buf_oom);
        self.put_zeros(&["reserved_fds"]);
        self.operations(backend, shared);
        self.put_zeros(&["hash_power_level", "hash_bytes", "hash_is_expanding"]);
        self.put_zeros(&["slab_reassign_rescues", "slab_reassign_chunk_rescues"]);
        let newest = options.compat == Compat::V1_6_45;
        if !newest {
            self.put_zeros(&["slab_reassign_evictions_nomem"]);
        }
        self.put_zeros(&["slab_reassign_inline_reclaim"]);
        self.put_zeros(&["slab_reassign_busy_items", "slab_reassign_busy_deletes"]);
        if newest {
            self.put_zeros(&["slab_reassign_busy_nomem"]);
            self.put("slab_reassign_last_busy_status", "none");
        }
        self.put_zeros(&["slab_reassign_running", "slabs_moved"]);
        if options.lru_crawler_shown {
            self.put_zeros(&["lru_crawler_running", "lru_crawler_starts"]);
        }
        if options.lru_maintainer_shown {
            self.put_zeros(&["lru_maintainer_juggles"]);
        }
        self.put_zeros(&["malloc_fails", "log_worker_dropped", "log_worker_written"]);
        let (watchers, sent_len, skipped_count) = shared.watchers.figures();
        self.put_all(&[
            ("log_watcher_skipped", skipped_count),
            ("log_watcher_sent", sent_len),
            ("log_watchers", watchers),
        ]);
        self.put_zeros(&["unexpected_napi_ids", "round_robin_fallback"]);
        self.tls(shared);
        self.all_items(backend, shared);
    }

    /// There is nothing to be said about it where it is not spoken.
    fn tls(&mut self, shared: &Shared) {
        let Some(tls) = &shared.options.tls else { return };
        let totals = shared.counters.totals();
        self.put("ssl_handshake_errors", totals.ssl_handshake_errors);
        if shared.options.compat == Compat::V1_6_45 {
            self.put("ssl_proto_errors", totals.ssl_proto_errors);
        }
        if tls.options().session_cache {
            self.put("ssl_new_sessions", totals.ssl_new_sessions);
        }
        self.put("time_since_server_cert_refresh", tls.since_refresh().as_secs());
    }

    fn operations<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let totals = shared.counters.totals();
        self.put_all(&[
            ("cmd_get", totals.cmd_get),
            ("cmd_set", totals.cmd_set),
            ("cmd_flush", totals.cmd_flush),
            ("cmd_touch", totals.cmd_touch),
            ("cmd_meta", totals.cmd_meta),
            ("get_hits", totals.get_hits),
            ("get_misses", totals.get_misses),
            ("get_expired", totals.get_expired),
            ("get_flushed", totals.get_flushed),
            ("delete_misses", totals.delete_misses),
            ("delete_hits", totals.delete_hits),
            ("incr_misses", totals.incr_misses),
            ("incr_hits", totals.incr_hits),
            ("decr_misses", totals.decr_misses),
            ("decr_hits", totals.decr_hits),
            ("cas_misses", totals.cas_misses),
            ("cas_hits", totals.cas_hits),
            ("cas_badval", totals.cas_badval),
            ("touch_hits", totals.touch_hits),
            ("touch_misses", totals.touch_misses),
            ("store_too_large", totals.store_too_large),
            ("store_no_memory", totals.store_no_memory),
            ("auth_cmds", totals.auth_cmds),
            ("auth_errors", totals.auth_errors),
            ("bytes_read", totals.bytes_read),
            ("bytes_written", totals.bytes_written),
            ("limit_maxbytes", backend.engine_stats().memory_limit),
            ("accepting_conns", u64::from(backend.accepting())),
            ("listen_disabled_num", shared.listen_disabled_count.load(Ordering::Relaxed)),
            ("time_in_listen_disabled_us", shared.listen_disabled_us.load(Ordering::Relaxed)),
            ("threads", shared.open.len() as u64),
            ("conn_yields", totals.conn_yields),
        ]);
    }

    fn all_items<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let (options, engine) = (&shared.options, backend.engine_stats());
        self.put_all(&[
            ("bytes", engine.bytes),
            ("curr_items", engine.items),
            ("total_items", engine.total_items),
        ]);
        self.put_zeros(&["slab_global_page_pool", "expired_unfetched", "evicted_unfetched"]);
        if options.lru_maintainer_shown {
            self.put_zeros(&["evicted_active"]);
        }
        self.put("evictions", engine.evictions);
        self.put("reclaimed", engine.reclaimed);
        self.put_zeros(&["crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked"]);
        if options.lru_maintainer_shown {
            self.put_zeros(&["moves_to_cold", "moves_to_warm", "moves_within_lru"]);
            self.put_zeros(&["direct_reclaims", "lru_bumps_dropped"]);
        }
    }

    /// All items are one class, in one queue.
    fn items<B: Backend>(&mut self, backend: &B) {
        let engine = backend.engine_stats();
        if engine.items == 0 {
            return;
        }
        self.put_all(&[
            ("items:1:number", engine.items),
            ("items:1:number_hot", 0),
            ("items:1:number_warm", 0),
            ("items:1:number_cold", engine.items),
        ]);
        self.put_zeros(&["items:1:age_hot", "items:1:age_warm", "items:1:age"]);
        self.put_all(&[
            ("items:1:mem_requested", engine.bytes),
            ("items:1:evicted", engine.evictions),
            ("items:1:evicted_nonzero", engine.evicted_unexpired),
            ("items:1:evicted_time", 0),
            ("items:1:outofmemory", engine.out_of_memory),
            ("items:1:tailrepairs", 0),
            ("items:1:reclaimed", engine.reclaimed),
        ]);
        self.put_zeros(&["items:1:expired_unfetched", "items:1:evicted_unfetched"]);
        self.put_zeros(&["items:1:evicted_active", "items:1:crawler_reclaimed"]);
        self.put_zeros(&["items:1:crawler_items_checked", "items:1:lrutail_reflocked"]);
        self.put_zeros(&["items:1:moves_to_cold", "items:1:moves_to_warm"]);
        self.put_zeros(&["items:1:moves_within_lru", "items:1:direct_reclaims"]);
        self.put_zeros(&["items:1:hits_to_hot", "items:1:hits_to_warm"]);
        self.put_zeros(&["items:1:hits_to_cold", "items:1:hits_to_temp"]);
    }

    /// memcached's prometheus exporter takes a class without `cmd_set`, `cas_hits` and `cas_badval`
    /// for a server that is down, and fails if `mem_requested` is here and in `stats items`.
    fn slabs<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let engine = backend.engine_stats();
        if engine.items != 0 {
            let totals = shared.counters.totals();
            let class = OnlyClass::of(&engine);
            self.put_all(&[
                ("1:chunk_size", class.chunk_len),
                ("1:chunks_per_page", class.chunks_per_page),
                ("1:total_pages", class.page_count),
                ("1:total_chunks", engine.items),
                ("1:used_chunks", engine.items),
            ]);
            self.put_zeros(&["1:free_chunks", "1:free_chunks_end"]);
            self.put_all(&[
                ("1:get_hits", totals.get_hits),
                ("1:cmd_set", totals.cmd_set),
                ("1:delete_hits", totals.delete_hits),
                ("1:incr_hits", totals.incr_hits),
                ("1:decr_hits", totals.decr_hits),
                ("1:cas_hits", totals.cas_hits),
                ("1:cas_badval", totals.cas_badval),
                ("1:touch_hits", totals.touch_hits),
            ]);
        }
        self.put("active_slabs", u64::from(engine.items != 0));
        self.put("total_malloced", engine.bytes);
    }

    fn connections(&mut self, shared: &Shared) {
        shared.for_each_connection(&mut |connection| {
            let ConnectionInfo { fd, udp, address, listen_address, state, idle_s } = connection;
            if udp {
                self.put(&format!("{fd}:UDP"), "UDP");
            }
            self.put(&format!("{fd}:addr"), address);
            if let Some(listen_address) = listen_address {
                self.put(&format!("{fd}:listen_addr"), listen_address);
            }
            self.put(&format!("{fd}:state"), state);
            self.put(&format!("{fd}:secs_since_last_cmd"), idle_s);
        });
    }

    /// The one class there is, as far as memcached would show it in one answer.
    fn cache_dump<B: Backend>(&mut self, backend: &B, class: u32, limit: u32) {
        if class != 1 {
            return;
        }
        let item_count_max = if limit == 0 { u32::MAX } else { limit };
        let len_max = self.out.len() + DUMP_LEN_MAX;
        let mut item_count = 0;
        let parts = (0..).map_while(|part| backend.part(part));
        for (item, _) in parts.flatten() {
            let deadline_s = item.deadline().map_or(0, |deadline| deadline.0 / 1000);
            self.reply_to.dumped_item(item.key(), item.value().len(), deadline_s, self.out);
            item_count += 1;
            if item_count_max <= item_count || len_max <= self.out.len() {
                return;
            }
        }
    }

    /// How many items there are of each size, in steps of 32 bytes; memcached keeps the account,
    /// this looks at all items.
    fn sizes<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        if !shared.options.sizes_tracked {
            return self.put("sizes_status", "disabled");
        }
        let mut counts = BTreeMap::new();
        for (item, _) in (0..).map_while(|part| backend.part(part)).flatten() {
            let len = lower::total_len(&item);
            *counts.entry(len.next_multiple_of(SIZE_STEP)).or_insert(0_u64) += 1;
        }
        self.put("sizes_status", "enabled");
        for (len, count) in counts {
            self.put(&len.to_string(), count);
        }
    }
}

/// The one class of items, in memcached's terms: as if its memory were pages of 1 MiB, cut into
/// chunks of the size that items have on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlyClass {
    /// Bytes of an item on average, rounded up; 0 without items.
    pub chunk_len: u64,
    /// So many of them fit into a page; at least 1.
    pub chunks_per_page: u64,
    /// Pages that are begun; 0 without items.
    pub page_count: u64,
}

impl OnlyClass {
    /// From the counters of a node's copy.
    pub fn of(engine: &EngineStats) -> Self {
        let chunk_len = engine.bytes.div_ceil(engine.items.max(1));
        let chunks_per_page = (PAGE_LEN / chunk_len.max(1)).max(1);
        Self { chunk_len, chunks_per_page, page_count: engine.bytes.div_ceil(PAGE_LEN) }
    }
}

/// Used by this process, of the program and of the system for it.
fn processor_time() -> (Seconds, Seconds) {
    let seconds = |time: nix::sys::time::TimeVal| Seconds(time.tv_sec(), time.tv_usec());
    // It does not fail; if it did, nobody should be without the other numbers.
    getrusage(UsageWho::RUSAGE_SELF).map_or((Seconds(0, 0), Seconds(0, 0)), |usage| {
        (seconds(usage.user_time()), seconds(usage.system_time()))
    })
}

/// Seconds and microseconds of processor time.
struct Seconds(i64, i64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0, self.1)
    }
}

const PAGE_LEN: u64 = 1024 * 1024;
const SIZE_STEP: u64 = 32;
/// Longest answer to `stats cachedump`; memcached has the same limit.
const DUMP_LEN_MAX: usize = 2 * 1024 * 1024;
