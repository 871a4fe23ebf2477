"""A collector that dies, and one that takes connections and answers nothing, while clients write: no ack is missing, no
append is lost or there twice, the server tells it once, and stops as fast as ever.

    undelivered.py      INKPOTD names the server, ROTEL the collector, WORK a folder
"""

import collections
import os
import re
import threading
import time

from collector import Collector
from inkpotd import OFTEN, Server
from process import expect
from waiting import eventually
from writing import Account, Client, payload

SIGNALS = ("logs", "metrics", "traces")
LOST, AGAIN = "telemetry cannot be delivered", "telemetry is delivered again"
PATIENCE = "2000"  # ms that the server gives the collector, so that nobody waits for the 10 s that are the default
BATCH = 20  # appends that are sent before their acks are waited for
STOP = 10  # seconds within which the server has to stop, whatever the collector does


class Writer:
    """Appends traced lines to one file, and makes calls, until the end of the `with` block."""

    def __init__(self, client, path):
        self.path, self.acked = path, 0
        self._client = client
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._failure = None

    def __enter__(self):
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, kind, *_error):
        self._done.set()
        self._thread.join()
        if kind is None and self._failure:
            raise self._failure

    def _write(self):
        try:
            with self._client.session() as session:
                session.open(1, self.path, producer_id="p", producer_epoch=1)
                while not self._done.is_set():
                    self._write_batch(session)
                    # Its line in the log has to be delivered, too. The pause leaves the machine to the others.
                    self._client.append(f"calls-{self.path}", payload(b"x\n"), traceparent(self.acked))
                    time.sleep(0.01)
        except Exception as failure:  # told where the block ends
            self._failure = failure

    def _write_batch(self, session):
        for seq in range(self.acked + 1, self.acked + BATCH + 1):
            session.append(1, seq, line(seq), traceparent=traceparent(seq))
        session.wait_for_acks()
        expect(session.acked[1] == self.acked + BATCH and not session.nacks, f"all is acked: {session.nacks}")
        self.acked += BATCH

    def goes_on(self):
        """Waits until more is acknowledged than before."""
        before = self.acked
        eventually("appends are acknowledged", lambda: self._failure or self.acked > before)

    def content(self):
        return b"".join(line(seq).data for seq in range(1, self.acked + 1))


def line(seq):
    return payload(b"line %d\n" % seq)


def traceparent(number):
    return f"00-{number + 1:032x}-{number + 1:016x}-01"


class Told:
    """Lines in the log of the server, of each signal."""

    def __init__(self, server):
        self._server = server

    def __call__(self, words):
        told = [said for said in self._server.stderr().splitlines() if words in said]
        return collections.Counter(re.search(r'signal="(\w+)"', said)[1] for said in told)

    def each(self, words, times):
        expected = dict.fromkeys(SIGNALS, times)
        eventually(f"{words!r}, {times} times for each signal", lambda: self(words) >= collections.Counter(expected))
        expect(self(words) == expected, f"{words!r} is told once each time: {self(words)}")


def failures(server):
    series = server.scrape()
    return {signal: series[f'inkpot_telemetry_failures_total{{inkpot_signal="{signal}"}}'] for signal in SIGNALS}


def outage(server, collector, client, begin, end, number):
    """The collector is away for a while in the middle of writing."""
    told = Told(server)
    with Writer(client, f"outage-{number}.log") as writer:
        eventually("its spans arrive", lambda: is_traced(collector, writer.path))
        before = failures(server)
        begin()
        told.each(LOST, number)
        writer.goes_on()
        first = failures(server)
        expect(all(first[signal] > before[signal] for signal in SIGNALS), f"failures grow: {before}, then {first}")
        eventually("they go on to grow", lambda: all(failures(server)[signal] > first[signal] for signal in SIGNALS))
        expect(told(LOST) == dict.fromkeys(SIGNALS, number), f"which is not told again: {told(LOST)}")
        writer.goes_on()
        end()
        told.each(AGAIN, number)
        writer.goes_on()
    check_file(server, writer)
    print(f"{writer.acked} appends, {failures(server)} batches lost")


def is_traced(collector, path):
    return any(span.attributes.get("inkpot.path") == path for span in collector.received.spans())


def check_file(server, writer):
    """Every acknowledged append is in the plain file, once, in order."""
    expected = writer.content()
    eventually("the plain file has all appends", lambda: len(server.plain("alpha", writer.path)) >= len(expected))
    expect(server.plain("alpha", writer.path) == expected, "each append is in the file once, in order")


def stop(server):
    began = time.monotonic()
    server.terminate(STOP)
    print(f"stopped within {time.monotonic() - began:.1f} s")


def comes_and_goes(collector, environment, work):
    with Server(f"{work}/outages", "shards = 1", environment | {"OTEL_EXPORTER_OTLP_TIMEOUT": PATIENCE}) as server:
        with Client(server.address, "alpha", Account()) as client:
            outage(server, collector, client, collector.kill9, collector.start, 1)
            outage(server, collector, client, collector.freeze, collector.thaw, 2)
        stop(server)


def hangs_until_the_end(collector, environment, work):
    """With the default of 10 s for a batch."""
    with Server(f"{work}/hangs", "shards = 1", environment) as server:
        with Client(server.address, "alpha", Account()) as client, Writer(client, "hangs.log") as writer:
            collector.freeze()
            writer.goes_on()
        stop(server)
        check_file(server, writer)
        collector.thaw()


def main():
    work = os.environ["WORK"]
    with Collector(os.environ["ROTEL"], work) as collector:
        environment = OFTEN | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint("grpc"),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        comes_and_goes(collector, environment, work)
        hangs_until_the_end(collector, environment, work)
    print("a collector that is dead or hangs: ok")


main()
