#!/usr/bin/env python3
"""Write the Grafana dashboard: rows of panels, each with its queries.

python scripts/dashboard.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "helm" / "imgtag" / "files" / "grafana-dashboard.json"
WIDTH, HEIGHT = 8, 7
"""Of a panel; a dashboard has 24 columns."""
CHOSEN = 'instance=~"$instance"'
RATE = "$__rate_interval"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A title, queries with their legends, a Grafana unit, and a description."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{CHOSEN}}}[{RATE}]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', f'{by}, le' if by else 'le')})"


INFERRED = f'sum by (instance) (rate(imgtag_stage_seconds_count{{{CHOSEN}, stage="infer"}}[{RATE}]))'
WORKED = f'sum by (instance) (rate(imgtag_stage_seconds_sum{{{CHOSEN}, stage=~"decode|infer"}}[{RATE}]))'

ROWS: dict[str, tuple[Panel, ...]] = {
    "Health": (
        Panel(
            "Ready",
            ((f"imgtag_ready{{{CHOSEN}}}", "{{instance}}"),),
            about="1 while every part answers. /readyz shows which one does not.",
            kind="stat",
        ),
        Panel(
            "Backlog",
            (
                (f"max(imgtag_backlog{{{CHOSEN}}})", "at the source"),
                (f"sum(imgtag_queue{{{CHOSEN}}})", "in the sidecars"),
            ),
            about="If this grows for hours, add workers or another sidecar on the same consumer.",
        ),
        Panel(
            "From upload to index",
            (
                (quantile(0.5, "imgtag_latency_seconds"), "median"),
                (quantile(0.99, "imgtag_latency_seconds"), "99th percentile"),
            ),
            "s",
            "From the event for an image until it is labelled and indexed.",
        ),
    ),
    "Work": (
        Panel("Objects", ((rate("imgtag_objects_total", "result"), "{{result}}"),), "ops", "By result."),
        Panel(
            "Deferred events",
            ((rate("imgtag_deferred_total", "instance"), "{{instance}}"),),
            "ops",
            "Put behind the events of others, because the images of their uploader are slow.",
        ),
        Panel("Bytes read", ((rate("imgtag_bytes_read_total", "instance"), "{{instance}}"),), "Bps"),
        Panel(
            "Writes",
            (
                (rate("imgtag_writes_total", "instance"), "{{instance}}"),
                (rate("imgtag_writes_refused_total", "code"), "refused: {{code}}"),
            ),
            "ops",
            "Refused objects are indexed nevertheless.",
        ),
        Panel(
            "Time in each stage",
            (
                (
                    f"{rate('imgtag_stage_seconds_sum', 'stage')} / {rate('imgtag_stage_seconds_count', 'stage')}",
                    "{{stage}}",
                ),
            ),
            "s",
            "Mean. `fetch` and `annotate` depend on the store, `index` on the index, `decode` and `infer` on the CPU.",
        ),
        Panel("In progress", ((f"sum by (stage) (imgtag_stage_in_flight{{{CHOSEN}}})", "{{stage}}"),)),
        Panel(
            "Models in use",
            ((f"imgtag_models{{{CHOSEN}}}", "{{name}}: {{model}}"),),
            about="Sidecars of one site should show the same models.",
            kind="stat",
        ),
    ),
    "Problems": (
        Panel(
            "Dead letters",
            (
                (f"sum by (code) (increase(imgtag_dead_letters_total{{{CHOSEN}}}[1h]))", "{{code}}"),
                (f"sum(increase(imgtag_dead_letters_dropped_total{{{CHOSEN}}}[1h]))", "dropped for want of room"),
            ),
            about="Per hour. `imgtag dlq list` has the reasons.",
        ),
        Panel("Retries", ((rate("imgtag_retries_total", "code"), "{{code}}"),), "ops"),
        Panel("Stage errors", ((rate("imgtag_stage_errors_total", "stage, code"), "{{stage}}: {{code}}"),), "ops"),
        Panel(
            "Workers replaced",
            ((f"sum by (reason) (increase(imgtag_worker_restarts_total{{{CHOSEN}}}[1h]))", "{{reason}}"),),
            about="Per hour.",
        ),
        Panel(
            "Conflicts and stale labels",
            (
                (rate("imgtag_conflicts_total", "instance"), "changed during work: {{instance}}"),
                (rate("imgtag_stale_total", "instance"), "older model or rules: {{instance}}"),
            ),
            "ops",
        ),
        Panel(
            "Models and configurations",
            (
                (f"sum by (result) (increase(imgtag_model_changes_total{{{CHOSEN}}}[1h]))", "model {{result}}"),
                (f"sum by (result) (increase(imgtag_config_reloads_total{{{CHOSEN}}}[1h]))", "config {{result}}"),
            ),
            about="Per hour. The log has the reason for each refusal.",
        ),
    ),
    "Search page and API": (
        Panel(
            "Requests",
            ((rate("imgtag_web_requests_total", "operation, status"), "{{operation}}: {{status}}"),),
            "reqps",
        ),
        Panel(
            "Time to answer",
            ((quantile(0.95, "imgtag_web_seconds", "operation"), "{{operation}}"),),
            "s",
            "95th percentile.",
        ),
        Panel(
            "Thumbnails",
            ((rate("imgtag_web_thumbnails_total", "source"), "{{source}}"),),
            "reqps",
            "Few should be `made`: raise `thumbnail_cache` under [web] if they are many.",
        ),
        Panel(
            "Bytes saved by thumbnails",
            ((rate("imgtag_web_bytes_saved_total", "instance"), "{{instance}}"),),
            "Bps",
        ),
        Panel("Thumbnails on disk", ((f"imgtag_web_thumbnail_cache_bytes{{{CHOSEN}}}", "{{instance}}"),), "bytes"),
    ),
    "Bulk work": (
        Panel("Objects begun", ((rate("imgtag_bulk_objects_total", "instance"), "{{instance}}"),), "ops"),
        Panel(
            "Objects at once",
            (
                (f"imgtag_bulk_limit{{{CHOSEN}}}", "allowed: {{instance}}"),
                (f"imgtag_bulk_in_work{{{CHOSEN}}}", "in work: {{instance}}"),
            ),
            about="Below 1, a single one with pauses.",
        ),
        Panel(
            "Held back",
            ((f"max by (reason) (imgtag_bulk_held_back{{{CHOSEN}}})", "{{reason}}"),),
            about="1 while the store, the machine or live work goes first.",
        ),
        Panel(
            "Distributed backfills: left",
            ((f"max(imgtag_backfill_left{{{CHOSEN}}})", "objects"),),
            about="What all sidecars together still have to work off.",
        ),
        Panel(
            "Distributed backfills: outcomes",
            ((rate("imgtag_backfill_objects_total", "instance, outcome"), "{{outcome}}: {{instance}}"),),
            "ops",
        ),
    ),
    "Saved searches": (
        Panel(
            "Objects found",
            ((f"max by (search) (imgtag_search_objects{{{CHOSEN}}})", "{{search}}"),),
            about="Of [[searches]] in the configuration.",
        ),
    ),
    "Audit": (
        Panel("Findings", ((f"max by (kind) (imgtag_audit_findings{{{CHOSEN}}})", "{{kind}}"),)),
        Panel(
            "Time since the last audit",
            ((f"time() - (imgtag_audit_last_success_timestamp_seconds{{{CHOSEN}}} > 0)", "{{instance}}"),),
            "s",
        ),
        Panel(
            "Scheduled jobs running",
            ((f"sum by (name, instance) (imgtag_job_running{{{CHOSEN}}})", "{{name}}: {{instance}}"),),
            about="1 on the sidecar that does the job.",
        ),
        Panel(
            "Scheduled jobs that ended",
            ((f"sum by (name, result) (increase(imgtag_jobs_total{{{CHOSEN}}}[1d]))", "{{name}} {{result}}"),),
            about="Per day.",
        ),
    ),
    "Shadow model": (
        Panel(
            "Images, by best label",
            ((rate("imgtag_shadow_pictures_total", "model, result"), "{{model}}: {{result}}"),),
            "ops",
        ),
        Panel("Labels", ((rate("imgtag_shadow_labels_total", "model, result"), "{{model}}: {{result}}"),), "ops"),
    ),
    "Cost": (
        Panel(
            "CPU of the main process", ((rate("process_cpu_seconds_total", "instance"), "{{instance}}"),), "percentunit"
        ),
        Panel(
            "Confinement of workers",
            ((f"imgtag_worker_confinement{{{CHOSEN}}}", "{{instance}}: {{feature}}"),),
            about="1 where the kernel grants a protection, 0 where it lacks it.",
        ),
        Panel("Memory of the main process", ((f"process_resident_memory_bytes{{{CHOSEN}}}", "{{instance}}"),), "bytes"),
        Panel(
            "Images per second of worker time",
            ((f"{INFERRED} / {WORKED}", "{{instance}}"),),
            about="For one worker that is always busy.",
        ),
    ),
}


def main() -> None:
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        if text != FILE.read_text(encoding="utf-8"):
            sys.exit(f"{FILE} is not what this script writes: run python scripts/dashboard.py")
    else:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text, encoding="utf-8")


def dashboard() -> dict[str, Any]:
    """As Grafana reads it: https://grafana.com/docs/grafana/latest/dashboards/ , "JSON model"."""
    return {
        "title": "imgtag",
        "uid": "imgtag",
        "tags": ["imgtag"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [*variables()]},
        "panels": [*panels()],
    }


def variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    yield {
        "name": "instance",
        "label": "Sidecar",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(imgtag_build_info, instance)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def panels() -> Iterator[dict[str, Any]]:
    top = number = 0
    for title, row in ROWS.items():
        number += 1
        place = {"x": 0, "y": top, "w": 24, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}
        top += 1
        for index, panel in enumerate(row):
            number += 1
            place = {"x": index % 3 * WIDTH, "y": top + index // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield {"id": number, "gridPos": place, **shown(panel)}
        top += -(-len(row) // 3) * HEIGHT


def shown(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    custom = {"custom": {"fillOpacity": 10, "showPoints": "never"}} if panel.kind == "timeseries" else {}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **custom}, "overrides": []},
    }


if __name__ == "__main__":
    main()
