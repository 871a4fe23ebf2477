"""Uploads a local file to Inkpot, where it appears as a whole: before the end nobody sees any of it. However often this
program or the server dies, it goes on where it was.

    python upload.py ENDPOINT PATH PRODUCER FILE      e.g. 127.0.0.1:7411 exports/july.csv export-7 july.csv
"""
import os
import queue
import sys

import grpc
from connection import connect, pause_or_exit, status_of
from inkpot.v1 import common_pb2, write_pb2
from inkpot.v1.write_pb2_grpc import WriteServiceStub


def upload(service, path, producer, name):
    """One session: sends what the server does not have yet. Returns why it ended early, or None: it is published."""
    opened = queue.SimpleQueue()

    def requests():
        # The producer is the name of the upload, and with its epoch that of the content: a file that has changed is
        # another upload, and needs another producer. MODE_REPLACE would take the place of a file that is there already.
        yield write_pb2.WriteRequest(
            open=write_pb2.Open(
                channel=1, path=path, mode=write_pb2.MODE_CREATE, producer_id=producer, producer_epoch=1
            )
        )
        if not (begin := opened.get()):
            return
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(begin.next_offset)
            seq = begin.last_seq
            while chunk := file.read(begin.limits.max_record_bytes):
                seq += 1
                payload = write_pb2.Payload(data=chunk)
                yield write_pb2.WriteRequest(append=write_pb2.Append(channel=1, seq=seq, payload=payload))
        # Of an upload that is published already this asks only whether it is.
        finish = write_pb2.Finish(channel=1, action=write_pb2.FINISH_ACTION_COMMIT, size=size)
        yield write_pb2.WriteRequest(finish=finish)

    call = service.Write(requests())
    try:
        for response in call:
            frame = response.WhichOneof("frame")
            if frame == "opened":
                print(f"opened at byte {response.opened.next_offset}", flush=True)
                opened.put(response.opened)
            elif frame == "ack":  # kept from now on; cumulative
                level = common_pb2.Durability.Name(response.ack.level)
                print(f"acked to byte {response.ack.end_offset}, {level}", flush=True)
            elif frame == "nack":
                return response.nack.status
            elif frame == "finished":
                print(f"published {response.finished.size} bytes", flush=True)
        return None
    except grpc.RpcError as error:
        return status_of(error)
    finally:
        call.cancel()
        opened.put(None)  # requests() still waits if Opened never came


_, endpoint, path, producer, name = sys.argv
service = WriteServiceStub(connect(endpoint))
while error := upload(service, path, producer, name):
    pause_or_exit(error)
