"""Rules and dashboards use only metrics that exist, with labels that they have: Reeve's own, read from Sources/Metrics, and those of
the exporters that are named here. Every alert has a runbook that is there, and a test."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

from found import Findings
from program import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
# postgres_exporter, and what Prometheus knows of every target.
OTHERS = {
    "up", "pg_stat_archiver_last_archive_age", "pg_stat_archiver_failed_count", "pg_replication_lag_seconds",
    "pg_replication_is_replica", "pg_stat_database_numbackends", "pg_settings_max_connections",
}
WORDS = set(
    "sum by max min avg count rate increase irate histogram_quantile quantile time clamp_min clamp_max on without and or unless ignoring "
    "group_left group_right topk bottomk label_replace absent bool offset le vector scalar changes deriv delta abs round "
    "max_over_time min_over_time avg_over_time sum_over_time last_over_time Inf sort_desc count_values".split())
found = Findings("metrics")


def known():
    names = set()
    for path in (REPOSITORY / "Sources/Metrics").rglob("*.swift"):
        names |= set(re.findall(r'"((?:reeve|process)_[a-z_]+)"', path.read_text()))
    for path in (REPOSITORY / "Sources").rglob("*Metrics*.swift"):
        names |= set(re.findall(r'"((?:reeve|process)_[a-z_]+)"', path.read_text()))
    return names


NAMES = known()


def check_expression(expression, place):
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}", "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    text = re.sub(r"\$\w+", "", text)
    for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", text):
        if name in WORDS or name in OTHERS or re.fullmatch(r"\d.*|e\d+|[smhdwy]", name):
            continue
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if name not in NAMES and base not in NAMES and name not in RECORDED:
            found.wrong(f"{place}: there is no metric {name}")


def runbooks():
    """Headings of the runbooks as the anchors that GitHub makes of them."""
    anchors = set()
    for path in (DEPLOY / "runbooks").glob("*.md"):
        anchors.add(path.name)
        for title in re.findall(r"^#+ (.*)$", path.read_text(), re.M):
            anchors.add(f"{path.name}#" + re.sub(r"[^a-z0-9 -]", "", title.lower()).strip().replace(" ", "-"))
    return anchors


rules = yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text())
RECORDED = {r["record"] for g in rules["groups"] for r in g["rules"] if "record" in r}
tested = {a["alertname"] for t in yaml.safe_load((DEPLOY / "prometheus/rules.test.yaml").read_text())["tests"]
          for a in t.get("alert_rule_test", []) if a.get("exp_alerts")}
places = runbooks()
alerts = 0
for group in rules["groups"]:
    for rule in group["rules"]:
        name = rule.get("alert", rule.get("record"))
        check_expression(rule["expr"], f"rules.yaml: {name}")
        if "alert" not in rule:
            continue
        alerts += 1
        for part in ("summary", "description", "runbook"):
            if part not in rule["annotations"]:
                found.wrong(f"rules.yaml: {name} has no {part}")
        if rule["annotations"].get("runbook", "").removeprefix("deploy/runbooks/") not in places:
            found.wrong(f"rules.yaml: {name} points to {rule['annotations'].get('runbook')}, which is not there")
        if rule["labels"].get("severity") not in ("page", "ticket"):
            found.wrong(f"rules.yaml: {name} is neither a page nor a ticket")
        if name not in tested:
            found.wrong(f"rules.test.yaml: nothing makes {name} fire")

panels = 0
expressions = []
for path in sorted((DEPLOY / "grafana").glob("*.json")):
    board = json.loads(path.read_text())
    ids = [p["id"] for p in board["panels"]]
    if len(ids) != len(set(ids)):
        found.wrong(f"{path.name}: two panels have the same id")
    variables = {v["name"] for v in board.get("templating", {}).get("list", [])} | {"__rate_interval", "__range", "__interval"}
    for variable in board.get("templating", {}).get("list", []):
        if variable["type"] == "query":
            metric = re.match(r"label_values\((\w+),", variable["query"])
            if not metric or metric[1] not in NAMES:
                found.wrong(f"{path.name}: variable {variable['name']} reads {variable['query']}")
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        panels += 1
        for target in panel.get("targets", []):
            check_expression(target["expr"], f"{path.name}: {panel['title']}")
            expressions.append(re.sub(r"\$__\w+", "5m", target["expr"]).replace("$tenant", ".*"))
            for name in re.findall(r"\$\{?(\w+)", target["expr"]):
                if name not in variables:
                    found.wrong(f"{path.name}: {panel['title']} uses ${name}, which is no variable")
# Prometheus' own parser reads the expressions of panels, too.
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    yaml.safe_dump({"groups": [{"name": "panels", "rules": [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(expressions)]}]}, file)
    file.flush()
    ran = subprocess.run([REPOSITORY / ".reeve/debian/usr/bin/promtool", "check", "rules", file.name], capture_output=True, text=True)
    if ran.returncode != 0:
        found.wrong("a panel's expression: " + ran.stderr.strip())
found.note(f"{alerts} alerts, {panels} panels, {len(NAMES)} metrics")
sys.exit(found.end())
