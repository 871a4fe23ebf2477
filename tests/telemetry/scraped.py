"""Prometheus scrapes a server that has work of every kind and is killed in the middle: it has every metric of
TELEMETRY.md, and every query of the dashboard has data.

    scraped.py DASHBOARD.json       INKPOTD names the server, PROMETHEUS the other, WORK a folder
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import grpc

import table
from collector import free_port
from inkpotd import OFTEN, TENANTS, Server
from process import BOUND, Failed, Program, expect
from waiting import eventually, eventually_passes
from writing import Account, Client, payload

# A tenant at its limit waits for the delay, so that there are waits in every scrape.
CONFIG = """
shards = 2
[flush]
delay = "20ms"
[checkpoint]
interval = "1s"
[tenants.beta.limits]
writes_in_flight = 2
"""
SCRAPES = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
- job_name: inkpot
  static_configs:
  - targets: ["{}"]
"""
# What Prometheus adds.
ADDED = {"__name__", "job", "instance", "le"}
WINDOW = 15  # seconds of $__rate_interval, and as many scrapes
BEFORE = 6  # scrapes of the first life of the server
SOON = 30  # seconds for what takes a few


class Prometheus:
    def __init__(self, binary, folder, target):
        self._binary, self._folder = binary, folder
        self._address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self._address}"
        self._program = None
        pathlib.Path(f"{folder}/prometheus.yml").write_text(SCRAPES.format(target))

    def __enter__(self):
        options = {
            "config.file": f"{self._folder}/prometheus.yml",
            "storage.tsdb.path": f"{self._folder}/tsdb",
            "web.listen-address": self._address,
        }
        self._program = Program([self._binary, *(f"--{name}={value}" for name, value in options.items())])
        try:
            eventually("Prometheus is ready", self._is_ready)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error):
        self._program.__exit__(*error)

    def _is_ready(self):
        expect(self._program.is_running(), f"Prometheus ended early: {bytes(self._program.err).decode()}")
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready").status == 200
        except urllib.error.URLError:
            return False

    def _get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def value(self, query):
        """The only sample of the answer, or None."""
        samples = self._get("query", query=query)["result"]
        return float(samples[0]["value"][1]) if samples else None

    def metadata(self, name):
        """Type and help; a counter has its name with `_total` in the text format, a histogram its base name."""
        found = self._get("metadata", metric=name).get(name, [])
        return {(entry["type"], entry["help"]) for entry in found}

    def labels(self, name):
        """The sets of labels that its series have, without those that Prometheus adds."""
        return {frozenset(series.keys() - ADDED) for series in self._get("series", **{"match[]": name})}


class Load:
    """Work of every kind for a tenant, again and again, until the end of the `with` block."""

    def __init__(self, address, tenant):
        self._address, self._tenant = address, tenant
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.rounds, self._failure = 0, None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_error):
        self._done.set()
        self._thread.join()
        if kind is None:
            self.goes_well()

    def goes_well(self):
        if self._failure:
            raise self._failure

    def _work(self):
        try:
            with Client(self._address, self._tenant, Account()) as client:
                while not self._done.is_set():
                    try:
                        self._round(client)
                        self.rounds += 1
                    except grpc.RpcError as error:
                        # The server is away, or was while the call ran.
                        expect(error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN), error)
                    time.sleep(0.1)
        except Exception as failure:  # told where the block ends
            self._failure = failure

    def _round(self, client):
        for durability in ("DURABILITY_WRITTEN", "DURABILITY_SYNCED"):
            with client.session() as session:
                session.open(1, f"{durability}/a.log", durability=durability)
                session.open(2, "refused.log", admission="ADMISSION_REJECT")
                for seq in range(1, 11):
                    session.append(1, seq, payload(b"one\n", b"two\n"))
                session.wait_for_acks()
                for seq in range(1, 6):
                    session.append(2, seq, payload(b"now or never\n"))
                session.wait_for_acks()
        client.append("again.log", payload(b"once\n"), producer_id="p", producer_epoch=1, seq=1)
        client.read("DURABILITY_SYNCED/a.log")
        self._gap(client)

    def _gap(self, client):
        try:
            client.append("again.log", payload(b"early\n"), producer_id="p", producer_epoch=1, seq=3)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise
        else:
            raise Failed("a seq that leaves a gap is taken")


def check_table(prometheus):
    """Every metric of TELEMETRY.md is there by its name at the endpoint, with kind, meaning and labels."""
    for row in table.rows():
        found = prometheus.metadata(row.prometheus)
        expect(found == {(row.kind, row.description)}, f"{row.prometheus} is a {row.kind}: {row.description}: {found}")
        suffixes = ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",)
        for suffix in suffixes:
            labels = prometheus.labels(row.prometheus + suffix)
            expect(labels == {row.labels}, f"{row.prometheus}{suffix} has the labels {set(row.labels)}: {labels}")


def dashboard(prometheus, path):
    command = [sys.executable, "tests/deploy/dashboard.py", "query", prometheus.url, path, f"{WINDOW}s"]
    return subprocess.run(command, capture_output=True, text=True)


def check_dashboard(prometheus, path):
    asked = dashboard(prometheus, path)
    expect(asked.returncode == 0, f"every query of the dashboard has data: {asked.stdout}{asked.stderr}")
    return asked.stdout.strip()


def check_that_the_check_fails(prometheus, path, work):
    """A query of something that is not there has no data."""
    broken = f"{work}/broken.json"
    pathlib.Path(broken).write_text(pathlib.Path(path).read_text().replace("inkpot_read_io_", "inkpot_reads_io_"))
    asked = dashboard(prometheus, broken)
    expect(asked.returncode == 1 and "no data" in asked.stderr, f"a query without data fails: {asked}")


def run(server, prometheus, path, work):
    loads = [Load(server.address, tenant) for tenant in TENANTS]
    with loads[0], loads[1]:
        eventually("the server was scraped", lambda: (prometheus.value("count_over_time(up[1m])") or 0) >= BEFORE)
        expect(prometheus.value("min_over_time(up[1m])") == 1, "every scrape succeeded")
        server.kill9()
        before = [load.rounds for load in loads]
        server.start()
        eventually("clients go on", lambda: all(load.rounds > rounds for load, rounds in zip(loads, before)), SOON)
        seen = "resets(process_uptime_seconds[1m])"
        eventually("Prometheus saw the restart", lambda: prometheus.value(seen) == 1, SOON)
        # The window has the second life only, with counters that began anew.
        eventually("the window is full", lambda: (prometheus.value("process_uptime_seconds") or 0) > WINDOW, BOUND)
        said = eventually_passes(lambda: check_dashboard(prometheus, path), SOON)
        check_that_the_check_fails(prometheus, path, work)
        check_table(prometheus)
        recovered = prometheus.value("sum(inkpot_recovery_duration_seconds_count)")
        expect(recovered == 2, f"each shard recovered once in this life: {recovered}")
        for load in loads:
            load.goes_well()
    print(f"{said}; {sum(load.rounds for load in loads)} rounds of work")


def main():
    path, work = sys.argv[1], os.environ["WORK"]
    variables = {"INKPOT_LOG__FILTER": OFTEN["INKPOT_LOG__FILTER"]}
    with Server(f"{work}/server", CONFIG, variables) as server:
        with Prometheus(os.environ["PROMETHEUS"], work, server.metrics) as prometheus:
            run(server, prometheus, path, work)
        server.terminate()
    print("Prometheus has every metric, and data for every query of the dashboard: ok")


main()
