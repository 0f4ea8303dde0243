//! What several fuzz targets share.

pub mod allocations;
#[path = "../../crates/raftcached/src"]
pub mod binary {
    //! The binary is no library, so the modules with something to fuzz are taken from its source.
    #![allow(dead_code, unused_imports, reason = "most of it is for the rest of the binary")]

    pub mod admin;
    pub(crate) mod certificates;
    pub mod config;
    pub(crate) mod ending;
    pub mod http;
    pub(crate) mod listen_address;
    pub(crate) mod metrics;
    pub mod options;
    pub mod values;
}
pub mod commands;
pub mod input;
pub mod replies;
pub mod stream;

// They name each other as modules of the crate.
pub(crate) use binary::{certificates, config, ending, listen_address, metrics, options, values};
