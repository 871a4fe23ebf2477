"""Checks the queries of the Grafana dashboard.

    dashboard.py check NAMES DASHBOARD.json RULES.yml...    without a server: panels, variables, names of metrics
    dashboard.py rules DASHBOARD.json                       its queries as a file of rules, for promtool to parse
    dashboard.py query URL DASHBOARD.json [INTERVAL]        asks a Prometheus: every query has to return data

NAMES is any text in which the metrics stand by their Prometheus names (TELEMETRY.md); a histogram stands once, without
_bucket, _sum and _count. INTERVAL takes the place of $__rate_interval: 4 scrapes or more, 1m unless given.
"""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import yaml

OURS = r"\b(?:inkpot|rpc|process)_[a-z_]+"
# Labels that look like metrics.
LABELS = {
    "inkpot_tenant",
    "inkpot_shard",
    "inkpot_durability",
    "inkpot_reason",
    "inkpot_limit",
    "inkpot_signal",
    "rpc_method",
    "rpc_response_status_code",
    "rpc_system_name",
}
# Made by Prometheus itself.
BUILT_IN = {"up"}
NEEDED = ("id", "type", "title", "gridPos")
SCHEMA_VERSION = 39
COLUMNS = 24


def load(path):
    return json.loads(pathlib.Path(path).read_text())


def queries(dashboard):
    """Title and PromQL of every target, annotation and variable that asks for metrics."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} ({target['refId']})", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if values := re.fullmatch(r"label_values\((.+), \w+\)", variable.get("definition", "")):
            yield f"variable {variable['name']}", values[1]


def substitute(query, dashboard, interval):
    """What Grafana asks when every variable stands at All."""
    query = query.replace("$__rate_interval", interval)
    for variable in dashboard["templating"]["list"]:
        query = query.replace(f"${variable['name']}", ".*")
    return query


def metrics(query):
    """The metrics of a query: what is ours and no label."""
    return {name for name in re.findall(OURS, query) if name not in LABELS}


def base(name, known):
    """A histogram stands in the list without what its series add."""
    for suffix in ("_bucket", "_sum", "_count"):
        if name.removesuffix(suffix) in known:
            return name.removesuffix(suffix)
    return name


def check(names, path, *rules):
    known = set(re.findall(OURS, pathlib.Path(names).read_text()))
    dashboard = load(path)
    faults = list(layout(dashboard))
    asked = list(queries(dashboard))
    for file in rules:
        for group in yaml.safe_load(pathlib.Path(file).read_text())["groups"]:
            asked += [(rule.get("record") or rule["alert"], rule["expr"]) for rule in group["rules"]]
    for title, query in asked:
        # A recording rule's name has a colon, so it does not look like a metric of ours.
        query = re.sub(r"\b\w+:[\w:]+", "", query)
        unknown = {name for name in metrics(query) - BUILT_IN if base(name, known) not in known}
        faults += [f"{title}: {name} is no metric of the server" for name in sorted(unknown)]
    return faults


def layout(dashboard):
    if dashboard.get("schemaVersion", 0) < SCHEMA_VERSION or not dashboard.get("uid"):
        yield f"no uid, or a schemaVersion below {SCHEMA_VERSION}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        yield "two panels have the same id"
    taken = {}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval"}
    for panel in dashboard["panels"]:
        title = panel.get("title")
        yield from (f"{title}: no {key}" for key in NEEDED if key not in panel)
        place = panel["gridPos"]
        if place["x"] + place["w"] > COLUMNS:
            yield f"{title}: wider than the page"
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            if other := taken.get(cell):
                yield f"{title}: lies over {other}"
                break
            taken[cell] = title
        if panel["type"] == "row":
            continue
        if not panel.get("description") or not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{title}: no description or no unit"
        if panel["datasource"]["uid"] != "${datasource}":
            yield f"{title}: does not ask the chosen data source"
        for target in panel["targets"]:
            unknown = set(re.findall(r"\$\{?(\w+)", target["expr"])) - variables
            if unknown:
                yield f"{title}: no variable {unknown}"
            if 'job=~"$job", instance=~"$instance"' not in target["expr"]:
                yield f"{title}: asks all servers, not the chosen ones"


def as_rules(path):
    dashboard = load(path)
    rules = [
        {"record": f"dashboard:{number}", "expr": substitute(query, dashboard, "1m"), "labels": {"title": title}}
        for number, (title, query) in enumerate(queries(dashboard))
    ]
    print(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    return []


def ask(url, path, interval="1m"):
    dashboard = load(path)
    faults = []
    asked = list(queries(dashboard))
    for title, query in asked:
        query = substitute(query, dashboard, interval)
        try:
            with urllib.request.urlopen(
                f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10
            ) as answer:
                result = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            faults.append(f"{title}: {error.read().decode()}: {query}")
            continue
        numbers = [sample for sample in result if sample["value"][1] != "NaN"]
        if not numbers and not title.startswith("annotation"):
            faults.append(f"{title}: {'only NaN' if result else 'no data'}: {query}")
    print(f"{len(asked) - len(faults)} of {len(asked)} queries have data")
    return faults


def main(command, *args):
    faults = {"check": check, "rules": as_rules, "query": ask}[command](*args)
    for fault in faults:
        print(f"dashboard: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
