"""What the spans of appends that went into one commit have to look like."""

import collections
import dataclasses

from process import expect

SERVER, INTERNAL = 2, 1  # kinds of OTLP


@dataclasses.dataclass(frozen=True)
class Traced:
    """An append whose client sampled it."""

    trace: str
    caller: str  # span of the client
    tenant: str
    path: str
    seq: int
    size: int  # bytes
    level: str
    is_call: bool = False  # a unary call, not an append of a session

    @property
    def traceparent(self):
        return f"00-{self.trace}-{self.caller}-01"


def only(spans, what):
    expect(len(spans) == 1, f"one {what}, not {len(spans)}: {spans}")
    return spans[0]


def check(spans, appends):
    """Holds all `spans` of the traces of `appends` against the drawing in TELEMETRY.md. `appends` are the traced ones
    of one commit, in the order in which they were sent."""
    found = [check_append(spans, append) for append in appends]
    commit = check_commit(spans, found, appends[0].level)
    for append, span in zip(appends, found):
        links = [] if span is found[0] else [(commit.trace, commit.id)]
        expect(span.links == links, f"append {append.seq} links to {links}, not to {span.links}")
        check_times(spans, span, commit)
    names = collections.Counter(span.name for span in spans)
    calls = sum(append.is_call for append in appends)
    stages = dict.fromkeys(("append", "admission", "queue"), len(appends)) | {"commit": 1, "wal.write": 1}
    expected = stages | ({"wal.sync": 1} if appends[0].level == "synced" else {}) | ({CALL: calls} if calls else {})
    expect(names == expected, f"these spans and no others: {expected}, not {dict(names)}")


CALL = "inkpot.v1.WriteService/Append"


def children(spans, parent, name):
    return [span for span in spans if (span.trace, span.parent, span.name) == (parent.trace, parent.id, name)]


def check_append(spans, append):
    """Its span, below that of its client or of its call, with its stages."""
    parent = append.caller
    if append.is_call:
        parent = check_call(spans, append).id
    below = [span for span in spans if (span.trace, span.parent) == (append.trace, parent)]
    span = only([span for span in below if span.name == "append"], f"span of append {append.seq} below {parent}")
    expect(span.kind == SERVER, f"an append is of kind server, not {span.kind}")
    expected = {
        "inkpot.tenant": append.tenant,
        "inkpot.path": append.path,
        "inkpot.seq": append.seq,
        "inkpot.bytes": append.size,
        "inkpot.durability": append.level,
    }
    told = {key: span.attributes.get(key) for key in expected}
    expect(told == expected, f"append {append.seq} tells {expected}, not {told}")
    for stage in ("admission", "queue"):
        only(children(spans, span, stage), f"{stage} below append {append.seq}")
    return span


def check_call(spans, append):
    calls = [span for span in spans if (span.trace, span.parent) == (append.trace, append.caller)]
    call = only([span for span in calls if span.name == CALL], f"call below {append.caller}")
    told = {key: call.attributes.get(key) for key in ("rpc.system.name", "rpc.method", "rpc.response.status_code")}
    expected = {"rpc.system.name": "grpc", "rpc.method": CALL, "rpc.response.status_code": "OK"}
    expect(told == expected, f"the call tells {expected}, not {told}")
    expect(call.kind == SERVER, f"a call is of kind server, not {call.kind}")
    return call


def check_commit(spans, appends, level):
    """The span of the commit: below the first append, linked to all, with its work on the log."""
    commit = only(children(spans, appends[0], "commit"), f"commit below append {appends[0].id}")
    links = {(append.trace, append.id) for append in appends}
    expect(set(commit.links) == links and len(commit.links) == len(links), f"the commit links to {links}: {commit}")
    expect(commit.kind == INTERNAL, f"a commit is internal, not of kind {commit.kind}")
    expect(commit.attributes.get("inkpot.shard") == 0, f"the commit tells its shard: {commit}")
    told = commit.attributes.get("inkpot.durability")
    expect(told == level, f"the commit tells {level!r}, not {told!r}")
    only(children(spans, commit, "wal.write"), "wal.write below the commit")
    if level == "synced":
        only(children(spans, commit, "wal.sync"), "wal.sync below the commit")
    return commit


def check_times(spans, append, commit):
    """Its stages follow each other, and lie within it."""
    stages = [only(children(spans, append, name), name) for name in ("admission", "queue")]
    log = [*children(spans, commit, "wal.write"), *children(spans, commit, "wal.sync")]
    starts = [span.start for span in (append, *stages, commit, *log)]
    expect(starts == sorted(starts), f"append, its stages, commit, log begin one after the other: {starts}")
    for outer, inner in [(append, stages), (append, [commit]), (commit, log)]:
        for span in inner:
            within = outer.start <= span.start <= span.end <= outer.end
            expect(within, f"{span.name} lies within {outer.name}: {span}, {outer}")


def broken(spans):
    """Each way in which such spans could be wrong, in words, with what they would be then."""

    def changed(name, **fields):
        """One span of this name with other fields: the one that comes last."""
        at = max(at for at, span in enumerate(spans) if span.name == name)
        return [dataclasses.replace(span, **fields) if n == at else span for n, span in enumerate(spans)]

    commit = next(span for span in spans if span.name == "commit")
    yield "no commit", [span for span in spans if span.name != "commit"]
    yield "no sync", [span for span in spans if span.name != "wal.sync"]
    yield "no admission", [span for span in spans if span.name != "admission"]
    yield "a commit without links", changed("commit", links=[])
    yield "a commit that links to a stranger", changed("commit", links=[*commit.links, ("0" * 32, "1" * 16)])
    yield "a commit of another level", changed("commit", attributes={**commit.attributes, "inkpot.durability": "none"})
    append = [span for span in spans if span.name == "append"][-1]
    yield "an append of another file", changed("append", attributes={**append.attributes, "inkpot.path": "another"})
    yield "an append below another span", changed("append", parent="1" * 16)
    if len(commit.links) > 1:
        yield "an append of another commit", changed("append", links=[(commit.trace, "1" * 16)])
    yield "an append in another trace", changed("append", trace="1" * 32)
    yield "a queue below the commit", changed("queue", parent=commit.id)
    yield "a write to the log after the commit", changed("wal.write", end=commit.end + 1)
    yield "an append too many", [*spans, dataclasses.replace(commit, name="append", id="2" * 16)]
