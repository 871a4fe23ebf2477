"""What client/service_config.json repeats, what it does not, and that its calls wait: against servers made for that.

    service_config.py NAME CALL       CALL is a command line that takes ENDPOINT METHOD and prints the code of the call
"""

import collections
import concurrent.futures
import contextlib
import shlex
import socket
import sys

import grpc
from process import BOUND, Failed, Program, expect

REPEATED = ["GetWriteState", "Stat", "List", "CommitFiles", "Read"]
# What has no producer must not be sent twice, and no service config can see whether it has one.
NOT_REPEATED = ["Append", "Delete", "DeletePrefix", "Rename", "Truncate", "Seal", "Adopt", "Write"]


class Refusing(grpc.GenericRpcHandler):
    """Refuses the first calls of each method with UNAVAILABLE, then answers it with an empty message."""

    def __init__(self, refusals):
        self.refusals = refusals
        self.calls = collections.Counter()

    def service(self, details):
        method = details.method.rpartition("/")[2]

        def unary(request, context):
            self.calls[method] += 1
            if self.calls[method] <= self.refusals:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the shard is closed")
            return b""

        def stream(request, context):
            yield unary(request, context)

        if method == "Write":
            return grpc.stream_stream_rpc_method_handler(stream)
        if method == "Read":
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@contextlib.contextmanager
def serving(handler, port=0):
    """A server with this handler; gives its port."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([handler])
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def calling(call, port):
    """Calls all methods at once, a program each; gives the programs by method."""
    with contextlib.ExitStack() as stack:
        command = [*shlex.split(call), f"127.0.0.1:{port}"]
        yield {method: stack.enter_context(Program([*command, method])) for method in REPEATED + NOT_REPEATED}


def end_of(program):
    """The code that the call ended with."""
    expect(program.wait_for_end() == 0, "the call is made")
    return " ".join(program.lines())


def check_only_safe_calls_are_repeated(call):
    handler = Refusing(refusals=2)
    with serving(handler) as port, calling(call, port) as programs:
        for method, program in programs.items():
            found = (end_of(program), handler.calls[method])
            wanted = ("OK", 3) if method in REPEATED else ("UNAVAILABLE", 1)
            expect(found == wanted, f"{method} ends with {found[0]} after {found[1]} calls, not {wanted}")


def check_a_call_waits_for_a_server_that_comes_later(call):
    with contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            nobody.settimeout(BOUND)
            port = nobody.getsockname()[1]
            programs = stack.enter_context(calling(call, port))
            for _ in programs:
                nobody.accept()[0].close()  # it has tried, and found no server
        stack.enter_context(serving(Refusing(refusals=0), port))
        for method, program in programs.items():
            code = end_of(program)
            expect(code == "OK", f"{method} ends with {code}")


def main():
    _, name, call = sys.argv
    for check in (check_only_safe_calls_are_repeated, check_a_call_waits_for_a_server_that_comes_later):
        what = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            check(call)
        except Failed as why:
            sys.exit(f"{name}: {what}: FAILED: {why}")
        print(f"{name}: {what}: ok", flush=True)


main()
