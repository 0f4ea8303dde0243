"""Which clients there are, how their bridges are started, and what each cannot do."""

import dataclasses
import pathlib
import sys

BRIDGES = pathlib.Path(__file__).resolve().parent / "bridges"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One client with one protocol."""
    name: str
    # Program and arguments; `{store}` is where run.sh installed the clients.
    argv: tuple
    # Checks that its interface has no call for.
    cannot: frozenset = frozenset()
    # It keeps asking a dead server: the application gives it the addresses that are left.
    reopens: bool = False
    # It can prove who it is, with SASL PLAIN.
    sasl: bool = False


def python(name, *argv, **options):
    return Variant(name, ("{store}/python/bin/python", *argv), **options)


def java(name, protocol):
    return Variant(f"{name} {protocol}", (
        "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        "-cp", "{store}/java/classes:{store}/java/lib/*", "raftcached.tests.Bridge",
        name, protocol), sasl=f"{name} {protocol}" == "spymemcached binary")


VARIANTS = (
    python("pymemcache text", BRIDGES / "pymemcache_.py"),
    python("pylibmc text", BRIDGES / "pylibmc_.py", "text"),
    python("pylibmc binary", BRIDGES / "pylibmc_.py", "binary", sasl=True),
    python("python-binary-memcached", BRIDGES / "bmemcached_.py", reopens=True, sasl=True,
           cannot=frozenset({"append", "touch"})),
    Variant("php-memcached text", ("php", BRIDGES / "memcached.php", "text")),
    Variant("php-memcached binary", ("php", BRIDGES / "memcached.php", "binary"), sasl=True),
    java("spymemcached", "text"),
    java("spymemcached", "binary"),
    java("xmemcached", "text"),
    java("xmemcached", "binary"),
    Variant("gomemcache text", ("{store}/go/gomemcache",), reopens=True),
    Variant("memcached.js text", ("node", BRIDGES / "node.js", "memcached")),
    Variant("memjs binary", ("node", BRIDGES / "node.js", "memjs"), sasl=True,
            cannot=frozenset({"cas", "multi-get"})),
    Variant("dalli 3 binary", ("ruby", BRIDGES / "dalli3.rb"), sasl=True),
    Variant("dalli 5 meta", (sys.executable, "-B", BRIDGES / "dalli5.py")),
)
