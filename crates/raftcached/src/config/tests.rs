use clap::Parser as _;

use super::*;
use frontend::Verify;

#[derive(clap::Parser)]
#[command(args_override_self = true)]
struct Server {
    #[command(flatten)]
    options: Options,
}

fn config(line: &str) -> Result<Config, String> {
    let words = ["server"].into_iter().chain(line.split_whitespace());
    let server = Server::try_parse_from(words).map_err(|error| error.to_string())?;
    Config::try_from(server.options).map_err(|refusal| refusal.to_string())
}

/// The addresses for clients as one text.
fn clients(line: &str) -> Result<String, String> {
    let listen = config(line)?.listen;
    let udp = listen.udp.iter().map(|address| format!("udp {address}"));
    let all = [shown(&listen.clients)].into_iter().chain(udp).filter(|text| !text.is_empty());
    Ok(all.collect::<Vec<_>>().join(" "))
}

fn shown(clients: &[ClientAddress]) -> String {
    let shown = clients.iter().map(|address| match address {
        ClientAddress::Tcp(address, _) => address.to_string(),
        ClientAddress::Unix(path) => format!("unix:{}", path.display()),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn without_options_it_is_memcached_on_loopback() {
    let have = config("").unwrap();
    assert_eq!(have.name, "n1");
    assert_eq!(clients("").unwrap(), "127.0.0.1:11211");
    assert_eq!(have.listen.peer.address.to_string(), "127.0.0.1:21211");
    assert_eq!(have.listen.admin.address.to_string(), "127.0.0.1:31211");
    assert!(have.listen.udp.is_empty(), "UDP is off");
    assert_eq!((have.memory_limit, have.evict, have.item_len_max), (64 << 20, true, 1 << 20));
    let clients = &have.clients;
    assert_eq!((clients.connections_max, clients.threads, clients.backlog), (1024, 4, 1024));
    assert_eq!((&clients.auth, clients.protocol, &clients.tls), (&AuthFile::None, None, &None));
    assert_eq!((have.join.len(), have.bootstrap_expect), (0, 1));
    assert_eq!((have.heartbeat_ms, have.election_timeout_ms), (20, (50, 75)));
    assert_eq!((have.operation_budget_ms, have.isolation_close_ms), (2000, 3000));
}

#[test]
fn memcacheds_flags() {
    let have = config("-p 11311 -l 0.0.0.0 -m 256 -M -c 2048 -t 8 -I 2m -U 0 -vv").unwrap();
    assert_eq!(shown(&have.listen.clients), "0.0.0.0:11311");
    let peer = have.listen.peer.address.to_string();
    assert_eq!(peer, "127.0.0.1:21311", "wider only at the operator's word");
    assert_eq!((have.memory_limit, have.evict, have.item_len_max), (256 << 20, false, 2 << 20));
    let Clients { connections_max, threads, .. } = have.clients;
    assert_eq!((connections_max, threads, have.verbosity), (2048, 8, 2));
    let long = "--port=11311 --listen 0.0.0.0 --memory-limit 256 --disable-evictions \
        --conn-limit 2048 --threads 8 --max-item-size 2m --udp-port 0 --verbose --verbose";
    assert_eq!(config(long).unwrap(), have);
    assert!(config("--disable-evictions=false").unwrap().evict);
}

#[test]
fn a_client_port_without_room_above_it_still_starts() {
    let have = config("-p 65000").unwrap();
    assert_eq!((have.listen.peer.address.port, have.listen.admin.address.port), (0, 0));
}

#[test]
fn where_clients_connect() {
    let cases = [
        ("-p 0", ""),
        ("-p -1", "127.0.0.1:0"),
        ("-l a,b:1 -l [::1]:2 -p 7", "a:7 b:1 [::1]:2"),
        ("-l a -l a", "a:11211"),
        ("-l *", "*:11211"),
        ("-s /x -p 7 -l a", "unix:/x"),
        ("-l a,unix:/x", "a:11211 unix:/x"),
        ("-U 7", "127.0.0.1:7 udp 127.0.0.1:7"),
        ("-U -1", "127.0.0.1:0 udp 127.0.0.1:0"),
        ("-U 7 -p 8 -l a,b:9", "a:8 b:9 udp a:7 udp b:9"),
        ("-U 7 -p 0", "udp 127.0.0.1:7"),
        ("-U 7 -s /x", "unix:/x"),
        ("-l proto[ascii]:a,proto[ascii]:b", "a:11211 b:11211"),
    ];
    for (line, want) in cases {
        assert_eq!(clients(line).as_deref(), Ok(want), "case: {line}");
    }
    assert_eq!(config("-a 0770 -s /x").unwrap().listen.unix_mode, 0o770);
    let protocol = config("-l proto[ascii]:a").unwrap().clients.protocol;
    assert_eq!(protocol, Some(protocol::Protocol::Text));
}

/// Several memcacheds on one machine need no thought of ports that memcached does not have.
#[test]
fn only_who_was_not_told_an_address_and_is_alone_takes_any() {
    let moves = |line| {
        let listen = config(line).unwrap().listen;
        (listen.peer.or_any_port, listen.admin.or_any_port)
    };
    assert_eq!(moves(""), (true, true));
    assert_eq!(moves("--peer-listen 127.0.0.1:7"), (false, true));
    assert_eq!(moves("--admin-listen 127.0.0.1:7"), (true, false));
    assert_eq!(moves("--name n1 --join a:1,b:1"), (false, false));
    assert_eq!(moves("--bootstrap-expect 0"), (false, false), "who invites it needs to know");
}

#[test]
fn what_clients_may_do() {
    let line = "-A -B binary -b 8675 -C -D | -F -R 20 -W -X --idle-timeout 3 --compat 1.6.45";
    let have = config(line).unwrap().clients;
    assert!(have.may_shut_down && have.cas_disabled && have.flush_all_refused);
    assert!(have.watch_refused && have.dump_refused);
    assert_eq!((have.backlog, have.requests_per_turn), (8675, Some(20)));
    assert_eq!(have.protocol, Some(protocol::Protocol::Binary));
    assert_eq!(have.prefix_delimiter, Some(b'|'));
    assert_eq!(have.idle_timeout, Some(std::time::Duration::from_secs(3)));
    assert_eq!(have.compat, frontend::Compat::V1_6_45);
    let have = config("-f 1.08 -n 72 -L -N 2 -B auto").unwrap().clients;
    assert_eq!(have, config("").unwrap().clients, "of no effect");
}

#[test]
fn authentication_decides_the_protocol() {
    let have = |line| config(line).map(|config| (config.clients.auth, config.clients.protocol));
    let (binary, text) = (Some(protocol::Protocol::Binary), Some(protocol::Protocol::Text));
    let sasl = (AuthFile::Sasl("x".into()), binary);
    assert_eq!(have("-S --sasl-pwdb x"), Ok(sasl.clone()));
    assert_eq!(have("-S --sasl-pwdb x -B ascii -B binary"), Ok(sasl), "the last word counts");
    assert_eq!(have("-Y x"), Ok((AuthFile::Ascii("x".into()), text)));
    assert_eq!(have("--sasl-pwdb x"), Ok((AuthFile::None, None)), "only with -S");
}

#[test]
fn tls_in_memcacheds_terms() {
    let tls = |line: &str| config(&format!("-Z --ssl-chain-cert c {line}")).unwrap().clients.tls;
    let plain = tls("").unwrap();
    assert_eq!((plain.chain_cert, plain.key), ("c".into(), "c".into()), "both in one file");
    assert_eq!((plain.verify, plain.min_version), (Verify::None, 2));
    let full = "--ssl-key k --ssl-keyformat 1 --ssl-verify-mode 3 --ssl-ca-cert ca \
        --ssl-min-version 3 --ssl-session-cache --ssl-ciphers A:B -l notls:a";
    let full = tls(&full.replace('\\', "")).unwrap();
    assert_eq!((full.key, full.ca), ("k".into(), Some("ca".into())));
    assert_eq!((full.verify, full.min_version), (Verify::Once, 3));
    assert_eq!((full.session_cache, full.ciphers.as_deref()), (true, Some("A:B")));
    assert_eq!(config("--ssl-chain-cert c").unwrap().clients.tls, None, "only with -Z");
}

#[test]
fn a_small_memory_limit_lowers_the_default_item_size() {
    assert_eq!(config("-m 1").unwrap().item_len_max, 512 << 10);
}

#[test]
fn refusals_of_memcacheds_options_name_the_option_and_the_reason() {
    check_refusals(&[
        ("-P=", "--pidfile"),
        ("-Z --ssl-chain-cert c --ssl-keyformat 2", "--ssl-keyformat 2: only 1, which is PEM"),
        ("-Z --ssl-chain-cert c -l mtls:a", "-l mtls: needs --ssl-verify-mode 2"),
        ("-Z --ssl-chain-cert c --ssl-verify-mode 2 -l btls:a", "-l btls: contradicts"),
        ("-S", "needs a file of users: --sasl-pwdb or MEMCACHED_SASL_PWDB"),
        ("-S --sasl-pwdb x -B ascii", "-S (--enable-sasl) needs -B binary"),
        ("-S --sasl-pwdb x -B auto", "-S (--enable-sasl) needs -B binary"),
        ("-S --sasl-pwdb x -l proto[ascii]:a", "-S (--enable-sasl) needs -B binary"),
        ("-S --sasl-pwdb x -U 7", "-U (--udp-port): no UDP with -S or -Y"),
        ("-S --sasl-pwdb x -Y y", "-S (--enable-sasl) contradicts -Y"),
        ("-Y x -B binary", "-Y (--auth-file) needs -B ascii"),
        ("-Y x -U 7", "-U (--udp-port): no UDP with -S or -Y"),
        ("-B http", "--protocol"),
        ("-R 0", "-R (--max-reqs-per-event) 0: at least 1"),
        ("-R -1", "--max-reqs-per-event"),
        ("-b 0", "-b (--listen-backlog) 0: at least 1"),
        ("-D ab", "--prefix-delimiter"),
        ("-a 999", "--unix-mask"),
        ("-e /x", "-e (--memory-file) /x: memcached's file of items is not supported"),
        ("-f 1", "-f (--slab-growth-factor) 1: more than 1"),
        ("-n 0", "-n (--slab-min-size) 0: at least 1"),
        ("-N 0", "-N (--napi-ids) 0: at least 1"),
        ("-N 5 -t 4", "-N (--napi-ids) 5: more than there are threads"),
        ("-Z", "-Z (--enable-ssl) needs a certificate: --ssl-chain-cert"),
        ("-Z --ssl-chain-cert x -p 0", "-Z (--enable-ssl) needs a TCP port"),
        ("-Z --ssl-chain-cert x --ssl-verify-mode 4", "--ssl-verify-mode 4: 0, 1, 2 and 3"),
        ("-Z --ssl-chain-cert x --ssl-min-version 4", "--ssl-min-version 4: 0, 1, 2 and 3"),
        ("-l notls:a", "are of use only with -Z"),
        ("-l a,proto[binary]:b", "all addresses must have the same protocol"),
        ("-l a, -p 1", "the host is empty"),
        ("--compat 1.4", "--compat"),
    ]);
}

#[test]
fn refusals_name_the_option_and_the_reason() {
    let cluster = "--name n1 --join a:1,b:1,c:1";
    check_refusals(&[
        ("--durability fsync", "--durability is of no use without --data-dir"),
        ("--data-dir=", "--data-dir"),
        ("-t 0", "-t (--threads) 0: at least 1"),
        ("-t 257", "-t (--threads) 257: at most 256"),
        ("-c 0", "-c (--conn-limit) 0: at least 1"),
        ("-m 0", "-m (--memory-limit) (0 bytes): at least 1 MiB"),
        ("-I 1023", "-I (--max-item-size) (1023 bytes): an item is at least 1 KiB"),
        ("-m 4g -I 1025m", "an item is at most 1 GiB"),
        ("-m 3 -I 2m", "an item may take at most half of -m"),
        ("-p 70000", "--port"),
        ("-p -2", "--port"),
        ("-m -1", "--memory-limit"),
        ("-m 99999999999G", "--memory-limit"),
        ("--peer-listen 127.0.0.1:11211", "--peer-listen 127.0.0.1:11211: the same port as -p"),
        ("--admin-listen 127.0.0.1:11211", "the same port as -p"),
        ("--admin-listen 127.0.0.1:21211", "the same port as --peer-listen"),
        ("--name=", "--name is empty"),
        ("--name a/b", "--name \"a/b\": 1 to 64 letters"),
        ("--join a:1", "--name is needed with --join"),
        ("--name n1 --join a:1,b:1,a:1", "--join a:1: is there twice"),
        ("--name n1 --join a:0", "port 0 reaches nobody"),
        ("--advertise-peer a:0", "port 0 reaches nobody"),
        ("--bootstrap-expect 2", "--bootstrap-expect 2: --join names only 0 nodes"),
        (&format!("{cluster} --bootstrap-expect 4"), "--join names only 3 nodes"),
        ("--drain-time 60001", "--drain-time 60001: at most 60000 ms"),
        (&format!("{cluster} --bootstrap-expect 1"), "two parts could each form a cluster"),
        ("--peer-ca a", "--peer-cert and --peer-key missing"),
        ("--peer-ca a --peer-key b", "--peer-cert missing"),
        ("--peer-cert a --peer-key b", "--peer-ca missing"),
        ("--peer-ca a --peer-cert b --peer-key c --insecure-peers", "--insecure-peers contradicts"),
        ("--insecure-peers=perhaps", "--insecure-peers"),
        ("--heartbeat 0", "--heartbeat 0: at least 1 ms"),
        ("--heartbeat 50", "--heartbeat 50: must be less than the shortest election timeout, 50"),
        ("--election-timeout 75..75", "--election-timeout 75..75: MIN must be less than MAX"),
        ("--election-timeout 100..90000", "at most 60000 ms"),
        ("--operation-budget 75", "--operation-budget 75: more than the election timeout (75)"),
        ("--isolation-close 99", "--isolation-close 99: 100 to 3600000 ms"),
        ("--heartbeat -5", "--heartbeat"),
        ("--colour red", "--colour"),
    ]);
}

/// Each line is refused with a text that has the second one in it.
fn check_refusals(cases: &[(&str, &str)]) {
    for (line, want) in cases {
        match config(line) {
            Ok(have) => panic!("case: {line}: taken as {have:?}"),
            Err(error) => assert!(error.contains(want), "case: {line}: {error}"),
        }
    }
}

#[test]
fn peers_need_certificates_or_the_operators_word() {
    let security = |line| config(line).unwrap().peer_security;
    assert_eq!(security(""), PeerSecurity::Loopback);
    assert_eq!(security("--insecure-peers"), PeerSecurity::Elsewhere);
    assert_eq!(security("--insecure-peers=false"), PeerSecurity::Loopback);
    let files = PeerTlsFiles { ca: "a".into(), certificate: "b".into(), key: "c".into() };
    let tls = PeerSecurity::Tls(files);
    assert_eq!(security("--peer-ca a --peer-cert b --peer-key c"), tls);
    assert_eq!(security("--peer-ca a --peer-cert b --peer-key c --insecure-peers=false"), tls);
}

/// On the command line the parser refuses it; from a file it was taken, and named when it could not
/// be opened. (Found by fuzzing, `config`.)
#[test]
fn an_empty_name_of_a_certificate_is_refused() {
    for empty in ["ca", "cert", "key"] {
        let line = |what| format!("peer-{what} = \"{}\"\n", if what == empty { "" } else { what });
        let file = ["ca", "cert", "key"].map(line).concat();
        let refusal = Config::try_from(Options::from_text(file.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(refusal.to_string(), format!("--peer-{empty} is empty: a file is expected"));
    }
}

#[test]
fn a_majority_of_the_nodes_may_form_the_cluster() {
    let have = config("--name n1 --join a:1,b:1,c:1 --bootstrap-expect 2").unwrap();
    assert_eq!(have.bootstrap_expect, 2);
    assert_eq!(config("--bootstrap-expect 0").unwrap().bootstrap_expect, 0, "only waits");
    assert_eq!(config("--name n1 --join a:1,b:1,c:1").unwrap().bootstrap_expect, 3);
}
