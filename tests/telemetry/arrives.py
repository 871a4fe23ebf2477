"""What a server tells arrives at a real collector: the traces of writes, its log lines, its metrics.

    arrives.py PROTOCOL     grpc or http/protobuf; INKPOTD names the server, ROTEL the collector, WORK a folder
"""

import os
import sys

import spans as shape
import table
from collector import Collector
from inkpotd import OFTEN, TENANTS, Server
from process import Failed, expect
from spans import Traced
from waiting import eventually_passes
from writing import Account, Client, payload

# What is sent within the delay, or until a flush, is one commit. A tenant with room for two has to wait.
CONFIG = """
shards = 1
[flush]
delay = "1s"
records = 1000
[checkpoint]
interval = "1s"
[tenants.beta.limits]
writes_in_flight = 2
"""
SOON = 30  # seconds within which everything arrives; it is sent several times a second
RESOURCE = {"deployment.environment.name": "test", "site": "north"}

# Traces of clients; the appends of the second and third share a commit.
UNARY, FIRST, SECOND, WRITTEN, IN_THE_WAY, WAITS = ("%032x" % (0xA11CE << 96 | n) for n in range(1, 7))
UNSAMPLED = "%032x" % 0xDEAF


def caller(number):
    return "%016x" % (0xCA11E4 << 32 | number)


def write_call(client):
    """A call in a sampled trace."""
    lines = payload(b"one\n", b"two\n")
    append = Traced(UNARY, caller(1), client.tenant, "calls/a.log", 0, len(lines.data), "synced", is_call=True)
    answer = client.append(append.path, lines, append.traceparent)
    expect((answer.first_offset, answer.end_offset) == (0, len(lines.data)), f"the append is the file: {answer}")
    return [append]


def write_commit(client):
    """A commit of several appends: of two traces, not sampled, without a trace, and with nonsense for one."""
    path, line = "session/b.log", payload(b"line\n")
    traced = {2: (FIRST, 2), 4: (SECOND, 3), 5: (FIRST, 4), 7: (SECOND, 5)}
    others = {1: "", 3: f"00-{UNSAMPLED}-{caller(9)}-00", 6: "00-nonsense", 8: ""}
    appends = [
        Traced(trace, caller(number), client.tenant, path, seq, len(line.data), "synced")
        for seq, (trace, number) in traced.items()
    ]
    parents = others | {append.seq: append.traceparent for append in appends}
    with client.session() as session:
        session.open(1, path, producer_id="p", producer_epoch=1)
        for seq in sorted(parents):
            session.append(1, seq, line, traceparent=parents[seq])
        session.flush()
        session.wait_for_acks()
    return appends


def write_written(client):
    """A commit that nobody wants to be synced."""
    path, line = "session/written.log", payload(b"fast\n")
    append = Traced(WRITTEN, caller(6), client.tenant, path, 1, len(line.data), "written")
    with client.session() as session:
        session.open(1, path, durability="DURABILITY_WRITTEN")
        session.append(1, append.seq, line, traceparent=append.traceparent)
        session.flush()
        session.wait_for_acks()
        expect(session.levels == {(1, 1): "written"}, f"it was not synced: {session.levels}")
    return [append]


def write_unsampled_call(client):
    client.append("calls/unsampled.log", payload(b"quiet\n"), f"00-{UNSAMPLED}-{caller(9)}-00")


def write_beyond_the_limit(client):
    """Two appends take the room that there is, the third waits for their commit. Returns two commits."""
    path, line = "waits.log", payload(b"slow\n")
    traced = {1: (IN_THE_WAY, caller(7)), 3: (WAITS, caller(8))}
    appends = {seq: Traced(*of, client.tenant, path, seq, len(line.data), "synced") for seq, of in traced.items()}
    with client.session() as session:
        session.open(1, path)
        for seq in range(1, 4):
            session.append(1, seq, line, traceparent=appends[seq].traceparent if seq in appends else "")
        session.wait_for_acks()
    expect(client.read(path) == line.data * 3, "what was acknowledged is read")
    return [[append] for append in appends.values()]


def write_what_is_counted_apart(alpha, beta):
    """A resend, a gap, a refusal for want of room."""
    for duplicate in (False, True):
        answer = alpha.append("again.log", payload(b"once\n"), producer_id="p", producer_epoch=1, seq=1)
        expect(answer.duplicate == duplicate, f"only the resend is one: {answer}")
    with beta.session() as session:
        session.open(1, "gap.log", producer_id="p", producer_epoch=1)
        session.append(1, 5, payload(b"too early\n"))
        session.wait_for_acks()
        expect(session.nacks == {(1, 5): "unknown_producer"}, f"seqs begin at 1: {session.nacks}")
    with beta.session() as session:
        session.open(1, "refused.log", admission="ADMISSION_REJECT")
        for seq in range(1, 4):
            session.append(1, seq, payload(b"now or never\n"))
        session.wait_for_acks()
        expect(session.nacks == {(1, 3): "quota_exceeded"}, f"there is room for two: {session.nacks}")


def check_traces(received, commits):
    for appends in commits:
        shape.check(spans_of(received, appends), appends)
    expect(not received.spans(UNSAMPLED), f"what is not sampled has no span: {received.spans(UNSAMPLED)}")
    check_wait(received)
    session = [span for span in received.spans() if span.attributes.get("inkpot.path") == commits[1][0].path]
    expect(len(session) == len(commits[1]), f"only appends that are sampled have spans: {session}")


