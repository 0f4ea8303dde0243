use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Server {
    #[command(flatten)]
    options: Options,
}

fn config(line: &str) -> Result<Config, String> {
    let words = ["server"].into_iter().chain(line.split_whitespace());
    let server = Server::try_parse_from(words).map_err(|error| error.to_string())?;
    Config::try_from(server.options).map_err(|refusal| refusal.to_string())
}

#[test]
fn without_options_it_is_memcached_on_loopback() {
    let have = config("").unwrap();
    assert_eq!(have.name, "n1");
    assert_eq!(have.client_listen.to_string(), "127.0.0.1:11211");
    assert_eq!(have.peer_listen.to_string(), "127.0.0.1:21211");
    assert_eq!(have.admin_listen.to_string(), "127.0.0.1:31211");
    assert_eq!((have.memory_limit, have.evict, have.item_len_max), (64 << 20, true, 1 << 20));
    assert_eq!((have.connections_max, have.threads), (1024, 4));
    assert_eq!((have.join.len(), have.bootstrap_expect), (0, 1));
    assert_eq!((have.heartbeat_ms, have.election_timeout_ms), (20, (50, 75)));
    assert_eq!((have.operation_budget_ms, have.isolation_close_ms), (2000, 3000));
}

#[test]
fn memcacheds_flags() {
    let have = config("-p 11311 -l 0.0.0.0 -m 256 -M -c 2048 -t 8 -I 2m -U 0 -vv").unwrap();
    assert_eq!(have.client_listen.to_string(), "0.0.0.0:11311");
    assert_eq!(
        have.peer_listen.to_string(),
        "127.0.0.1:21311",
        "wider only at the operator's word"
    );
    assert_eq!((have.memory_limit, have.evict, have.item_len_max), (256 << 20, false, 2 << 20));
    assert_eq!((have.connections_max, have.threads, have.verbosity), (2048, 8, 2));
    let long = "--port=11311 --listen 0.0.0.0 --memory-limit 256 --disable-evictions \
        --conn-limit 2048 --threads 8 --max-item-size 2m --udp-port 0 --verbose --verbose";
    assert_eq!(config(long).unwrap(), have);
    assert!(config("--disable-evictions=false").unwrap().evict);
}

#[test]
fn a_client_port_without_room_above_it_still_starts() {
    let have = config("-p 65000").unwrap();
    assert_eq!((have.peer_listen.port, have.admin_listen.port), (0, 0));
}

#[test]
fn a_small_memory_limit_lowers_the_default_item_size() {
    assert_eq!(config("-m 1").unwrap().item_len_max, 512 << 10);
}

#[test]
fn refusals_name_the_option_and_the_reason() {
    let cluster = "--name n1 --join a:1,b:1,c:1";
    let cases = [
        ("-d", "-d (--daemon) is not supported yet"),
        ("-P /run/x", "-P (--pidfile) is not supported yet"),
        ("-u memcache", "-u (--user) is not supported yet"),
        ("-s /tmp/x", "-s (--unix-socket) is not supported yet"),
        ("--durability fsync", "--durability is of no use without --data-dir"),
        ("--data-dir=", "--data-dir"),
        ("-U 11211", "-U (--udp-port) 11211: UDP is not supported"),
        ("-t 0", "-t (--threads) 0: at least 1"),
        ("-t 257", "-t (--threads) 257: at most 256"),
        ("-c 0", "-c (--conn-limit) 0: at least 1"),
        ("-m 0", "-m (--memory-limit) (0 bytes): at least 1 MiB"),
        ("-I 1023", "-I (--max-item-size) (1023 bytes): an item is at least 1 KiB"),
        ("-m 4g -I 1025m", "an item is at most 1 GiB"),
        ("-m 3 -I 2m", "an item may take at most half of -m"),
        ("-p 70000", "--port"),
        ("-p -1", "--port"),
        ("-m -1", "--memory-limit"),
        ("-m 99999999999G", "--memory-limit"),
        ("-l a,b", "more than one address"),
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
    ];
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
