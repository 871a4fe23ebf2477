"""The examples of one language against a real server: what they print, and what is in the files then.

    check.py NAME APPEND TAIL UPLOAD       the last three are command lines; INKPOTD names the server
"""

import os
import re
import shlex
import sys
import time

import uploads
from process import Failed, Program, Server, difference, expect

OPENED = re.compile(r"opened after line (\d+)")
ACKED = re.compile(r"acked through line (\d+): bytes (\d+) to (\d+), (\w+)")
LONG = 10_000  # lines: about two seconds of appending
EARLY = LONG // 5  # acked by then: the moment to kill something


class Text:
    """A text of numbered lines of many lengths, in a file."""

    def __init__(self, server, name, count):
        self.file = f"{server.folder.name}/{name}"
        self.grow(count)

    def grow(self, count):
        self.lines = [b"line %d %s\n" % (n, b"x" * (n * 7 % 40)) for n in range(1, count + 1)]
        self.all = b"".join(self.lines)
        self.ends = [0]  # ends[n]: offset after line n
        for line in self.lines:
            self.ends.append(self.ends[-1] + len(line))
        with open(self.file, "wb") as file:
            file.write(self.all)


class Example:
    def __init__(self, append, tail, upload):
        self._append, self._tail, self._upload = shlex.split(append), shlex.split(tail), shlex.split(upload)

    def append(self, server, path, text):
        return Program([*self._append, server.endpoint, path, "producer-1", text.file])

    def tail(self, server, path):
        return Program([*self._tail, server.endpoint, path])

    def upload(self, server, path, content, producer="producer-1"):
        return Program([*self._upload, server.endpoint, path, producer, content.file])


def lives(said, text):
    """The sessions in an output of append: (opened after, acked through) each. Every ack is compared with the text."""
    found = []
    for line in said:
        if match := OPENED.fullmatch(line):
            opened = int(match[1])
            found.append((opened, opened))
            continue
        match = ACKED.fullmatch(line)
        expect(match, f"a line that append should not print: {line!r}")
        through, first, end = int(match[1]), int(match[2]), int(match[3])
        expect(found, "an ack before Opened")
        opened, before = found[-1]
        expect(before < through <= len(text.lines), f"{line!r} comes after an ack of line {before}")
        expect((first, end) == (text.ends[before], text.ends[through]), f"{line!r} has other bytes than the text")
        expect(match[4] == "DURABILITY_SYNCED", f"{line!r} names another level")
        found[-1] = (opened, through)
    return found


def acked(out):
    """The highest line that an output of append acknowledges so far."""
    whole = out[: out.rfind(b"\n") + 1].decode().splitlines()
    last = next((match for line in reversed(whole) if (match := ACKED.fullmatch(line))), None)
    return int(last[1]) if last else 0


def run_append(example, server, path, text):
    """Runs append to its end. Returns its sessions."""
    with example.append(server, path, text) as program:
        code = program.wait_for_end()
        expect(code == 0, f"append ends with {code}")
        return lives(program.lines(), text)


def check_acks_have_the_offsets_of_the_lines(example, server):
    text = Text(server, "acks.txt", 500)
    sessions = run_append(example, server, "acks/a.log", text)
    expect(sessions == [(0, 500)], f"all is acked in one session: {sessions}")
    server.wait_for_plain("acks/a.log", text.all)


def check_a_second_run_appends_nothing(example, server):
    text = Text(server, "again.txt", 500)
    run_append(example, server, "again.log", text)
    sessions = run_append(example, server, "again.log", text)
    expect(sessions == [(500, 500)], f"nothing is left to append: {sessions}")
    server.wait_for_plain("again.log", text.all)


