//! `stats`: memcached's names for what this node has.
//!
//! Numbers that memcached has and this server does not (slab classes, LRU segments) are left out
//! rather than invented; all items count as one class, 1.

use std::fmt::{Display, Write as _};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use nix::sys::resource::{UsageWho, getrusage};
use protocol::{ProtocolError, ReplyTo, StatsDetail, StatsTopic};

use crate::backend::Backend;
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
        StatsTopic::Sizes => stats.put("sizes_status", "disabled"),
        // Prefixes are not counted: memcached's table of them grows without bound.
        StatsTopic::Detail(StatsDetail::Dump) | StatsTopic::Conns => {}
        StatsTopic::Detail(StatsDetail::On | StatsDetail::Off) => return reply_to.done(out),
        StatsTopic::CacheDump { class, limit } => stats.cache_dump(backend, class, limit),
        StatsTopic::Other(b"cluster") => {
            backend.cluster_stats(&mut |name, value| stats.put(name, value));
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

    fn put_all(&mut self, stats: &[(&str, u64)]) {
        for (name, value) in stats {
            self.put(name, value);
        }
    }

    fn general<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        self.put("pid", std::process::id());
        self.put("uptime", shared.started.elapsed().as_secs());
        self.put("time", Shared::unix_seconds());
        self.put("version", shared.options.version);
        self.put("pointer_size", usize::BITS);
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let (user, system) = (usage.user_time(), usage.system_time());
            self.put("rusage_user", Seconds(user.tv_sec(), user.tv_usec()));
            self.put("rusage_system", Seconds(system.tv_sec(), system.tv_usec()));
        }
        self.connections(backend, shared);
        self.operations(shared);
        let engine = backend.engine_stats();
        self.put_all(&[
            ("limit_maxbytes", engine.memory_limit),
            ("bytes", engine.bytes),
            ("curr_items", engine.items),
            ("total_items", engine.total_items),
            ("evictions", engine.evictions),
            ("evicted_unexpired", engine.evicted_unexpired),
            ("reclaimed", engine.reclaimed),
        ]);
    }

    fn connections<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let count = |count: usize| count as u64;
        self.put_all(&[
            ("max_connections", count(shared.options.connections_max)),
            ("curr_connections", count(shared.open_count())),
            ("total_connections", shared.accepted_count.load(Ordering::Relaxed)),
            ("rejected_connections", shared.rejected_count.load(Ordering::Relaxed)),
            ("unaccepted_connections", shared.unaccepting_count.load(Ordering::Relaxed)),
            ("accepting_conns", u64::from(backend.accepting())),
            ("threads", count(shared.open.len())),
        ]);
    }

    fn operations(&mut self, shared: &Shared) {
        let totals = shared.counters.totals();
        self.put_all(&[
            ("cmd_get", totals.cmd_get),
            ("cmd_set", totals.cmd_set),
            ("cmd_flush", totals.cmd_flush),
            ("cmd_touch", totals.cmd_touch),
            ("cmd_meta", totals.cmd_meta),
            ("get_hits", totals.get_hits),
            ("get_misses", totals.get_misses),
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
            ("auth_cmds", 0),
            ("auth_errors", 0),
            ("unavailable", totals.unavailable),
            ("bytes_read", totals.bytes_read),
            ("bytes_written", totals.bytes_written),
            ("conn_yields", totals.conn_yields),
        ]);
    }

    fn settings<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let options = &shared.options;
        self.put("maxbytes", backend.engine_stats().memory_limit);
        self.put("maxconns", options.connections_max);
        self.put("num_threads", shared.open.len());
        self.put("tcp_backlog", options.backlog);
        self.put("item_size_max", options.item_len_max);
        self.put("cas_enabled", "yes");
        self.put("client_flags_size", 4);
        self.put("binding_protocol", "auto-negotiate");
        self.put("auth_enabled_sasl", "no");
        self.put("maxconns_fast", "yes");
        self.put("flush_enabled", if options.flush_all_refused { "no" } else { "yes" });
        self.put("dump_enabled", "yes");
        self.put("detail_enabled", "no");
        for (name, value) in &options.settings {
            self.put(name, value);
        }
    }

    fn items<B: Backend>(&mut self, backend: &B) {
        let engine = backend.engine_stats();
        if engine.items != 0 {
            self.put_all(&[
                ("items:1:number", engine.items),
                ("items:1:mem_requested", engine.bytes),
                ("items:1:evicted", engine.evictions),
                ("items:1:evicted_nonzero", engine.evicted_unexpired),
                ("items:1:outofmemory", engine.out_of_memory),
                ("items:1:reclaimed", engine.reclaimed),
            ]);
        }
    }

    /// memcached's prometheus exporter takes a class without `cmd_set`, `cas_hits` and `cas_badval`
    /// for a server that is down, and fails if `mem_requested` is here and in `stats items`.
    fn slabs<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let engine = backend.engine_stats();
        if engine.items != 0 {
            let totals = shared.counters.totals();
            self.put_all(&[
                ("1:used_chunks", engine.items),
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

    /// The one class there is, as far as memcached would show it in one answer.
    fn cache_dump<B: Backend>(&mut self, backend: &B, class: u32, limit: u32) {
        if class != 1 {
            return;
        }
        let item_count_max = if limit == 0 { u32::MAX } else { limit };
        let len_max = self.out.len() + DUMP_LEN_MAX;
        let mut item_count = 0;
        backend.for_each_item(&mut |item| {
            let deadline_s = item.deadline().map_or(0, |deadline| deadline.0 / 1000);
            self.reply_to.dumped_item(item.key(), item.value().len(), deadline_s, self.out);
            item_count += 1;
            if item_count < item_count_max && self.out.len() < len_max {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }
}

/// Seconds and microseconds of processor time.
struct Seconds(i64, i64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0, self.1)
    }
}

/// Longest answer to `stats cachedump`; memcached has the same limit.
const DUMP_LEN_MAX: usize = 2 * 1024 * 1024;
