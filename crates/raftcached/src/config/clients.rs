//! What clients may do: memcached's options, checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use frontend::{TlsOptions, Verify};

use super::{Refusal, count, refuse};
use crate::listen_address::ListenTls;
use crate::options::Options;
use crate::values::{Dialect, IdleTimeout, Port};

/// The client side of a node; files are named here and not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clients {
    /// At least 1.
    pub(crate) threads: usize,
    /// At least 1.
    pub(crate) connections_max: usize,
    /// Whether those above the limit are told so, or wait.
    pub(crate) refused_at_once: bool,
    /// At least 1.
    pub(crate) backlog: i32,
    /// At least 1; `None`: as we find good.
    pub(crate) requests_per_turn: Option<usize>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) protocol: Option<protocol::Protocol>,
    pub(crate) auth: AuthFile,
    pub(crate) cas_disabled: bool,
    pub(crate) flush_all_refused: bool,
    pub(crate) dump_refused: bool,
    pub(crate) watch_refused: bool,
    /// Whether `shutdown` ends the node.
    pub(crate) may_shut_down: bool,
    /// With one, `stats detail` is on from the beginning.
    pub(crate) prefix_delimiter: Option<u8>,
    pub(crate) compat: frontend::Compat,
    pub(crate) track_sizes: bool,
    pub(crate) tls: Option<TlsOptions>,
}

/// How clients prove who they are, and the file with those who can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthFile {
    None,
    Sasl(PathBuf),
    Ascii(PathBuf),
}

impl Clients {
    pub(super) fn new(options: &Options) -> Result<Self, Refusal> {
        let on = |option: Option<bool>| option.unwrap_or(false);
        let threads = count("-t (--threads)", options.threads, 4, 256)?;
        without_effect(options, threads)?;
        let auth = auth(options)?;
        let turn = "-R (--max-reqs-per-event)";
        let turn = options
            .max_reqs_per_event
            .map(|_| count(turn, options.max_reqs_per_event, 1, u32::MAX));
        let backlog =
            count("-b (--listen-backlog)", options.listen_backlog, 1024, i32::MAX as u32)?;
        Ok(Self {
            threads,
            connections_max: count("-c (--conn-limit)", options.conn_limit, 1024, 1_000_000)?,
            refused_at_once: options.maxconns_fast.unwrap_or(true),
            backlog: i32::try_from(backlog).unwrap_or(i32::MAX),
            requests_per_turn: turn.transpose()?,
            idle_timeout: options.idle_timeout.and_then(IdleTimeout::limit),
            protocol: dialect(options, &auth)?.only(),
            auth,
            cas_disabled: on(options.disable_cas),
            flush_all_refused: on(options.disable_flush_all),
            dump_refused: on(options.disable_dumping),
            watch_refused: on(options.disable_watch),
            may_shut_down: on(options.enable_shutdown),
            prefix_delimiter: options.prefix_delimiter.map(|delimiter| delimiter.0),
            compat: options.compat.map_or_else(frontend::Compat::default, Into::into),
            track_sizes: on(options.track_sizes),
            tls: tls(options)?,
        })
    }
}

/// Checks what is taken for memcached's sake, as memcached does.
fn without_effect(options: &Options, threads: usize) -> Result<(), Refusal> {
    let memcached = &options.memcached;
    if let Some(file) = &memcached.memory_file {
        let why = "memcached's file of items is not supported: --data-dir keeps them";
        return refuse("-e (--memory-file)", file, why);
    }
    if let Some(factor) = &memcached.slab_growth_factor
        && !factor.trim().parse().is_ok_and(|factor: f64| 1.0 < factor)
    {
        return refuse("-f (--slab-growth-factor)", factor, "more than 1 is needed");
    }
    if memcached.slab_min_size == Some(0) {
        return refuse("-n (--slab-min-size)", 0, "at least 1 is needed");
    }
    match memcached.napi_ids {
        Some(0) => refuse("-N (--napi-ids)", 0, "at least 1 is needed"),
        Some(ids) if usize::try_from(ids).is_ok_and(|ids| threads < ids) => {
            refuse("-N (--napi-ids)", ids, "more than there are threads (-t)")
        }
        _ => Ok(()),
    }
}

fn auth(options: &Options) -> Result<AuthFile, Refusal> {
    let sasl = options.enable_sasl == Some(true);
    let auth = match (sasl, &options.auth_file) {
        (true, Some(_)) => {
            return Err(Refusal(
                "-S (--enable-sasl) contradicts -Y (--auth-file): one is for the binary protocol, \
                 the other for text"
                    .to_owned(),
            ));
        }
        (true, None) => match &options.sasl_pwdb {
            Some(file) => AuthFile::Sasl(file_of("--sasl-pwdb", file)?),
            None => {
                return Err(Refusal(
                    "-S (--enable-sasl) needs a file of users: --sasl-pwdb or MEMCACHED_SASL_PWDB"
                        .to_owned(),
                ));
            }
        },
        (false, Some(file)) => AuthFile::Ascii(file_of("-Y (--auth-file)", file)?),
        (false, None) => AuthFile::None,
    };
    // A datagram proves nothing.
    let udp = options.udp_port.is_some_and(|port| port != Port::Off);
    if udp && auth != AuthFile::None {
        return Err(Refusal("-U (--udp-port): no UDP with -S or -Y".to_owned()));
    }
    Ok(auth)
}

