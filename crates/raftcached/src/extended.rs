//! The values of `-o`: memcached's further options.
//!
//! Some are options of ours, and become those. The others tune what we do not have (slabs, LRU
//! queues, a hash table that grows); they are checked as memcached checks them, and `stats settings`
//! shows them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use frontend::MEMCACHEDS_SETTINGS;

use crate::options::{Memcached, Options};
use crate::values::IdleTimeout;

/// Why a value of `-o` cannot be taken; memcached ends with 1 then, not with 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadSuboption(String);

/// What memcached tells of itself in `stats settings` that is of no effect here, by name.
pub(crate) type Tuning = BTreeMap<&'static str, String>;

/// Makes options of what `-o` says; the rest is returned as `stats settings` shows it.
///
/// # Errors
///
/// The first name that memcached does not have, or value that it would not take.
pub(crate) fn take(options: &mut Options) -> Result<Tuning, BadSuboption> {
    let default = MEMCACHEDS_SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let mut tuning: Tuning = default.collect();
    let said = std::mem::take(&mut options.memcached.extended);
    for suboption in said.iter().flat_map(|text| text.split(',')).map(str::trim) {
        if !suboption.is_empty() {
            let (name, value) = match suboption.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (suboption, None),
            };
            Suboption { name, value }.take(options, &mut tuning)?;
        }
    }
    let Memcached { slab_growth_factor, slab_min_size, .. } = &options.memcached;
    if let Some(factor) =
        slab_growth_factor.as_ref().and_then(|text| text.trim().parse::<f64>().ok())
    {
        tuning.insert("growth_factor", format!("{factor:.2}"));
    }
    if let Some(size) = slab_min_size {
        tuning.insert("chunk_size", size.to_string());
    }
    let percent =
        |name| tuning.get(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    if 80 < percent("hot_lru_pct") + percent("warm_lru_pct") {
        return Err(BadSuboption(
            "-o hot_lru_pct and warm_lru_pct cannot be more than 80% together".to_owned(),
        ));
    }
    Ok(tuning)
}

