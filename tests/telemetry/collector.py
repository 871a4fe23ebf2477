"""The collector of these tests: rotel takes OTLP from inkpotd, over gRPC or HTTP, and forwards it to a receiver in this
process, so that what arrived can be looked at."""

import concurrent.futures
import os
import pathlib
import random
import signal
import socket
import sys
import threading

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from process import BOUND, Program, expect
from received import Log, Metrics, Span
from waiting import eventually

LOG_ENDS = 5  # log records shown when a check fails


def free_port():
    """Below those that the system gives to connections: nobody takes it while its program is away, and nobody who tries
    to reach that program connects to himself."""
    end = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while is_open(port := random.randrange(end // 2, end)):
        pass
    return port


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Received(
    trace_service_pb2_grpc.TraceServiceServicer,
    metrics_service_pb2_grpc.MetricsServiceServicer,
    logs_service_pb2_grpc.LogsServiceServicer,
):
    """What the collector forwarded. The three services differ in the type of the request, and so share a method."""

    def __init__(self):
        self._lock = threading.Lock()
        self._spans, self._logs, self._metrics = [], [], Metrics()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self, self._server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Export(self, request, _context):
        with self._lock:
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
                self._spans += Span.all(request)
                return trace_service_pb2.ExportTraceServiceResponse()
            if isinstance(request, logs_service_pb2.ExportLogsServiceRequest):
                self._logs += Log.all(request)
                return logs_service_pb2.ExportLogsServiceResponse()
            self._metrics.add(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    def spans(self, trace=None):
        with self._lock:
            return [span for span in self._spans if trace in (None, span.trace)]

    def logs(self):
        with self._lock:
            return list(self._logs)

    def metrics(self):
        with self._lock:
            return self._metrics.copy()

    def stop(self):
        self._server.stop(None).wait(BOUND)


class Collector:
    """rotel. A restart keeps its ports."""

    def __init__(self, binary, folder):
        self._binary, self._folder = binary, folder
        self._ports = {"grpc": free_port(), "http/protobuf": free_port()}
        self.received = Received()
        self.program = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *error):
        self.program.__exit__(kind, *error)
        self.received.stop()
        if kind is not None:
            print("--- the collector received:")
            for span in self.received.spans():
                print(span)
            for log in self.received.logs()[-LOG_ENDS:]:
                print(log)
            print("metrics:", *sorted(self.received.metrics().by_name))

    def start(self):
        receiver = f"http://127.0.0.1:{self.received.port}"
        options = {
            "otlp-grpc-endpoint": f"127.0.0.1:{self._ports['grpc']}",
            "otlp-http-endpoint": f"127.0.0.1:{self._ports['http/protobuf']}",
            "exporter": "otlp",
            "otlp-exporter-endpoint": receiver,
            "otlp-exporter-retry-initial-backoff": "100ms",
            "pid-file": f"{self._folder}/rotel.pid",
            "log-file": f"{self._folder}/rotel.log",
        }
        command = [self._binary, "start", *(f"--{name}={value}" for name, value in options.items())]
        self.program = Program(command)
        eventually("the collector listens", self._listens)

    def _listens(self):
        expect(self.program.is_running(), "the collector ended early")
        return all(map(is_open, self._ports.values()))

    def endpoint(self, protocol):
        """Value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._ports[protocol]}"

    def kill9(self):
        self.program.kill9()

    def freeze(self):
        """From now on connections stay, and nothing is answered."""
        os.kill(self.program.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.program.process.pid, signal.SIGCONT)

    def finish(self):
        """SIGTERM; returns when it has forwarded everything and ended."""
        self.program.process.terminate()
        code = self.program.wait_for_end()
        expect(code == 0, f"the collector ends with {code}")
