"""``imgtag explain``: why an object is labelled as it is, or is not labelled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from imgtag.cli.label_report import to_list
from imgtag.cli.main import App, pass_app
from imgtag.cli.terminal import escape, to_json
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, Unreadable
from imgtag.jobs.explain import Explanation, MarkReport, open_explainer
from imgtag.types.ref import ObjectRef

_HINTS = {
    "waiting": "Is `imgtag run` running, and is it notified? `imgtag status` and `imgtag doctor --send` tell.",
    "failed": "`imgtag dlq replay` tries it again.",
}


@click.command(name="explain")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--verify", is_flag=True, help="Classify the images again, and compare that with what is written.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per REF.")
@pass_app
async def command(app: App, refs: tuple[str, ...], *, verify: bool, as_json: bool) -> int:
    """Explain why BUCKET/KEY is labelled as it is, or why it is not labelled. Nothing is written.

    Compares the object, the labels on it, the rules, and the index. The status is labelled, unlabelled (no label is
    sure enough), failed (it cannot be decoded), refused (it cannot be read, or exceeds a limit), skipped (no rule
    includes it, or it is not an image), absent, or waiting (a sidecar has yet to look at it).
    """
    config = app.load(as_owner=True)
    parsed = {ref: _parse(ref) for ref in refs}
    failed = 0
    async with open_explainer(config, [ref for ref in parsed.values() if isinstance(ref, ObjectRef)]) as explainer:
        for text in refs:
            try:
                if isinstance(ref := parsed[text], Unreadable):
                    raise ref
                explanation = await explainer.explain(ref, verify=verify)
            except ImgtagError as error:
                failed += 1
                click.echo(_error_line(text, error, as_json=as_json))
                continue
            if as_json:
                click.echo(to_json({"ref": text, **_to_fields(config, explanation)}))
            else:
                click.echo("\n".join(_lines(config, explanation)))
    return 1 if failed else 0


def _parse(text: str) -> ObjectRef | Unreadable:
    """The object that is named, or what is wrong with its name."""
    try:
        return ObjectRef.parse(text)
    except ValueError as error:
        return Unreadable(str(error), code="ref", hint="In a folder, BUCKET is the name of the folder itself.")


def _error_line(text: str, error: ImgtagError, *, as_json: bool) -> str:
    if as_json:
        return to_json({"ref": text, "error": {"code": error.code, "message": error.message, "hint": error.hint}})
    hint = f"\n  hint: {escape(error.hint)}" if error.hint else ""
    return f"{escape(text)}: cannot be explained\n  {escape(error.message)}{hint}"


def _to_fields(config: Config, explanation: Explanation) -> dict[str, Any]:
    """The explanation as --json has it."""
    return {
        "status": explanation.status,
        "mark": explanation.mark and _mark_fields(config, explanation.mark),
        "labels": to_list(explanation.labels),
        "rule": explanation.rule,
        "because": explanation.because,
        "verified": explanation.verified,
        "differs": list(explanation.differs),
        "index": {"document": explanation.index.document, "differs": list(explanation.index.differs)},
    }


def _mark_fields(config: Config, report: MarkReport) -> dict[str, Any]:
    mark = report.mark
    return {
        "model": mark.model,
        "digest": report.digest,
        "rules": mark.rules,
        "at": datetime.fromtimestamp(mark.at, UTC).isoformat(timespec="seconds"),
        "content": mark.content,
        "site": None if report.is_copied else config.site.name,
        "genuine": report.is_genuine,
        "key": report.key,
        "holds": report.holds,
        "stale": list(report.stale),
    }


def _lines(config: Config, explanation: Explanation) -> Iterator[str]:
    """What a person reads, the conclusion first."""
    yield f"{escape(str(explanation.ref))}: {click.style(explanation.status, bold=True)}"
    yield f"  {escape(explanation.because)}"
    if explanation.labels:
        labels = ", ".join(f"{label.name} {label.confidence:.2f}" for label in explanation.labels)
        yield f"  labels    {escape(labels)}"
    if explanation.rule:
        yield f"  rule      {explanation.rule} ({escape(config.origins.source_of(explanation.rule))})"
    if explanation.mark:
        yield f"  mark      {escape(_describe_mark(explanation.mark))}"
    if explanation.verified is not None:
        verdict = "the same is found again" if explanation.verified else "; ".join(explanation.differs)
        yield f"  verified  {escape(verdict)}"
    if explanation.status in _HINTS:
        yield f"  hint: {_HINTS[explanation.status]}"


def _describe_mark(report: MarkReport) -> str:
    genuine = {True: f"genuine by key {report.key}", False: "not genuine", None: "unsigned, as there is no mark key"}
    holds = {True: "holds", False: "does not hold", None: "may hold"}
    parts = [genuine[report.is_genuine], holds[report.holds]]
    parts += [f"stale ({', '.join(report.stale)})" if report.stale else "current"]
    return ", ".join(parts)
