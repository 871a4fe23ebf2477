"""Spans, log records and metrics as OTLP carries them, in a form that is easy to compare."""

import dataclasses


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


@dataclasses.dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str  # empty: none
    kind: int
    start: int  # nanoseconds, as is end
    end: int
    attributes: dict
    links: list  # (trace, id) of each
    resource: dict = dataclasses.field(repr=False)

    @staticmethod
    def all(request):
        for group in request.resource_spans:
            resource = attributes(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    yield Span(
                        name=span.name,
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        kind=span.kind,
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        attributes=attributes(span.attributes),
                        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                        resource=resource,
                    )


@dataclasses.dataclass(frozen=True)
class Log:
    body: str
    severity: str
    trace: str
    span: str
    attributes: dict
    resource: dict = dataclasses.field(repr=False)

    @staticmethod
    def all(request):
        for group in request.resource_logs:
            resource = attributes(group.resource.attributes)
            for scope in group.scope_logs:
                for record in scope.log_records:
                    yield Log(
                        body=value(record.body),
                        severity=record.severity_text,
                        trace=record.trace_id.hex(),
                        span=record.span_id.hex(),
                        attributes=attributes(record.attributes),
                        resource=resource,
                    )


@dataclasses.dataclass
class Metric:
    kind: str  # as in TELEMETRY.md
    unit: str
    description: str
    points: dict  # attributes as a frozenset of pairs -> number, or (count, sum) of a histogram

    def keys(self):
        """The sets of attribute keys that its points have."""
        return {frozenset(key for key, _ in point) for point in self.points}

    def get(self, **wanted):
        """The point with these attributes, which are named with `_` for `.`; None if there is none."""
        pairs = {key.replace("_", ".", 1): wanted[key] for key in wanted}
        return self.points.get(frozenset(pairs.items()))


class Metrics:
    """The newest value of every series."""

    def __init__(self):
        self.by_name = {}
        self.resources = []

    def copy(self):
        copy = Metrics()
        copy.by_name = {
            name: dataclasses.replace(metric, points=dict(metric.points)) for name, metric in self.by_name.items()
        }
        copy.resources = list(self.resources)
        return copy

    def add(self, request):
        for group in request.resource_metrics:
            self.resources.append(attributes(group.resource.attributes))
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    self._add(metric)

    def _add(self, metric):
        data = metric.WhichOneof("data")
        kind, read = KINDS[data]
        inner = getattr(metric, data)
        # Deltas would have to be added up, which nobody asked for: they show as another kind, and fail.
        if data != "gauge" and inner.aggregation_temporality != CUMULATIVE:
            kind = f"delta {kind}"
        if data == "sum" and not inner.is_monotonic:
            kind = "sum that also falls"
        entry = self.by_name.setdefault(metric.name, Metric(kind, metric.unit, metric.description, {}))
        entry.kind = kind
        for point in inner.data_points:
            entry.points[frozenset(attributes(point.attributes).items())] = read(point)


CUMULATIVE = 2


def number(point):
    return getattr(point, point.WhichOneof("value"))


KINDS = {
    "gauge": ("gauge", number),
    "sum": ("counter", number),
    "histogram": ("histogram", lambda point: (point.count, point.sum)),
}
