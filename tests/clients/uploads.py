"""What the examples of uploads must do: the file appears whole or not at all, whoever is killed in the middle."""

import random
import re

from process import expect

OPENED = re.compile(r"opened at byte (\d+)")
ACKED = re.compile(r"acked to byte (\d+), DURABILITY_SYNCED")
PUBLISHED = re.compile(r"published (\d+) bytes")
LONG = 8 << 20  # bytes: at 1 KiB a chunk about two seconds of uploading
EARLY = LONG // 5  # acked by then: the moment to kill something


class Content:
    """Bytes in a local file, the same in every run."""

    def __init__(self, server, name, size):
        self.file = f"{server.folder.name}/{name}"
        self.all = random.Random(name).randbytes(size)
        with open(self.file, "wb") as file:
            file.write(self.all)


def lives(said, content):
    """The sessions in an output of upload: (opened at, acked to, published) each."""
    found = []
    for line in said:
        if match := OPENED.fullmatch(line):
            found.append([int(match[1]), int(match[1]), False])
            continue
        expect(found and not found[-1][2], f"a line outside of an upload: {line!r}")
        if match := ACKED.fullmatch(line):
            expect(found[-1][1] < int(match[1]) <= len(content.all), f"{line!r} comes after an ack to {found[-1][1]}")
            found[-1][1] = int(match[1])
            continue
        match = PUBLISHED.fullmatch(line)
        expect(match and int(match[1]) == len(content.all), f"a line that upload should not print: {line!r}")
        found[-1][2] = True
    return [tuple(life) for life in found]


def acked(out):
    """The highest byte that an output of upload acknowledges so far."""
    whole = out[: out.rfind(b"\n") + 1].decode().splitlines()
    last = next((match for line in reversed(whole) if (match := ACKED.fullmatch(line))), None)
    return int(last[1]) if last else 0


def run_upload(example, server, path, content):
    """Runs upload to its end. Returns its sessions."""
    with example.upload(server, path, content) as program:
        code = program.wait_for_end()
        expect(code == 0, f"upload ends with {code}")
        return lives(program.lines(), content)


def wait_until_early(program):
    program.wait_for(f"{EARLY} bytes are acked", lambda out: acked(out) >= EARLY)


def expect_published(server, path, content):
    server.wait_for_plain(path, content.all)
    expect(server.is_there(path), f"{path} is there")


def check_an_upload_appears_with_its_content(example, server):
    for name, size in (("uploads/none.bin", 0), ("uploads/some.bin", 100_000)):
        content = Content(server, name.replace("/", "-"), size)
        sessions = run_upload(example, server, name, content)
        expect(sessions == [(0, size, True)], f"all is sent and published in one session: {sessions}")
        expect_published(server, name, content)


def check_a_second_upload_sends_nothing(example, server):
    content = Content(server, "twice.bin", 100_000)
    run_upload(example, server, "twice.bin", content)
    sessions = run_upload(example, server, "twice.bin", content)
    expect(sessions == [(100_000, 100_000, True)], f"it is told again that all is published: {sessions}")
    expect_published(server, "twice.bin", content)


def check_a_killed_upload_is_seen_by_nobody_and_resumes(example, server):
    content, path = Content(server, "resumed.bin", LONG), "resumed.bin"
    with example.tail(server, path) as tail:
        with example.upload(server, path, content) as first:
            wait_until_early(first)
            first.kill9()
            before = lives(first.lines(), content)[-1][1]
        expect(before < LONG, "the client was killed in the middle")
        expect(not server.is_there(path) and not tail.out, "nobody sees any of it")
        sessions = run_upload(example, server, path, content)
        expect(len(sessions) == 1 and sessions[0][1:] == (LONG, True), f"the rest is sent and published: {sessions}")
        expect(before <= sessions[0][0] < LONG, f"{before} bytes were acked, and the next run is {sessions}")
        expect_published(server, path, content)
        tail.wait_for("tail has printed all", lambda out: len(out) >= LONG)
        expect(tail.out == content.all, "tail prints the upload")


def check_an_upload_survives_a_kill_of_the_server(example, server):
    content, path = Content(server, "killed.bin", LONG), "killed.bin"
    with example.upload(server, path, content) as program:
        wait_until_early(program)
        server.kill9()
        expect(program.is_running() and not server.is_there(path), "the server went in the middle")
        server.start()
        code = program.wait_for_end()
        expect(code == 0, f"upload ends with {code}")
        sessions = lives(program.lines(), content)
    expect(len(sessions) > 1, f"upload opened anew: {sessions}")
    expect(sessions[0][1] <= sessions[-1][0] < LONG, f"it went on where it was: {sessions}")
    expect(sessions[-1][1:] == (LONG, True), f"all is published: {sessions}")
    expect_published(server, path, content)


def check_an_upload_to_a_path_that_is_taken_is_refused(example, server):
    content = Content(server, "taken.bin", 1_000)
    run_upload(example, server, "taken.bin", content)
    with example.upload(server, "taken.bin", content, producer="producer-2") as program:
        code, said = program.wait_for_end(), bytes(program.err).decode()
        expect(code == 1 and not program.out, f"it ends with {code}, and says {bytes(program.out)!r}")
        expect(said.startswith("ALREADY_EXISTS FILE_EXISTS: file "), f"code and reason, not {said!r}")


def check_another_content_under_the_same_name_is_refused(example, server):
    run_upload(example, server, "changed.bin", content := Content(server, "long.bin", 1_000))
    with example.upload(server, "changed.bin", Content(server, "short.bin", 999)) as program:
        code, said = program.wait_for_end(), bytes(program.err).decode()
        expect(code == 1, f"it ends with {code}")
        expect(said.startswith("INVALID_ARGUMENT SIZE_MISMATCH: "), f"code and reason, not {said!r}")
    expect_published(server, "changed.bin", content)


CHECKS = [
    check_an_upload_appears_with_its_content,
    check_a_second_upload_sends_nothing,
    check_a_killed_upload_is_seen_by_nobody_and_resumes,
    check_an_upload_survives_a_kill_of_the_server,
    check_an_upload_to_a_path_that_is_taken_is_refused,
    check_another_content_under_the_same_name_is_refused,
]
