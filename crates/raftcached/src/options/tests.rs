use std::io::Write;

use super::*;

fn with_file(text: &[u8], flags: Options) -> anyhow::Result<Options> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text)?;
    Options { config: Some(file.path().to_owned()), ..flags }.with_file()
}

#[test]
fn flags_win_over_the_file() {
    let text = b"name = \"n1\"\nmemory-limit = 128\nmax-item-size = \"2m\"\nverbose = 2\n\
        join = [\"n1:21211\", \"n2:21211\"]\nelection-timeout = \"100..150\"\n\
        disable-evictions = true\n";
    let flags = Options { memory_limit: Some(MemoryLimit(1 << 20)), ..Options::default() };
    let have = with_file(text, flags).unwrap();
    assert_eq!(have.memory_limit, Some(MemoryLimit(1 << 20)));
    assert_eq!(have.max_item_size, Some(ItemSize(2 << 20)));
    assert_eq!(have.name.as_deref(), Some("n1"));
    assert_eq!(have.verbose, 2);
    assert_eq!(have.join.unwrap().len(), 2);
    assert_eq!(have.election_timeout, Some(ElectionTimeout { min_ms: 100, max_ms: 150 }));
    assert_eq!(have.disable_evictions, Some(true));
}

#[test]
fn a_bad_file_is_refused_by_line_and_key() {
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("unknown key", b"port = 1\nprot = 2\n", &["line 2", "prot"]),
        ("wrong type", b"\nport = \"x\"\n", &["line 2", "port"]),
        ("out of range", b"port = 65536\n", &["line 1", "port"]),
        ("negative size", b"memory-limit = -1\n", &["line 1", "memory-limit"]),
        ("twice", b"port = 1\nport = 2\n", &["line 2", "port"]),
        ("not TOML", b"port 1\n", &["line 1"]),
        ("hidden option", b"exit-on-stdin-eof = true\n", &["exit-on-stdin-eof"]),
        ("unknown mode", b"durability = \"never\"\n", &["line 1", "durability", "fsync"]),
        ("UTF-16", b"\xff\xfep\0o\0", &["not UTF-8"]),
    ];
    for (name, text, wants) in cases {
        let error = with_file(text, Options::default()).expect_err(name);
        let shown = format!("{error:#}");
        assert!(wants.iter().all(|want| shown.contains(want)), "case: {name}: {shown}");
    }
    let missing = Options { config: Some("no/such.toml".into()), ..Options::default() };
    let shown = format!("{:#}", missing.with_file().unwrap_err());
    assert!(shown.contains("--config: cannot read no/such.toml"), "{shown}");
}

#[test]
fn a_byte_order_mark_and_an_empty_file_are_fine() {
    let have = with_file(b"\xef\xbb\xbfport = 7\n", Options::default()).unwrap();
    assert_eq!(have.port, Some(Port::Number(7)));
    assert_eq!(with_file(b"", Options::default()).unwrap().port, None);
}

#[test]
fn memcacheds_options_are_keys_too() {
    let text = b"port = -1\nudp-port = \"0\"\nunix-mask = 770\nprotocol = \"ascii\"\n\
        idle-timeout = 3\ncompat = \"1.6.45\"\ndaemon = true\nprefix-delimiter = \"|\"\n\
        enable-ssl = true\nssl-verify-mode = 2\n";
    let have = with_file(text, Options::default()).unwrap();
    assert_eq!((have.port, have.udp_port), (Some(Port::Any), Some(Port::Off)));
    assert_eq!(have.unix_mask, Some(UnixMask(0o770)));
    assert_eq!((have.protocol, have.compat), (Some(Dialect::Ascii), Some(Compat::V1_6_45)));
    assert_eq!(have.idle_timeout, Some(IdleTimeout(3)));
    assert_eq!(have.prefix_delimiter, Some(Delimiter(b'|')));
    assert_eq!((have.daemon, have.enable_ssl), (Some(true), Some(true)));
    assert_eq!(have.ssl_verify_mode, Some(2));
}

#[test]
fn addresses_for_clients_are_one_or_many() {
    for text in ["listen = \"a, b:1\"\n", "listen = [\"a\", \"b:1\"]\n"] {
        let have = with_file(text.as_bytes(), Options::default()).unwrap().listen.unwrap();
        assert_eq!(have, ["a".parse().unwrap(), "b:1".parse().unwrap()], "case: {text}");
    }
    let error = with_file(b"listen = [\"a\", \"b:x\"]\n", Options::default()).unwrap_err();
    assert!(format!("{error:#}").contains("line 1"), "{error:#}");
    let list = "a".parse().map(|address| vec![address]).ok();
    let flags = Options { listen: list.clone(), ..Options::default() };
    assert_eq!(with_file(b"listen = \"b\"\n", flags).unwrap().listen, list, "a flag wins");
}
