"""The table of metrics in TELEMETRY.md."""

import dataclasses
import pathlib
import re

from process import expect

BEGIN, END = "<!-- metrics", "<!-- end of metrics -->"


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    prometheus: str
    kind: str
    unit: str
    attributes: frozenset
    description: str

    @property
    def labels(self):
        return frozenset(key.replace(".", "_") for key in self.attributes)


def rows(path="TELEMETRY.md"):
    text = pathlib.Path(path).read_text()
    lines = text[text.index(BEGIN) : text.index(END)].splitlines()
    found = [row(line) for line in lines if line.startswith("| `")]
    expect(found, f"{path} has a table of metrics")
    return found


def row(line):
    name, prometheus, kind, unit, attributes, description = (cell.strip() for cell in line.strip("|").split("|"))
    keys = frozenset(re.findall(r"`([^`]+)`", attributes))
    return Row(name.strip("`"), prometheus.strip("`"), kind, unit.strip("`"), keys, description)
