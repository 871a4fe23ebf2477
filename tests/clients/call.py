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
calls = {
    "GetWriteState": lambda: writes.GetWriteState(write_pb2.GetWriteStateRequest()),
    "Append": lambda: writes.Append(write_pb2.AppendRequest()),
    "Write": lambda: list(writes.Write(iter([write_pb2.WriteRequest()]))),
    "Stat": lambda: files.Stat(file_pb2.StatRequest()),
    "List": lambda: files.List(file_pb2.ListRequest()),
    "Read": lambda: list(files.Read(file_pb2.ReadRequest())),
}
try:
    calls[method]()
    print("OK")
except grpc.RpcError as error:
    print(error.code().name)
