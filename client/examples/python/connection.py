"""What the examples need: a channel, and what to do about an error."""
import pathlib
import sys
import time

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

# Repeats calls where that is safe, and waits for a server that is not there yet: see ../README.md.
SERVICE_CONFIG = pathlib.Path(__file__).resolve().parents[2] / "service_config.json"


def connect(endpoint):
    return grpc.insecure_channel(endpoint, options=[("grpc.service_config", SERVICE_CONFIG.read_text())])


def status_of(error):
    """The google.rpc.Status of a failed call; one without details if the error is not from the server."""
    return rpc_status.from_call(error) or status_pb2.Status(code=error.code().value[0], message=error.details())


def pause_or_exit(status):
    """Waits a moment after an error that passes by itself. Ends the program after any other, and says why."""
    if status.code in (code_pb2.UNAVAILABLE, code_pb2.UNKNOWN):
        return time.sleep(0.25)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        detail.Unpack(info)  # does nothing if the detail is another one
    sys.exit(f"{code_pb2.Code.Name(status.code)} {info.reason}: {status.message}")