fn dialect(options: &Options, auth: &AuthFile) -> Result<Dialect, Refusal> {
    let implied = match auth {
        AuthFile::None => None,
        AuthFile::Sasl(_) => Some(Dialect::Binary),
        AuthFile::Ascii(_) => Some(Dialect::Ascii),
    };
    let common = options.protocol.or(implied).unwrap_or(Dialect::Auto);
    let at = options.listen.as_deref().unwrap_or_default().iter();
    let mut at = at.map(|address| address.dialect.unwrap_or(common));
    let dialect = at.next().unwrap_or(common);
    if at.any(|other| other != dialect) {
        return Err(Refusal(
            "-l (--listen) proto[...]: all addresses must have the same protocol".to_owned(),
        ));
    }
    match (auth, dialect) {
        (AuthFile::Sasl(_), Dialect::Auto | Dialect::Ascii) => Err(Refusal(
            "-S (--enable-sasl) needs -B binary: SASL is part of that protocol".to_owned(),
        )),
        (AuthFile::Ascii(_), Dialect::Auto | Dialect::Binary) => Err(Refusal(
            "-Y (--auth-file) needs -B ascii: its set is part of that protocol".to_owned(),
        )),
        _ => Ok(dialect),
    }
}

fn tls(options: &Options) -> Result<Option<TlsOptions>, Refusal> {
    if options.enable_ssl != Some(true) {
        return Ok(None);
    }
    if options.unix_socket.is_none() && options.port == Some(Port::Off) {
        return Err(Refusal("-Z (--enable-ssl) needs a TCP port (-p)".to_owned()));
    }
    let Some(chain) = &options.ssl_chain_cert else {
        return Err(Refusal("-Z (--enable-ssl) needs a certificate: --ssl-chain-cert".to_owned()));
    };
    let verify = match options.ssl_verify_mode.unwrap_or(0) {
        0 => Verify::None,
        1 => Verify::Request,
        2 => Verify::Require,
        3 => Verify::Once,
        mode => return refuse("--ssl-verify-mode", mode, "0, 1, 2 and 3 are possible"),
    };
    let min_version = match options.ssl_min_version.unwrap_or(2) {
        version @ 0..=3 => version,
        version => return refuse("--ssl-min-version", version, "0, 1, 2 and 3 are possible"),
    };
    match options.ssl_keyformat.unwrap_or(PEM) {
        PEM => {}
        format => return refuse("--ssl-keyformat", format, "only 1, which is PEM, is possible"),
    }
    let optional = |option, file: &Option<PathBuf>| {
        file.as_deref().map(|file| file_of(option, file)).transpose()
    };
    let chain_cert = file_of("--ssl-chain-cert", chain)?;
    Ok(Some(TlsOptions {
        // Certificates and key may be in one file.
        key: optional("--ssl-key", &options.ssl_key)?.unwrap_or_else(|| chain_cert.clone()),
        chain_cert,
        verify,
        ca: optional("--ssl-ca-cert", &options.ssl_ca_cert)?,
        ciphers: options.ssl_ciphers.clone(),
        min_version,
        session_cache: options.ssl_session_cache.unwrap_or(false),
    }))
}

/// A listener cannot have rules of its own about certificates of clients.
pub(super) fn check_listener(listener: ListenTls, tls: &TlsOptions) -> Result<(), Refusal> {
    let needs_certificates = matches!(tls.verify, Verify::Require | Verify::Once);
    match listener {
        ListenTls::Basic if tls.verify != Verify::None => Err(Refusal(
            "-l btls: contradicts --ssl-verify-mode, which holds for all addresses".to_owned(),
        )),
        ListenTls::Mutual if !needs_certificates => Err(Refusal(
            "-l mtls: needs --ssl-verify-mode 2, which holds for all addresses".to_owned(),
        )),
        ListenTls::AsEverywhere | ListenTls::Basic | ListenTls::Mutual | ListenTls::Off => Ok(()),
    }
}

/// From a file an option can come empty.
fn file_of(option: &str, file: &Path) -> Result<PathBuf, Refusal> {
    if file.as_os_str().is_empty() {
        return Err(Refusal(format!("{option} is empty: a file is expected")));
    }
    Ok(file.to_owned())
}

/// OpenSSL's number for it, as memcached takes it.
const PEM: u8 = 1;
