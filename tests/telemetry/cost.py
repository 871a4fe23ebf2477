"""What telemetry costs: server CPU seconds per million records and records per second, with everything going to a real
collector against nothing at all, in turns, because a figure of a shared machine means something only beside its
neighbour. Prints every run, and the ratio of the medians.

    tests/telemetry/cost [REPEATS] [ARGUMENTS OF inkpot bench]
"""

import json
import os
import subprocess
import sys
from statistics import median

LOADS = (
    ("100 B, one a message, 100 files", ["--record-size", "100", "--files", "100", "--window", "1024"]),
    ("100 B, batches of 100", ["--record-size", "100", "--files", "100", "--batch", "100", "--window", "1024"]),
    ("100 B, one a message, 10 000 files", ["--record-size", "100", "--files", "10000", "--window", "1024"]),
    ("1 KiB, one in flight", ["--record-size", "1024", "--producers", "1", "--connections", "1", "--window", "1"]),
)
COMMON = ["--duration", "3s", "--warmup", "1s", "--repeats", "1", "--spawn", "--output", "json"]


def run(tool, load, variables):
    """One run on a server of its own: CPU seconds per million records, records per second."""
    bench = [tool, "bench", *COMMON, *load]
    said = subprocess.run(bench, env={**os.environ, **variables}, stdout=subprocess.PIPE, check=True).stdout
    report = json.loads(said)
    return report["server"]["cpu_s_per_million"], report["records_per_s"]


def main():
    tool, endpoint, repeats, *load = sys.argv[1:]
    loads = [(" ".join(load), load)] if load else LOADS
    telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    for name, load in loads:
        off, on = [], []
        for _ in range(int(repeats)):
            off.append(run(tool, load, {"OTEL_SDK_DISABLED": "true"}))
            on.append(run(tool, load, telemetry))
        print(f"{name}:")
        for what, at, form in (("CPU s per million", 0, ".3f"), ("records per s", 1, ".0f")):
            columns = [[figures[at] for figures in runs] for runs in (off, on)]
            shown = [" ".join(format(figure, form) for figure in column) for column in columns]
            ratio = median(columns[1]) / median(columns[0])
            print(f"  {what}: off {shown[0]}; on {shown[1]}; medians on / off {ratio:.3f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
