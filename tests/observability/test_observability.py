"""The alerts and the dashboard: right for Prometheus, and about metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from imgtag.ops.metrics import Metrics

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "imgtag" / "files"
ALERTS = FILES / "alerts.yaml"
DASHBOARD = FILES / "grafana-dashboard.json"
OF_ALL_PROCESSES = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
KINDS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
METRICS = {metric.name + ending for metric in Metrics().describe() for ending in KINDS[metric.kind]} | OF_ALL_PROCESSES


@pytest.fixture
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        reason = "promtool is not installed: apt-get install prometheus"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return path


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[dict]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:imgtag|process)_\w+", expression))


def test_the_alerts_are_rules(promtool):
    """As Prometheus itself reads them."""
    assert f"{len(alerts())} rules found" in run(promtool, "check", "rules", str(ALERTS))


def test_each_alert_fires_when_it_should(promtool, tmp_path):
    """And none of them where all is well."""
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yaml"), tmp_path)

    assert "SUCCESS" in run(promtool, "test", "rules", str(tmp_path / "alerts_test.yaml"))


def test_each_alert_is_tested():
    """By its name."""
    tested = Path(__file__).with_name("alerts_test.yaml").read_text()

    assert [] == [alert["alert"] for alert in alerts() if f'"{alert["alert"]}"' not in tested]


def test_alerts_and_panels_are_about_metrics_that_there_are():
    """A name that is mistyped never fires."""
    expressions = [alert["expr"] for alert in alerts()]
    expressions += [target["expr"] for panel in panels() for target in panel["targets"]]

    assert set() == {name for expression in expressions for name in named(expression)} - METRICS


def test_each_metric_is_on_the_dashboard():
    """But for the two that say what runs and that time went on."""
    shown = {name for panel in panels() for target in panel["targets"] for name in named(target["expr"])}
    unseen = {"imgtag_build_info", "imgtag_last_success_timestamp_seconds"}

    assert [] == [
        metric.name for metric in Metrics().describe() if metric.name not in unseen and not _seen(metric.name, shown)
    ]


def _seen(name: str, shown: set[str]) -> bool:
    return any(each.startswith(name) for each in shown)


def test_each_panel_is_a_query(promtool, tmp_path):
    """As Prometheus reads it."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    plain = [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in expressions]
    rules = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(plain)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", str(tmp_path / "panels.yaml"))


def test_the_dashboard_is_what_its_script_writes():
    """Nobody edits it by hand."""
    run(sys.executable, str(ROOT / "scripts" / "dashboard.py"), "--check")


def test_each_alert_says_what_to_think_of_it():
    """A summary, a description and how bad it is."""
    for alert in alerts():
        assert {"summary", "description"} <= alert["annotations"].keys()
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}


def test_alerts_name_labels_that_their_metrics_have():
    """What stands in a summary is there to be filled in."""
    known = {metric.name: metric for metric in Metrics().describe()}
    for alert in alerts():
        metrics = [known[re.sub(r"_(sum|count|bucket)$", "", name)] for name in named(alert["expr"])]
        targets = {"instance", "job", "namespace"}
        for label in re.findall(r"\$labels\.(\w+)", str(alert["annotations"])):
            assert label in targets or any(label in metric.labels for metric in metrics), (alert["alert"], label)
