#!/usr/bin/env python3
"""Write the dashboard for Kibana and OpenSearch Dashboards: saved objects, one a line, to be imported.

python scripts/kibana.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "docs" / "assets" / "imgtag-kibana.ndjson"
INDEX, TIME = "images", "date"
PATTERN = "imgtag-images"
"""The id of the index pattern."""
SOURCE = "kibanaSavedObjectMeta.searchSourceJSON.index"
MIGRATED = {"index-pattern": "7.6.0", "visualization": "7.10.0", "dashboard": "7.9.3"}
"""The form that both products read: it is older than OpenSearch Dashboards, and Kibana migrates it."""
ABOUT = """\
### Images by what is on them
Written by imgtag. Search with the bar above, for example `labels:{ name: "kit fox" and confidence > 0.4 }` (KQL).
*Label* is the surest one of an image; *labels* are all that it has.
"""


@dataclass(frozen=True)
class Chart:
    """A visualisation: its kind, aggregations, options, and its place on the dashboard (x, y, width, height)."""

    name: str
    title: str
    kind: str
    place: tuple[int, int, int, int]
    aggregations: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] | None = None


def count() -> dict[str, Any]:
    return {"id": "1", "enabled": True, "type": "count", "schema": "metric", "params": {}}


def average(field: str, label: str) -> dict[str, Any]:
    return {
        "id": "3",
        "enabled": True,
        "type": "avg",
        "schema": "metric",
        "params": {"field": field, "customLabel": label},
    }


def terms(field: str, label: str, *, size: int, schema: str = "segment") -> dict[str, Any]:
    ordered = {"orderBy": "1", "order": "desc", "size": size, "otherBucket": False, "missingBucket": False}
    return {
        "id": "2",
        "enabled": True,
        "type": "terms",
        "schema": schema,
        "params": {"field": field, "customLabel": label, **ordered},
    }


def histogram() -> dict[str, Any]:
    return {
        "id": "2",
        "enabled": True,
        "type": "date_histogram",
        "schema": "segment",
        "params": {"field": TIME, "interval": "auto", "min_doc_count": 1, "useNormalizedEsInterval": True},
    }


CHARTS: Sequence[Chart] = (
    Chart("about", "About", "markdown", (0, 0, 12, 15), options={"markdown": ABOUT, "fontSize": 12}),
    Chart(
        "categories",
        "Images by category",
        "pie",
        (12, 0, 18, 15),
        (count(), terms("category", "category", size=10)),
        {"type": "pie", "isDonut": True, "addLegend": True, "addTooltip": True, "legendPosition": "right"},
    ),
    Chart(
        "top-labels",
        "Images by label",
        "pie",
        (30, 0, 18, 15),
        (count(), terms("top_label", "label", size=20)),
        {"type": "pie", "isDonut": False, "addLegend": True, "addTooltip": True, "legendPosition": "right"},
    ),
    Chart(
        "labels",
        "Most frequent labels",
        "histogram",
        (0, 15, 24, 15),
        (count(), terms("label_names", "labels", size=25)),
        {"type": "histogram", "addLegend": False, "addTooltip": True},
    ),
    Chart(
        "over-time",
        "Images over time",
        "line",
        (24, 15, 24, 15),
        (count(), histogram()),
        {"type": "line", "addLegend": False, "addTooltip": True},
    ),
    Chart(
        "table",
        "Labels with their mean confidence",
        "table",
        (0, 30, 48, 15),
        (
            count(),
            average("top_confidence", "mean confidence"),
            terms("top_label", "label", size=100, schema="bucket"),
        ),
        {"perPage": 10, "showTotal": False},
    ),
)


def saved_objects() -> Iterator[dict[str, Any]]:
    """The index pattern, the visualisations, and the dashboard."""
    yield saved("index-pattern", PATTERN, {"title": INDEX, "timeFieldName": TIME})
    for chart in CHARTS:
        state = {"title": chart.title, "type": chart.kind, "aggs": chart.aggregations, "params": chart.options or {}}
        attributes = {"title": f"imgtag: {chart.title}", "visState": dump(state), "uiStateJSON": "{}", "version": 1}
        source: dict[str, Any] = {"query": {"query": "", "language": "kuery"}, "filter": []}
        references = []
        if chart.aggregations:
            source["indexRefName"] = SOURCE
            references = [{"name": SOURCE, "type": "index-pattern", "id": PATTERN}]
        attributes["kibanaSavedObjectMeta"] = {"searchSourceJSON": dump(source)}
        yield saved("visualization", f"imgtag-{chart.name}", attributes, references)
    panels = [
        {
            "panelIndex": chart.name,
            "panelRefName": f"panel_{number}",
            "embeddableConfig": {},
            "gridData": dict(zip("xywh", chart.place, strict=True)) | {"i": chart.name},
        }
        for number, chart in enumerate(CHARTS)
    ]
    attributes = {
        "title": "imgtag: images",
        "panelsJSON": dump(panels),
        "optionsJSON": dump({"useMargins": True, "hidePanelTitles": False}),
        "timeRestore": True,
        "timeFrom": "now-10y",
        "timeTo": "now",
        "version": 1,
        "kibanaSavedObjectMeta": {
            "searchSourceJSON": dump({"query": {"query": "", "language": "kuery"}, "filter": []})
        },
    }
    references = [
        {"name": f"panel_{number}", "type": "visualization", "id": f"imgtag-{chart.name}"}
        for number, chart in enumerate(CHARTS)
    ]
    yield saved("dashboard", "imgtag-images", attributes, references)


def saved(
    kind: str, name: str, attributes: Mapping[str, Any], references: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    return {
        "type": kind,
        "id": name,
        "attributes": dict(attributes),
        "references": list(references),
        "migrationVersion": {kind: MIGRATED[kind]},
    }


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    """Write the file, or compare it."""
    text = "".join(f"{dump(each)}\n" for each in saved_objects())
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif text != FILE.read_text():
        sys.exit(f"{FILE} is not what this script writes: run python scripts/kibana.py")


if __name__ == "__main__":
    main()
