"""Prints a file of Inkpot, and what is appended to it from then on.

    python tail.py ENDPOINT PATH      e.g. 127.0.0.1:7411 logs/app.log
"""
import signal
import sys
import time

import grpc
from connection import connect, pause_or_exit, status_of
from inkpot.v1 import file_pb2
from inkpot.v1.file_pb2_grpc import FileServiceStub

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
_, endpoint, path = sys.argv
service = FileServiceStub(connect(endpoint))
offset = 0
while True:
    try:
        for piece in service.Read(file_pb2.ReadRequest(path=path, offset=offset, follow=True)):
            sys.stdout.buffer.write(piece.data)
            sys.stdout.flush()
            offset = piece.offset + len(piece.data)  # after an error it goes on from here
        time.sleep(0.25)  # the server has ended the read
    except grpc.RpcError as error:
        pause_or_exit(status_of(error))
