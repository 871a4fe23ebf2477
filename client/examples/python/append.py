"""Appends the lines of a text to a file of Inkpot, each exactly once, however often this program or the server dies.

    python append.py ENDPOINT PATH PRODUCER TEXT      e.g. 127.0.0.1:7411 logs/app.log app-7 app.log
"""
import queue
import sys

import grpc
from connection import connect, pause_or_exit, status_of
from inkpot.v1 import common_pb2, write_pb2
from inkpot.v1.write_pb2_grpc import WriteServiceStub


def append(service, path, producer, lines):
    """One session: appends what the file does not have yet. Returns why it ended early, or None: all is acked."""
    last_seq = queue.SimpleQueue()

    def requests():
        # Line n is seq n, in every life of this program: seqs are counted per epoch, so the epoch stays 1. A later Open
        # with the same epoch takes over from this one; a higher epoch would be for a text that begins anew.
        yield write_pb2.WriteRequest(
            open=write_pb2.Open(channel=1, path=path, producer_id=producer, producer_epoch=1)
        )
        for seq in range(last_seq.get() + 1, len(lines) + 1):
            payload = write_pb2.Payload(data=lines[seq - 1])
            yield write_pb2.WriteRequest(append=write_pb2.Append(channel=1, seq=seq, payload=payload))
        yield write_pb2.WriteRequest(finish=write_pb2.Finish(channel=1, action=write_pb2.FINISH_ACTION_COMMIT))

    call = service.Write(requests())
    try:
        for response in call:
            frame = response.WhichOneof("frame")
            if frame == "opened":
                print(f"opened after line {response.opened.last_seq}", flush=True)
                last_seq.put(response.opened.last_seq)
            elif frame == "ack":  # cumulative: it covers every line up to this one
                ack, level = response.ack, common_pb2.Durability.Name(response.ack.level)
                place = f"bytes {ack.first_offset} to {ack.end_offset}"
                print(f"acked through line {ack.through_seq}: {place}, {level}", flush=True)
            elif frame == "nack":
                return response.nack.status
        return None
    except grpc.RpcError as error:
        return status_of(error)
    finally:
        call.cancel()
        last_seq.put(len(lines))  # requests() still waits if Opened never came: nothing is left to send


_, endpoint, path, producer, text = sys.argv
lines = open(text, "rb").readlines()
service = WriteServiceStub(connect(endpoint))
while error := append(service, path, producer, lines):
    pause_or_exit(error)
