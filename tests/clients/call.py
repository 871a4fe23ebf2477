"""One call with the channel of the Python example, whose service config is under test. Prints the code it ends with."""

import sys

import grpc
from connection import connect
from inkpot.v1 import file_pb2, write_pb2
from inkpot.v1.file_pb2_grpc import FileServiceStub
from inkpot.v1.write_pb2_grpc import WriteServiceStub

_, endpoint, method = sys.argv
channel = connect(endpoint)
writes, files = WriteServiceStub(channel), FileServiceStub(channel)
streams = {
    "Write": lambda: writes.Write(iter([write_pb2.WriteRequest()])),
    "Read": lambda: files.Read(file_pb2.ReadRequest()),
}
try:
    if method in streams:
        list(streams[method]())
    else:
        service, messages = (files, file_pb2) if hasattr(files, method) else (writes, write_pb2)
        getattr(service, method)(getattr(messages, f"{method}Request")())
    print("OK")
except grpc.RpcError as error:
    print(error.code().name)
