"""Every metric."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forms import code, page, table
from sources import called, sources, template

from imgtag.ops.metrics import RESULTS, TABLE
from imgtag.reconcile import Result

_INTRO = """\
`http://127.0.0.1:9464/metrics`, or where `listen` of [\\[ops\\]](settings.md#ops) says, in Prometheus' text format.
No metric names an object. The `process_*` metrics of the Prometheus client stand beside these; they are about the
main process alone, not about the workers. A histogram has `_bucket`, `_sum` and `_count`."""


def metrics() -> str:
    """The page."""
    rows = [(code(each.name), each.kind, ", ".join(map(code, each.labels)) or "-", each.help) for each in TABLE]
    return page(
        "Metrics",
        _INTRO,
        table(["Metric", "Type", "Labels", "What it is"], rows),
        "## Values of labels",
        f"`result` of `imgtag_objects_total`: {', '.join(map(code, dict.fromkeys((*RESULTS, *Result))))}.",
        f"`stage`: {', '.join(map(code, sorted(set(_stages()) - {''})))}.",
        "`code`: see [errors and codes](errors.md).",
    )


def _stages() -> Iterator[str]:
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and called(node) in {"stage", "observed"} and node.args:
                yield template(node.args[0])
