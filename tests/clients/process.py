"""Processes under test: a server on a folder of its own, and programs whose output is read as it comes."""

import os
import subprocess
import sys
import tempfile
import threading
import time

BOUND = 60  # seconds that anything may take on a machine that is busy with other tests

# Slow enough that a kill in the middle is in the middle: about 100 appends in 20 ms, whatever the client can do.
CONFIG = """
[limits]
record_bytes = "1KiB"
session_appends_in_flight = 100
[flush]
records = 1000
delay = "20ms"
"""


class Failed(Exception):
    """A check that did not hold."""


def expect(holds, what):
    if not holds:
        raise Failed(what)


class Program:
    """A running process. Leaving the `with` block kills it if it still runs."""

    def __init__(self, command):
        self.command = command
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        self.out, self.err = bytearray(), bytearray()
        self.changed = threading.Condition()
        self.open_pipes = 2
        for pipe, said in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._collect, args=(pipe, said), daemon=True).start()

    def _collect(self, pipe, said):
        with pipe:
            while piece := os.read(pipe.fileno(), 65536):
                with self.changed:
                    said += piece
                    self.changed.notify_all()
        with self.changed:
            self.open_pipes -= 1
            self.changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.kill9()
        if kind is not None:
            print(f"--- {' '.join(self.command)[-200:]} said in the end:")
            print(bytes(self.out[-500:]).decode(errors="replace"), bytes(self.err[-4000:]).decode(errors="replace"))

    def wait_for(self, what, holds):
        """Waits until `holds(output so far)`."""
        deadline = time.monotonic() + BOUND
        with self.changed:
            while not holds(bytes(self.out)):
                left = deadline - time.monotonic()
                expect(left > 0, f"not within {BOUND} s: {what}")
                expect(self.open_pipes == 2, f"the program ended early: {what}")
                self.changed.wait(left)

    def wait_for_end(self):
        """Waits until the process has ended by itself. Returns its exit code."""
        try:
            code = self.process.wait(BOUND)
        except subprocess.TimeoutExpired:
            raise Failed(f"still runs after {BOUND} s") from None
        self._drain()
        return code

    def is_running(self):
        return self.process.poll() is None

    def kill9(self):
        """SIGKILL; returns when the process has gone and all that it said is here."""
        self.process.kill()
        self.process.wait()
        self._drain()

    def _drain(self):
        with self.changed:
            expect(self.changed.wait_for(lambda: self.open_pipes == 0, BOUND), "the pipes do not end")

    def lines(self):
        """The whole lines of its output."""
        text = bytes(self.out).decode()
        return text[: text.rfind("\n") + 1].splitlines()


class Server:
    """inkpotd on a new folder. A restart keeps folder and port."""

    def __init__(self, binary):
        self.binary = binary
        self.folder = tempfile.TemporaryDirectory(prefix="inkpot-clients-")
        self.endpoint = "127.0.0.1:0"
        self.program = None

    def __enter__(self):
        with open(f"{self.folder.name}/inkpotd.toml", "w") as config:
            config.write(CONFIG)
        self.start()
        return self

    def __exit__(self, *error):
        self.program.__exit__(*error)
        self.folder.cleanup()

    def start(self):
        prefix = "listening on "
        arguments = ["--config", f"{self.folder.name}/inkpotd.toml", "--data-dir", f"{self.folder.name}/data"]
        self.program = Program([self.binary, *arguments, "--listen", self.endpoint])
        try:
            self.program.wait_for("inkpotd listens", lambda out: out.endswith(b"\n"))
            line = self.program.lines()[0]
            expect(line.startswith(prefix), f"inkpotd says where it listens, not {line!r}")
        except Failed:
            self.program.__exit__(*sys.exc_info())
            raise
        self.endpoint = line[len(prefix) :]

    def kill9(self):
        self.program.kill9()

    def terminate(self):
        """SIGTERM; returns when it has drained and ended."""
        self.program.process.terminate()
        code = self.program.wait_for_end()
        expect(code == 0, f"inkpotd ends with {code}")

    def is_there(self, path):
        """Whether there is a plain file."""
        return os.path.exists(self._plain_file(path))

    def _plain_file(self, path):
        return f"{self.folder.name}/data/files/default/{path}"

    def plain(self, path):
        """Content of the plain file; nothing while there is none."""
        try:
            with open(self._plain_file(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def wait_for_plain(self, path, text):
        """Waits until the plain file is `text`: the server writes it a moment after the acks."""
        deadline = time.monotonic() + BOUND
        while (found := self.plain(path)) != text:
            expect(time.monotonic() < deadline, f"the plain file is {difference(found, text)}")
            time.sleep(0.02)


def difference(found, text):
    """Where two texts part, in words."""
    if found == text:
        return "the same"
    at = next((n for n, (a, b) in enumerate(zip(found, text)) if a != b), min(len(found), len(text)))
    return f"{len(found)} bytes instead of {len(text)}, others from byte {at} on: {found[at : at + 40]!r}"
