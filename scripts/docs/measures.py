"""Every metric."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forms import code, page, table
from sources import called, sources, template

from imgtag.ops.metrics import Metrics
from imgtag.types.result import Result

_INTRO = """\
`http://127.0.0.1:9464/metrics`, or the address in `listen` in [\\[ops\\]](settings.md#ops), serves these metrics in
Prometheus' text format. No metric names an object. The `process_*` metrics of the Prometheus client are there too; they
cover the main process only, not the workers. A histogram has `_bucket`, `_sum` and `_count`."""


def metrics() -> str:
    """Return the page."""
    rows = [
        (code(metric.name), metric.kind, ", ".join(map(code, metric.labels)) or "-", metric.help)
        for metric in Metrics().describe()
    ]
    return page(
        "Metrics",
        _INTRO,
        table(["Metric", "Type", "Labels", "Meaning"], rows),
        "## Values of labels",
        f"`result` of `imgtag_objects_total`: {', '.join(map(code, Result))}.",
        f"`stage`: {', '.join(map(code, sorted(set(_stages()) - {''})))}.",
        "`code`: see [errors and codes](errors.md).",
    )


def _stages() -> Iterator[str]:
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and node.args and _names_stage(node):
                yield template(node.args[0])


def _names_stage(call: ast.Call) -> bool:
    """``metrics.stage("fetch")`` and ``metrics.observe_stage("decode", seconds)``."""
    return called(call) in {"stage", "observe_stage"}
