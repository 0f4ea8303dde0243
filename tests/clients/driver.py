"""Real clients on a three-node cluster: every operation, another node, and the death of one.

One cluster for all of them. Each client writes through one node and reads through another; then it
is given all three, as its users give it several servers, and the node that leads dies by kill -9
in the middle of its operations, and is started again. See README.md.
"""

import argparse
import dataclasses
import pathlib
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))

import checks  # noqa: E402
import cluster  # noqa: E402
import memcached_tool  # noqa: E402
import outage  # noqa: E402
import speaker  # noqa: E402
import text  # noqa: E402
import variants  # noqa: E402

TOOL = "memcached-tool"
USER = "somebody"
PASSWORD = "something"
FAILURES = (checks.Wrong, speaker.ClientError, TimeoutError, RuntimeError, OSError)


def judge(report, claim, check):
    """Runs one check, which may return what it measured."""
    began = time.monotonic()
    try:
        found = check()
    except FAILURES as error:
        report.check(claim, False, f"{type(error).__name__}: {error}")
        return
    report.check(claim, True, found or f"{time.monotonic() - began:.2f} s")


def play(report, variant, turn, backend, addresses, options):
    """All checks of one client; `turn` decides which nodes it gets."""
    prefix = variant.name.replace(" ", "-")
    here, there = (addresses[(turn + i) % len(addresses)] for i in range(2))
    bridge = speaker.Speaker(variant, options.store, options.directory)
    try:
        clients = [speaker.Client(bridge, name, [address])
                   for name, address in (("here", here), ("there", there))]
        battery = checks.Checks(*clients, prefix)
        for name, check in checks.CHECKS.items():
            if name not in variant.cannot:
                judge(report, f"{variant.name}: {name}", lambda check=check: check(battery))
        if backend is not None:
            everywhere = speaker.Client(bridge, "all", addresses)
            judge_outage(report, variant, prefix, everywhere, backend, lambda i: text.getter(
                backend.client_ports[i]))
    except FAILURES as error:
        report.check(f"{variant.name}: runs to its end", False, f"{type(error).__name__}: {error}")
    finally:
        bridge.stop()


def judge_outage(report, variant, prefix, client, backend, views):
    """`views(i)` gives a `get` through node i."""
    stream, over, seconds = outage.run(client, prefix, variant.reopens, backend, backend.leader(),
                                       views)
    report.check(f"{variant.name}: gets over the kill of a node", over,
                 f"{stream.errors} errors, the last {seconds * 1000:.0f} ms after it "
                 f"({stream.last_error[:80]})")
    report.check(f"{variant.name}: nothing acknowledged is lost", not stream.faults,
                 f"{len(stream.items)} items, {sum(stream.acknowledged.values())} increments, "
                 f"{len(stream.faults)} violations")
    for fault in stream.faults[:5]:
        print(f"       {fault}")


def play_sasl(report, options):
    """The clients that can prove who they are, on a cluster that asks for it."""
    users = pathlib.Path(options.directory) / "users"
    users.write_text(f"{USER}:{PASSWORD}\n", encoding="ascii")
    users.chmod(0o600)
    directory = pathlib.Path(options.directory) / "sasl"
    directory.mkdir()
    backend = cluster.RaftCluster(directory, ("-S", "--sasl-pwdb", users))
    try:
        print(f"     cluster with -S healthy after {backend.start():.2f} s", flush=True)
        addresses = [f"{cluster.HOST}:{port}" for port in backend.client_ports]
        for variant in variants.VARIANTS:
            if variant.sasl and variant.name in options.names:
                judge_sasl(report, variant, backend, addresses, options)
    finally:
        backend.stop()


