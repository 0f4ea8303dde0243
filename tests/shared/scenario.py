"""The frame of a session test: options, phases, workers that must get on, one verdict.

A worker is a thread with the fields `successes` (counted up) and `crash` (what ended it, or None).
"""

import argparse
import shutil
import tempfile
import threading
import time

import cluster

PROGRESS_TIMEOUT_S = 30


class Scenario:
    """One variant from start to verdict: a backend, workers, and which phase was when."""

    def __init__(self, kind, directory):
        self.backend = cluster.backend(kind, directory)
        self.stop_workers = threading.Event()
        self.workers = []
        self.phases = []

    def run(self):
        raise NotImplementedError

    def begin(self, phase):
        self.phases.append((phase, time.monotonic()))

    def phase_at(self, at):
        return next(name for name, begun in reversed(self.phases) if begun <= at)

    def wait_progress(self, requests, down_s):
        """Until every worker had so many successes more, and at least `down_s` went by."""
        since = time.monotonic()
        goals = [worker.successes + requests for worker in self.workers]

        def done():
            for worker in self.workers:
                if worker.crash is not None:
                    raise worker.crash
            return (time.monotonic() - since >= down_s
                    and all(w.successes >= goal for w, goal in zip(self.workers, goals)))

        cluster.wait_until("progress of all users", done, PROGRESS_TIMEOUT_S)

    def end_workers(self):
        self.stop_workers.set()
        for worker in self.workers:
            if worker.is_alive():
                worker.join()


def parse_arguments(doc, variants, set_help):
    """The options that every session test has; `doc` is the driver's own."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--control", action="store_const", dest="kind", const="control",
                        help="three stock memcacheds instead: must fail")
    parser.add_argument("--ideal", action="store_const", dest="kind", const="ideal",
                        help="one memcached behind three forwarders: what the clients do alone")
    parser.add_argument("--variant", action="append", choices=variants, help="only this one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=set_help)
    parser.set_defaults(kind="raftcached")
    return parser.parse_args()


def play(report, stage, variant, make, judge):
    """Runs and judges the scenario that `make(directory)` gives; keeps the logs of one that fails.
    """
    directory = tempfile.mkdtemp(prefix=f"raftcached-{stage}-{variant}-")
    scenario = make(directory)
    failed_before = report.failed
    try:
        scenario.run()
        judge(scenario)
    except (TimeoutError, RuntimeError) as error:
        report.check(f"{variant}: runs to its end", False, error)
    if report.failed == failed_before:
        shutil.rmtree(directory)
    else:
        print(f"     logs kept in {directory}")
