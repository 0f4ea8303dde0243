"""Two real Tomcats on a three-node cluster, through the death of every part.

Tomcat t1 uses node n1, t2 uses n2; n3 has none. One after the other die by kill -9: n1, n2, n3
(each started again, and the next only dies when the cluster and both Tomcats are whole), then
Tomcat t1, and at last a machine: t2 together with n2. Clients send a request every 20 ms all
the time. See README.md for the configuration and why it is the one.
"""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))

import balancer  # noqa: E402
import cluster  # noqa: E402
import scenario  # noqa: E402

CLIENT_COUNT = 3
GAP_MAX_S = 1.0
# Long enough for the client library's back-off to be seen, and for every client to be hit.
DOWN_S = 2.0
DOWN_REQUESTS = 10
TOMCAT_TIMEOUT_S = 40
TOMCATS = ("t1", "t2")

COMMON = {
    # Longer than any failover of the cluster, so that a stored session is not called unstored.
    "sessionBackupTimeout": "600",
    # What one get, or the wait for one session lock, may take.
    "operationTimeout": "600",
    # A Tomcat that dies inside a request leaves its lock behind for this long.
    "lockExpiration": "1",
    "guard": "true",
    "memcachedProtocol": "text",
}
VARIANTS = {
    # The session lives in its Tomcat too, so a dead node costs nothing but the backup's timeout;
    # a guard would move it away and back, to a copy that the first Tomcat still has in memory.
    "sticky": {"sticky": "true", "guard": "false"},
    "non-sticky-none": {"sticky": "false", "lockingMode": "none"},
    "non-sticky-all": {"sticky": "false", "lockingMode": "all"},
}


class Tomcat:
    """A SessionTomcat process beside the node whose address it was given."""

    def __init__(self, i, settings, nodes, directory):
        self.name = TOMCATS[i]
        self.port = cluster.free_ports(1)[0]
        work = pathlib.Path(directory) / self.name
        work.mkdir()
        built = cluster.ROOT / "target" / "tomcat"
        arguments = {"name": self.name, "port": self.port, "dir": work,
                     "memcachedNodes": nodes, **settings}
        self.process = cluster.Process(self.name, [
            "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            # The default of 30 s keeps a Tomcat away from a node that is long back.
            "-Dmsm.maxReconnectDelay=1",
            "-cp", f"{built}/classes:{built}/lib/*", "raftcached.tests.SessionTomcat",
            *(f"{key}={value}" for key, value in arguments.items())], directory)

    def healthy(self):
        self.process.check()
        return cluster.http_get(f"http://{cluster.HOST}:{self.port}/health")[0] == 200


class Scenario(scenario.Scenario):
    """One variant from start to verdict."""

    def __init__(self, kind, settings, directory):
        super().__init__(kind, directory)
        addresses = [f"{cluster.HOST}:{port}" for port in self.backend.client_ports]
        if kind == "control":
            # As people run it today: the manager knows all memcacheds and keeps its own backups.
            nodes = ",".join(f"{n}:{address}" for n, address in zip(cluster.NODES, addresses))
            addresses = [nodes] * len(TOMCATS)
        self.tomcats = [Tomcat(i, settings, addresses[i], directory) for i in range(len(TOMCATS))]
        workers = [balancer.Worker(tomcat.name, tomcat.port) for tomcat in self.tomcats]
        shared = balancer.Balancer(workers, settings["sticky"] == "true")
        self.workers = [balancer.Client(shared, self.stop_workers) for _ in range(CLIENT_COUNT)]

    def run(self):
        try:
            print(f"     cluster healthy after {self.backend.start():.2f} s", flush=True)
            for tomcat in self.tomcats:
                tomcat.process.start()
            self.wait_whole()
            self.begin("steady")
            for client in self.workers:
                client.start()
            self.wait_progress(DOWN_REQUESTS, DOWN_S)
            for i, node in enumerate(cluster.NODES):
                self.outage(node, [self.backend.processes[i]])
            self.outage("t1", [self.tomcats[0].process])
            self.outage("t2+n2", [self.tomcats[1].process, self.backend.processes[1]], last=True)
        finally:
            self.end_workers()
            for client in self.workers:
                client.close()
            for tomcat in self.tomcats:
                tomcat.process.kill()
            self.backend.stop()

    def outage(self, name, victims, last=False):
        self.begin(f"{name} down")
        for victim in victims:
            victim.kill()
        self.wait_progress(DOWN_REQUESTS, DOWN_S)
        if last:
            return
        self.begin(f"{name} back")
        for victim in victims:
            victim.start()
        self.wait_whole()
        self.wait_progress(DOWN_REQUESTS, 0.0)

    def wait_whole(self):
        """Until the next death is survivable: three nodes, and every Tomcat connected to its own.

        A Tomcat notices by itself, after at most msm.maxReconnectDelay, that its node is back.
        """
        cluster_s = self.backend.wait_healthy()
        tomcats_s = cluster.wait_until(
            "Tomcats connected", lambda: all(t.healthy() for t in self.tomcats), TOMCAT_TIMEOUT_S)
        print(f"     whole again: cluster after {cluster_s:.2f} s, Tomcats {tomcats_s:.2f} s "
              "later", flush=True)


def judge(report, variant, played):
    clients = played.workers
    total = sum(client.successes for client in clients)
    print(f"     {total} requests answered, {sum(c.retried for c in clients)} of them retried, "
          f"{sum(c.counted_twice for c in clients)} of those counted twice")
    for phase, _ in played.phases:
        gaps = [gap for c in clients for gap, at in c.gaps if played.phase_at(at) == phase]
        print(f"     {phase:12} longest gap {max(gaps, default=0) * 1000:6.0f} ms, "
              f"{len(gaps)} requests")
    claims = {"new": "the session is never new", "counter": "the counter never goes back or stays",
              "error": "no 5xx and no error reaches a client", "payload": "the 20 KB are unchanged"}
    for kind, claim in claims.items():
        faults = [fault for client in clients for fault in client.faults[kind]]
        report.check(f"{variant}: {claim}", not faults, f"{len(faults)} violations")
        for at, text in faults[:5]:
            print(f"       {played.phase_at(at)}: {text}")
    longest, at = max(gap for client in clients for gap in client.gaps)
    report.check(f"{variant}: the longest gap is under {GAP_MAX_S * 1000:.0f} ms",
                 longest < GAP_MAX_S, f"{longest * 1000:.0f} ms ({played.phase_at(at)})")


def main():
    arguments = scenario.parse_arguments(
        __doc__, VARIANTS, "a manager attribute, or guard=false, for experiments")
    report = cluster.Report()
    for variant in arguments.variant or VARIANTS:
        settings = {**COMMON, **VARIANTS[variant], **dict(s.split("=", 1) for s in arguments.set)}
        if arguments.kind == "control":
            settings["guard"] = "false"
        print(f"---- {variant} on {arguments.kind}: {settings}", flush=True)
        scenario.play(report, "tomcat", variant,
                      lambda directory: Scenario(arguments.kind, settings, directory),
                      lambda played: judge(report, variant, played))
    return report.finish()


sys.exit(main())