def judge_sasl(report, variant, backend, addresses, options):
    prefix = f"sasl-{variant.name.replace(' ', '-')}"
    named = dataclasses.replace(variant, name=f"{variant.name}, SASL")
    bridge = speaker.Speaker(named, options.store, options.directory, (USER, PASSWORD))
    try:
        clients = [speaker.Client(bridge, handle, [addresses[i]])
                   for i, handle in enumerate(("here", "there"))]
        battery = checks.Checks(*clients, prefix)
        for name in ("set and get", "1 MB", "another node"):
            judge(report, f"{named.name}: {name}", lambda name=name: checks.CHECKS[name](battery))
        for claim, credentials in (("a wrong password", (USER, "wrong")), ("no password", None)):
            judge(report, f"{named.name}: {claim} is refused", lambda credentials=credentials:
                  refused(named, credentials, addresses[0], battery, options))
        # The text protocol has no SASL: the client itself looks into each node.
        judge_outage(report, named, prefix, speaker.Client(bridge, "all", addresses), backend,
                     lambda i: speaker.Client(bridge, f"node{i}", [addresses[i]]).get)
    except FAILURES as error:
        report.check(f"{named.name}: runs to its end", False, f"{type(error).__name__}: {error}")
    finally:
        bridge.stop()


def refused(variant, credentials, address, battery, options):
    """How a client says so differs; what counts is that nothing is stored, nor acknowledged."""
    bridge = speaker.Speaker(variant, options.store, options.directory, credentials)
    key = battery.key("refused")
    try:
        said = speaker.Client(bridge, "stranger", [address]).set(key, 0, "one")
    except (speaker.ClientError, TimeoutError) as error:
        said = str(error)
    finally:
        bridge.stop()
    if said is True:
        raise checks.Wrong("the set of a stranger is acknowledged")
    checks.expect("get of what a stranger set", battery.here.get(key), checks.MISS)
    return str(said)[:60]


def play_tool(report, port):
    memcached_tool.fill(port)
    for mode, check in memcached_tool.CHECKS.items():
        judge(report, f"{TOOL} {mode}", lambda check=check: check(port))


def parse_arguments():
    names = [variant.name for variant in variants.VARIANTS] + [TOOL]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", required=True, help="where run.sh installed the clients")
    parser.add_argument("--control", action="store_const", dest="kind", const="control",
                        help="three stock memcacheds instead: must fail")
    parser.add_argument("--server", metavar="ADDRESS",
                        help="a server that runs already, all checks but those of a dead node")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help=f"clients whose name begins so: {', '.join(names)}")
    parser.set_defaults(kind="raftcached")
    options = parser.parse_args()
    options.names = [name for name in names
                     if not options.only or name.startswith(tuple(options.only))]
    if not options.names:
        parser.error(f"no client is called {' or '.join(options.only)}")
    return options


def main():
    options = parse_arguments()
    options.directory = tempfile.mkdtemp(prefix="raftcached-clients-")
    report = cluster.Report()
    backend = None
    try:
        if options.server:
            addresses = [options.server] * len(cluster.NODES)
        else:
            backend = cluster.backend(options.kind, options.directory)
            print(f"     cluster healthy after {backend.start():.2f} s", flush=True)
            addresses = [f"{cluster.HOST}:{port}" for port in backend.client_ports]
        # First, while there are few items: its dump asks for one after the other.
        if TOOL in options.names:
            play_tool(report, int(addresses[0].rpartition(":")[2]))
        for turn, variant in enumerate(variants.VARIANTS):
            if variant.name in options.names:
                began = time.monotonic()
                play(report, variant, turn, backend, addresses, options)
                print(f"     {variant.name}: {time.monotonic() - began:.1f} s", flush=True)
        if options.kind == "raftcached" and not options.server:
            backend.stop()
            play_sasl(report, options)
    except (TimeoutError, RuntimeError) as error:
        report.check("runs to its end", False, error)
    finally:
        if backend is not None:
            backend.stop()
    if report.failed:
        print(f"     logs kept in {options.directory}")
    else:
        shutil.rmtree(options.directory)
    return report.finish()


sys.exit(main())
