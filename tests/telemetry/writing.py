"""Clients: a session on `Write`, calls beside it, and the account of what the server acknowledged."""

import collections
import queue

import grpc
from inkpot.v1 import common_pb2, file_pb2, write_pb2
from inkpot.v1.file_pb2_grpc import FileServiceStub
from inkpot.v1.write_pb2_grpc import WriteServiceStub

from inkpotd import token
from process import BOUND, expect

LEVELS = {common_pb2.DURABILITY_WRITTEN: "written", common_pb2.DURABILITY_SYNCED: "synced"}


class Account:
    """What the server has acknowledged and refused, by what it answered."""

    def __init__(self):
        self.appends = collections.Counter()  # by tenant and level
        self.records, self.bytes = collections.Counter(), collections.Counter()  # by tenant, as are the others
        self.duplicates = collections.Counter()
        self.refusals = collections.Counter()  # by tenant and reason
        self.read = collections.Counter()

    def acked(self, tenant, level, payload):
        self.appends[tenant, LEVELS[level]] += 1
        self.records[tenant] += len(payload.record_lengths) or 1
        self.bytes[tenant] += len(payload.data)


class Client:
    """A tenant's connection."""

    def __init__(self, address, tenant, account):
        self.tenant, self.account = tenant, account
        self._channel = grpc.insecure_channel(address)
        self._writes, self._files = WriteServiceStub(self._channel), FileServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token(tenant)}"),)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._channel.close()

    def append(self, path, payload, traceparent=None, **fields):
        """One append in one call; returns the answer."""
        metadata = self._metadata + ((("traceparent", traceparent),) if traceparent else ())
        request = write_pb2.AppendRequest(path=path, payload=payload, **fields)
        answer = self._writes.Append(request, metadata=metadata, timeout=BOUND)
        if answer.duplicate:
            self.account.duplicates[self.tenant] += 1
        else:
            self.account.acked(self.tenant, answer.level, payload)
        return answer

    def read(self, path):
        pieces = self._files.Read(file_pb2.ReadRequest(path=path), metadata=self._metadata, timeout=BOUND)
        content = b"".join(piece.data for piece in pieces)
        self.account.read[self.tenant] += len(content)
        return content

    def session(self):
        return Session(self, lambda requests: self._writes.Write(requests, metadata=self._metadata, timeout=BOUND))


class Session:
    """A session. Answers are read when somebody waits for them."""

    def __init__(self, client, call):
        self._tenant, self._account = client.tenant, client.account
        self._requests = queue.SimpleQueue()
        self._call = call(iter(self._requests.get, None))
        self._sent = {}  # (channel, seq): payload
        self.acked = collections.Counter()  # by channel: through which seq
        self.levels = {}  # (channel, seq): level
        self.nacks = {}  # (channel, seq): reason
        self._opened = set()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_error):
        self._requests.put(None)
        if kind is not None:
            return self._call.cancel()
        for response in self._call:  # the server ends it once it has answered everything
            self._take(response)

    def open(self, channel, path, **fields):
        self._requests.put(write_pb2.WriteRequest(open=write_pb2.Open(channel=channel, path=path, **fields)))
        self._read_until(lambda: channel in self._opened)

    def append(self, channel, seq, payload, **fields):
        self._sent[channel, seq] = payload
        append = write_pb2.Append(channel=channel, seq=seq, payload=payload, **fields)
        self._requests.put(write_pb2.WriteRequest(append=append))

    def flush(self):
        self._requests.put(write_pb2.WriteRequest(flush=write_pb2.Flush()))

    def wait_for_acks(self):
        """Returns when everything that was sent is answered."""
        self._read_until(lambda: not self._sent)

    def _read_until(self, holds):
        while not holds():
            response = next(self._call, None)  # an error of the call, its deadline among them, ends the test
            expect(response, "the session goes on")
            self._take(response)

    def _take(self, response):
        match response.WhichOneof("frame"):
            case "opened":
                self._opened.add(response.opened.channel)
            case "ack":
                self._take_ack(response.ack)
            case "nack":
                self._take_nack(response.nack)

    def _take_ack(self, ack):
        duplicates = ack.duplicates
        for seq in range(self.acked[ack.channel] + 1, ack.through_seq + 1):
            payload = self._sent.pop((ack.channel, seq))
            self.levels[ack.channel, seq] = LEVELS[ack.level]
            if duplicates:  # an ack is of duplicates, or of new appends
                duplicates -= 1
                self._account.duplicates[self._tenant] += 1
            else:
                self._account.acked(self._tenant, ack.level, payload)
        self.acked[ack.channel] = ack.through_seq

    def _take_nack(self, nack):
        self._sent.pop((nack.channel, nack.seq))
        reason = common_pb2.ErrorReason.Name(nack.reason).removeprefix("ERROR_REASON_").lower()
        self.nacks[nack.channel, nack.seq] = reason
        self._account.refusals[self._tenant, reason] += 1


def payload(*records):
    """An append of these records."""
    return write_pb2.Payload(data=b"".join(records), record_lengths=map(len, records))