def check_wait(received):
    """An append that has to wait is in admission until the commit that makes room."""
    commit = shape.only([span for span in received.spans(IN_THE_WAY) if span.name == "commit"], "commit in the way")
    waits = shape.only([span for span in received.spans(WAITS) if span.name == "admission"], "admission that waits")
    expect(waits.start < commit.start < waits.end, f"it waits for the commit: {waits}, {commit}")


def spans_of(received, appends):
    traces = {append.trace for append in appends}
    return [span for span in received.spans() if span.trace in traces]


def check_logs(received):
    """The line that a call leaves is found from its trace."""
    call = shape.only([span for span in received.spans(UNARY) if span.name == shape.CALL], "call")
    lines = [log for log in received.logs() if (log.trace, log.span) == (call.trace, call.id)]
    expect(any(log.body == "answered" for log in lines), f"the end of the call is in the log, with its trace: {lines}")
    expect(all(log.severity == "DEBUG" for log in lines), f"with its level: {lines}")
    own = [log.body for log in received.logs() if not log.trace]
    expect("serving" in own, f"what belongs to no call arrives, too: {own}")


def check_resources(received):
    """All three signals come from the same server, which says who it is."""
    of_logs = [log.resource for log in received.logs()]
    resources = [*received.metrics().resources, *of_logs, *(span.resource for span in received.spans())]
    expected = {"service.name": "inkpotd"} | RESOURCE
    for resource in resources:
        expect(expected.items() <= resource.items(), f"the resource has {expected}: {resource}")
    instances = {resource.get("service.instance.id") for resource in resources}
    expect(len(instances) == 1 and None not in instances, f"one server has one instance id: {instances}")


def check_table(metrics):
    """Every metric of TELEMETRY.md is there as it says, and no other."""
    rows = table.rows()
    names = {row.name for row in rows}
    expect(metrics.by_name.keys() == names, f"these differ from the table: {metrics.by_name.keys() ^ names}")
    for row in rows:
        metric = metrics.by_name[row.name]
        found = (metric.kind, metric.unit, metric.description, metric.keys())
        expected = (row.kind, row.unit, row.description, {row.attributes})
        expect(found == expected, f"{row.name} is {expected}, not {found}")


def check_numbers(metrics, account):
    """The metrics say what the clients were told."""

    def counted(name, expected, *keys):
        found = {point: number for point, number in metrics.by_name[name].points.items() if number}
        expected = {frozenset(zip(keys, as_tuple(key))): number for key, number in expected.items()}
        expect(found == expected, f"{name} is {expected}, not {found}")

    counted("inkpot.write.appends", account.appends, "inkpot.tenant", "inkpot.durability")
    counted("inkpot.write.records", account.records, "inkpot.tenant")
    counted("inkpot.write.io", account.bytes, "inkpot.tenant")
    counted("inkpot.write.duplicates", account.duplicates, "inkpot.tenant")
    counted("inkpot.write.refusals", account.refusals, "inkpot.tenant", "inkpot.reason")
    counted("inkpot.read.io", account.read, "inkpot.tenant")
    no_room = {("beta", "writes_in_flight"): 1}
    counted("inkpot.admission.refusals", no_room, "inkpot.tenant", "inkpot.limit")
    appends = account.appends.total() + account.duplicates.total()
    _, in_commits = metrics.by_name["inkpot.commit.appends"].get(inkpot_shard=0)
    expect(in_commits == appends, f"commits carried {appends} appends, not {in_commits}")
    applied = metrics.by_name["inkpot.apply.io"].get(inkpot_shard=0)
    expect(applied == account.bytes.total(), f"{account.bytes.total()} bytes are in plain files, not {applied}")
    limits = {tenant: metrics.by_name["inkpot.admission.writes.limit"].get(inkpot_tenant=tenant) for tenant in TENANTS}
    expect(limits == {"alpha": 65536, "beta": 2}, f"the limits are those of the configuration: {limits}")
    waits, waited = metrics.by_name["inkpot.admission.wait.duration"].get(
        inkpot_tenant="beta", inkpot_limit="writes_in_flight"
    )
    expect(waits >= 1 and waited > 0, f"a session waited for its tenant's limit: {waits} times, {waited} s")


def as_tuple(key):
    return key if isinstance(key, tuple) else (key,)


def check_that_the_check_fails(received, commits):
    """A check of traces that takes anything would pass, too."""
    for appends in commits[:2]:
        for what, changed in shape.broken(spans_of(received, appends)):
            try:
                shape.check(changed, appends)
            except Failed:
                continue
            raise Failed(f"the check of traces takes {what}")


def run(server, collector):
    account, received = Account(), collector.received
    with Client(server.address, "alpha", account) as alpha, Client(server.address, "beta", account) as beta:
        commits = [write_call(alpha), write_commit(alpha), write_written(alpha), *write_beyond_the_limit(beta)]
        write_unsampled_call(alpha)
        write_what_is_counted_apart(alpha, beta)

    def all_of_it():
        check_traces(received, commits)
        check_logs(received)
        metrics = received.metrics()
        check_table(metrics)
        check_numbers(metrics, account)

    # While the server runs; and once more when nothing can come any more.
    eventually_passes(all_of_it, SOON)
    server.terminate()
    collector.finish()
    all_of_it()
    check_resources(received)
    check_that_the_check_fails(received, commits)


def main():
    protocol = sys.argv[1]
    work = os.environ["WORK"]
    with Collector(os.environ["ROTEL"], work) as collector:
        environment = OFTEN | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint(protocol),
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={value}" for key, value in RESOURCE.items()),
        }
        with Server(f"{work}/server", CONFIG, environment) as server:
            run(server, collector)
    print(f"traces, log lines and metrics over {protocol}: ok")


main()