def check_a_killed_client_resumes(example, server):
    text = Text(server, "killed.txt", LONG)
    with example.append(server, "killed.log", text) as first:
        first.wait_for(f"{EARLY} lines are acked", lambda out: acked(out) >= EARLY)
        first.kill9()
        before = lives(first.lines(), text)[-1][1]
    expect(before < LONG, "the client was killed in the middle")
    sessions = run_append(example, server, "killed.log", text)
    opened, through = sessions[0]
    expect(before <= opened < LONG, f"{before} lines were acked, and the next run goes on after {opened}")
    expect(len(sessions) == 1 and through == LONG, f"all is acked: {sessions}")
    server.wait_for_plain("killed.log", text.all)


def check_append_and_tail_survive_a_kill_of_the_server(example, server):
    survive(example, server, "crash", server.kill9)


def check_append_and_tail_survive_a_restart_of_the_server(example, server):
    survive(example, server, "restart", server.terminate)


def survive(example, server, name, stop):
    text, path = Text(server, f"{name}.txt", LONG), f"{name}.log"
    with example.tail(server, path) as tail, example.append(server, path, text) as append:
        append.wait_for(f"{EARLY} lines are acked", lambda out: acked(out) >= EARLY)
        tail.wait_for("tail prints while it grows", lambda out: out)
        stop()
        expect(acked(bytes(append.out)) < LONG and append.is_running(), "the server went in the middle")
        server.start()
        code = append.wait_for_end()
        expect(code == 0, f"append ends with {code}")
        sessions = lives(append.lines(), text)
        expect(len(sessions) > 1, f"append opened anew: {sessions}")
        expect(sessions[0][1] <= sessions[-1][0] < LONG, f"it went on where the file ended: {sessions}")
        expect(sessions[-1][1] == LONG, f"all is acked: {sessions}")
        server.wait_for_plain(path, text.all)
        wait_for_tail(tail, text)


def check_tail_gets_what_comes_later(example, server):
    text = Text(server, "later.txt", 300)
    run_append(example, server, "later.log", text)
    with example.tail(server, "later.log") as tail:
        wait_for_tail(tail, text)
        text.grow(600)
        sessions = run_append(example, server, "later.log", text)
        expect(sessions == [(300, 600)], f"what is new is appended: {sessions}")
        wait_for_tail(tail, text)
        expect(tail.is_running(), "tail stays")


def wait_for_tail(tail, text):
    tail.wait_for("tail has printed all", lambda out: len(out) >= len(text.all))
    expect(tail.out == text.all, f"tail printed {difference(bytes(tail.out), text.all)}")


def check_a_bad_path_is_refused_with_its_reason(example, server):
    text = Text(server, "bad.txt", 1)
    for run in (example.append, example.tail, example.upload):
        with run(server, "a/../b.log", *([] if run == example.tail else [text])) as program:
            code, said = program.wait_for_end(), bytes(program.err).decode()
            expect(code == 1, f"it ends with {code}")
            expect(said.startswith("INVALID_ARGUMENT INVALID_PATH: path "), f"code and reason, not {said!r}")
            expect(not program.out, f"nothing else is printed: {bytes(program.out)!r}")


CHECKS = [
    check_acks_have_the_offsets_of_the_lines,
    check_a_second_run_appends_nothing,
    check_a_killed_client_resumes,
    check_append_and_tail_survive_a_kill_of_the_server,
    check_append_and_tail_survive_a_restart_of_the_server,
    check_tail_gets_what_comes_later,
    check_a_bad_path_is_refused_with_its_reason,
    *uploads.CHECKS,
]


def main():
    _, name, append, tail, upload = sys.argv
    with Server(os.environ["INKPOTD"]) as server:
        for check in CHECKS:
            began = time.monotonic()
            what = check.__name__.removeprefix("check_").replace("_", " ")
            try:
                check(Example(append, tail, upload), server)
            except Failed as why:
                sys.exit(f"{name}: {what}: FAILED: {why}")
            print(f"{name}: {what}: ok, {time.monotonic() - began:.1f} s", flush=True)


main()
