//! `/metrics` as Prometheus reads it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cluster_tests::http;

/// One answer: series with their values, and families with their types.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    series: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    /// Asks an admin port.
    pub(crate) fn of(port: u16) -> Result<Self> {
        let reply = http::get(port, "/metrics")?;
        ensure!(reply.code == 200, "{} {}", reply.code, reply.body);
        Self::parse(reply.body)
    }

    /// Whatever Prometheus would refuse, and a family without HELP and TYPE, is an error.
    pub(crate) fn parse(text: String) -> Result<Self> {
        let (mut series, mut types) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = None;
        for line in text.lines() {
            if let Some(told) = line.strip_prefix("# HELP ") {
                helped = told.split(' ').next();
            } else if let Some(told) = line.strip_prefix("# TYPE ") {
                let (family, kind) = told.split_once(' ').context("no type")?;
                ensure!(helped == Some(family), "no HELP before {line}");
                let before = types.insert(family.to_owned(), kind.to_owned());
                ensure!(before.is_none(), "{family} is there twice");
            } else {
                let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
                ensure!(types.contains_key(family(name)), "no TYPE before {line}");
                let value = value.parse().with_context(|| line.to_owned())?;
                let before = series.insert(with_sorted_labels(name), value);
                ensure!(before.is_none(), "{name} is there twice");
            }
        }
        Ok(Self { text, series, types })
    }

    /// The value of one series, whose labels are in the order of their names.
    pub(crate) fn value(&self, series: &str) -> Result<f64> {
        self.series.get(series).copied().with_context(|| format!("no {series}"))
    }

    /// The type of the family of a series.
    pub(crate) fn kind(&self, series: &str) -> Option<&str> {
        self.types.get(family(series)).map(String::as_str)
    }

    /// Every series there is.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Checks some whole numbers.
    pub(crate) fn expect(&self, wanted: &[(&str, u64)]) -> Result<()> {
        for (series, want) in wanted {
            let have = self.value(series)?;
            #[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "small numbers")]
            let equal = have == *want as f64;
            ensure!(equal, "{series} is {have}, not {want}");
        }
        Ok(())
    }
}

/// The name of a series without its labels.
pub(crate) fn family(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

/// Their order means nothing.
fn with_sorted_labels(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}