/// One `NAME` or `NAME=VALUE`.
struct Suboption<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl Suboption<'_> {
    fn take(&self, options: &mut Options, tuning: &mut Tuning) -> Result<(), BadSuboption> {
        match self.name {
            "maxconns_fast" => options.maxconns_fast = Some(true),
            "no_maxconns_fast" => options.maxconns_fast = Some(false),
            "idle_timeout" => options.idle_timeout = Some(IdleTimeout(self.number(0..=u32::MAX)?)),
            "track_sizes" => options.track_sizes = Some(true),
            "ssl_chain_cert" => options.ssl_chain_cert = Some(self.text()?.into()),
            "ssl_key" => options.ssl_key = Some(self.text()?.into()),
            "ssl_keyformat" => options.ssl_keyformat = Some(self.number(0..=u8::MAX)?),
            "ssl_verify_mode" => options.ssl_verify_mode = Some(self.number(0..=3)?),
            "ssl_ca_cert" => options.ssl_ca_cert = Some(self.text()?.into()),
            "ssl_ciphers" => options.ssl_ciphers = Some(self.text()?.to_owned()),
            "ssl_min_version" => options.ssl_min_version = Some(self.number(0..=3)?),
            "ssl_session_cache" => options.ssl_session_cache = Some(true),
            "no_modern" => {
                options.maxconns_fast = Some(false);
                tuning.extend(NO_MODERN.map(|(name, value)| (name, value.to_owned())));
            }
            _ => self.tune(tuning)?,
        }
        Ok(())
    }

    fn tune(&self, tuning: &mut Tuning) -> Result<(), BadSuboption> {
        let mut set = |name: &'static str, value: &dyn fmt::Display| {
            tuning.insert(name, value.to_string());
        };
        match self.name {
            "hashpower" => set("hashpower_init", &self.number(12..=32)?),
            "hash_algorithm" => {
                set("hash_algorithm", &self.word(&["jenkins", "murmur3", "xxh3"])?);
            }
            "slab_reassign" => set("slab_reassign", &"yes"),
            "no_slab_reassign" => set("slab_reassign", &"no"),
            "slab_automove" if self.value.is_none() => set("slab_automove", &1),
            "slab_automove" => set("slab_automove", &self.number(0..=2)?),
            "no_slab_automove" => set("slab_automove", &0),
            "slab_automove_ratio" => set("slab_automove_ratio", &self.ratio(1.0)?),
            "slab_automove_window" => set("slab_automove_window", &self.number(3..=i32::MAX)?),
            "slab_chunk_max" => set("slab_chunk_max", &self.number(1..=i32::MAX)?),
            "no_chunked_items" => set("slab_chunk_max", &(1024 * 1024)),
            "tail_repair_time" => set("tail_repair_time", &self.number(10..=i32::MAX)?),
            "lru_crawler" => set("lru_crawler", &"yes"),
            "no_lru_crawler" => set("lru_crawler", &"no"),
            "lru_crawler_sleep" => set("lru_crawler_sleep", &self.number(0..=1_000_000)?),
            "lru_crawler_tocrawl" => set("lru_crawler_tocrawl", &self.number(0..=u32::MAX)?),
            "lru_maintainer" | "no_lru_maintainer" => {
                let on = if self.name.starts_with("no_") { "no" } else { "yes" };
                set("lru_maintainer_thread", &on);
                set("lru_segmented", &on);
            }
            "hot_lru_pct" => set("hot_lru_pct", &self.number(1..=79)?),
            "warm_lru_pct" => set("warm_lru_pct", &self.number(1..=79)?),
            "hot_max_factor" => set("hot_max_factor", &self.ratio(f64::MAX)?),
            "warm_max_factor" => set("warm_max_factor", &self.ratio(f64::MAX)?),
            "temporary_ttl" => {
                set("temporary_ttl", &self.number(0..=i32::MAX)?);
                set("temp_lru", &"yes");
            }
            "watcher_logbuf_size" => set("watcher_logbuf_size", &self.kibibytes()?),
            "worker_logbuf_size" => set("worker_logbuf_size", &self.kibibytes()?),
            "read_buf_mem_limit" => {
                set("read_buf_mem_limit", &(self.number::<u64>(0..=0xffff_ffff)? * 1024 * 1024));
            }
            "ssl_wbuf_size" => set("ssl_wbuf_size", &self.kibibytes()?),
            "ssl_kernel_tls" => set("ssl_kernel_tls", &"no"),
            "slab_sizes" => self.slab_sizes()?,
            name if SILENT.contains(&name) => {}
            name if name.starts_with("ext_") || name == "slab_automove_freeratio" => {
                return Err(BadSuboption(format!("-o {name}: there is no storage on flash here")));
            }
            name if name.starts_with("proxy_") => {
                return Err(BadSuboption(format!("-o {name}: there is no proxy here")));
            }
            _ => return Err(BadSuboption(format!("Illegal suboption \"{self}\""))),
        }
        Ok(())
    }

    fn text(&self) -> Result<&str, BadSuboption> {
        let value = self.value.filter(|value| !value.is_empty());
        value.ok_or_else(|| BadSuboption(format!("Missing {} argument", self.name)))
    }

    fn number<N: FromStr + PartialOrd + fmt::Display>(
        &self,
        range: std::ops::RangeInclusive<N>,
    ) -> Result<N, BadSuboption> {
        let number = self.text()?.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            BadSuboption(format!("-o {self}: a number from {from} to {to} is needed"))
        })
    }

    fn kibibytes(&self) -> Result<u64, BadSuboption> {
        Ok(self.number::<u64>(0..=0xffff_ffff)? * 1024)
    }

    /// More than 0.
    fn ratio(&self, max: f64) -> Result<String, BadSuboption> {
        let ratio = self.text()?.parse().ok().filter(|ratio| 0.0 < *ratio && *ratio <= max);
        match ratio {
            Some(ratio) => Ok(format!("{ratio:.2}")),
            None => Err(BadSuboption(format!("-o {self}: must be more than 0, and at most {max}"))),
        }
    }

    fn word(&self, words: &[&str]) -> Result<String, BadSuboption> {
        let word = Some(self.text()?).filter(|word| words.contains(word));
        let refusal = || BadSuboption(format!("-o {self}: one of {} is needed", words.join(", ")));
        word.map(str::to_owned).ok_or_else(refusal)
    }

    /// Rising sizes with dashes between them, each 8 bytes above the one before at least.
    fn slab_sizes(&self) -> Result<(), BadSuboption> {
        let mut last = 0;
        for size in self.text()?.split('-') {
            let size = size.parse::<u32>().ok().filter(|size| last + 8 <= *size);
            last = size.filter(|size| *size <= 1024 * 1024).ok_or_else(|| {
                BadSuboption(format!("-o {self}: rising sizes are needed, at least 8 bytes apart"))
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for Suboption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Of no effect in memcached either, or what no reply shows.
const SILENT: [&str; 9] = [
    "drop_privileges",
    "inline_ascii_resp",
    "modern",
    "no_drop_privileges",
    "no_hashexpand",
    "no_inline_ascii_resp",
    "relaxed_privileges",
    "resp_obj_mem_limit",
    "sock_cookie_id",
];

/// The defaults of memcached 1.4.
const NO_MODERN: [(&str, &str); 7] = [
    ("hash_algorithm", "jenkins"),
    ("lru_crawler", "no"),
    ("lru_maintainer_thread", "no"),
    ("lru_segmented", "no"),
    ("slab_automove", "0"),
    ("slab_chunk_max", "1048576"),
    ("slab_reassign", "no"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> Result<(Options, Tuning), String> {
        let mut options = Options::default();
        options.memcached.extended = words.iter().map(|word| (*word).to_owned()).collect();
        let tuning = take(&mut options).map_err(|error| error.to_string())?;
        Ok((options, tuning))
    }

    #[test]
    fn what_we_have_becomes_an_option() {
        let words = [
            "no_maxconns_fast,idle_timeout=3,track_sizes",
            " ssl_chain_cert=a,ssl_key=b,ssl_verify_mode=2,ssl_min_version=3",
        ];
        let (options, _) = taken(&words).unwrap();
        let want = Options {
            maxconns_fast: Some(false),
            idle_timeout: Some(IdleTimeout(3)),
            track_sizes: Some(true),
            ssl_chain_cert: Some("a".into()),
            ssl_key: Some("b".into()),
            ssl_verify_mode: Some(2),
            ssl_min_version: Some(3),
            ..Options::default()
        };
        assert_eq!(options, want);
    }

    #[test]
    fn what_we_do_not_have_is_shown() {
        let words = ["slab_automove=0,no_lru_crawler,relaxed_privileges,,hot_lru_pct=30", "modern"];
        let (options, tuning) = taken(&words).unwrap();
        assert_eq!(options, Options::default());
        let shown = |name| tuning.get(name).map(String::as_str);
        assert_eq!(shown("slab_automove"), Some("0"));
        assert_eq!(shown("lru_crawler"), Some("no"));
        assert_eq!(shown("hot_lru_pct"), Some("30"));
        assert_eq!(shown("warm_lru_pct"), Some("40"), "unless said otherwise");
        assert_eq!(taken(&["slab_sizes=96-184-1024"]).unwrap().1, taken(&[]).unwrap().1);
    }

    #[test]
    fn a_bad_one_is_named() {
        let cases = [
            ("colour", "Illegal suboption \"colour\""),
            ("modern,colour=red", "Illegal suboption \"colour=red\""),
            ("hashpower", "Missing hashpower argument"),
            ("hashpower=", "Missing hashpower argument"),
            ("hashpower=11", "-o hashpower=11: a number from 12 to 32 is needed"),
            ("hash_algorithm=md5", "one of jenkins, murmur3, xxh3 is needed"),
            ("slab_automove=3", "a number from 0 to 2"),
            ("slab_automove_ratio=0", "more than 0, and at most 1"),
            ("slab_automove_ratio=NaN", "more than 0, and at most 1"),
            ("tail_repair_time=9", "a number from 10 to"),
            ("hot_lru_pct=80", "a number from 1 to 79"),
            ("hot_lru_pct=50", "more than 80% together"),
            ("slab_sizes=96-100", "rising sizes"),
            ("slab_sizes=4294967295", "rising sizes"),
            ("idle_timeout=x", "a number from 0"),
            ("ssl_verify_mode=4", "a number from 0 to 3"),
            ("ext_path=/x:1G", "-o ext_path: there is no storage on flash here"),
            ("proxy_config=x", "-o proxy_config: there is no proxy here"),
        ];
        for (text, want) in cases {
            let error = taken(&[text]).expect_err(text);
            assert!(error.contains(want), "case: {text}: {error}");
        }
    }
}
