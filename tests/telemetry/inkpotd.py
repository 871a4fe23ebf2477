"""A server with two tenants, `alpha` and `beta`, and the Prometheus endpoint."""

import os
import re
import signal
import urllib.request

from process import BOUND, Program, expect

TENANTS = ("alpha", "beta")
# Telemetry goes out often, so that nobody waits for it.
OFTEN = {
    "OTEL_METRIC_EXPORT_INTERVAL": "300",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "INKPOT_LOG__FILTER": "warn,inkpot_server=debug",
}


def token(tenant):
    return f"{tenant}-0123456789abcdef"


class Server:
    """inkpotd on a folder of its own. A restart keeps folder and ports."""

    def __init__(self, folder, config, environment):
        os.mkdir(folder)
        self._folder = folder
        self._environment = environment
        self.address = self.metrics = "127.0.0.1:0"
        self.program = None
        with open(f"{folder}/inkpotd.toml", "w") as file:
            file.write(config)
            for tenant in TENANTS:
                with open(f"{folder}/{tenant}.token", "w") as secret:
                    secret.write(token(tenant))
                file.write(f'\n[tenants.{tenant}]\ntoken_files = ["{folder}/{tenant}.token"]\n')

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.program.__exit__(*error)

    def start(self):
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        options = ["--config", f"{self._folder}/inkpotd.toml", "--data-dir", f"{self._folder}/data"]
        where = ["--listen", self.address, "--metrics-listen", self.metrics]
        # Nothing of the caller's environment: it may have OTEL_* of its own. The process is inkpotd then, not env.
        self.program = Program(["env", "-i", *variables, os.environ["INKPOTD"], *options, *where])
        try:
            self.program.wait_for("inkpotd listens", lambda out: out.count(b"\n") == 2)
        except BaseException as error:
            self.program.__exit__(type(error), error, None)
            raise
        said = "\n".join(self.program.lines())
        self.address = re.search(r"^listening on (\S+)$", said, re.MULTILINE)[1]
        self.metrics = re.search(r"^metrics on http://(\S+)/metrics$", said, re.MULTILINE)[1]

    def kill9(self):
        self.program.kill9()

    def terminate(self, bound=BOUND):
        """SIGTERM; returns when it has drained and ended."""
        os.kill(self.program.process.pid, signal.SIGTERM)
        code = self.program.process.wait(bound)
        self.program.wait_for_end()
        expect(code == 0, f"inkpotd ends with {code}")

    def stderr(self):
        """What its present life has said."""
        return bytes(self.program.err).decode(errors="replace")

    def scrape(self):
        """Series with their values, as the endpoint tells them."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=BOUND) as answer:
            lines = answer.read().decode().splitlines()
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}

    def plain(self, tenant, path):
        """Content of a plain file; nothing while there is none."""
        try:
            with open(f"{self._folder}/data/files/{tenant}/{path}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""
