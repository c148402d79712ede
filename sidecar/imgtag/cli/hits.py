"""Found documents on stdout: as JSON, as keys, as CSV, or as a table that fits the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import click

from imgtag.cli.terminal import escape, print_exact, to_json
from imgtag.models.display_names import LabelNames
from imgtag.search import confidences, public_fields
from imgtag.types.document import Document

_Command = TypeVar("_Command", bound=Callable[..., Any])
Form = Literal["csv", "json", "keys", "keys0", "table"]

CSV_COLUMNS = (
    "location", "bucket", "key", "status", "labels", "top_label", "top_confidence", "category", "width", "height",
    "size", "type", "when", "camera", "latitude", "longitude", "code", "reason",
)  # fmt: skip
_ELLIPSIS = "…"
_DAY = len("2024-07-01")
_GAP = 2
"""Between two columns."""
_MIN_OBJECT = 16
"""Characters of an object's name, however narrow the terminal is."""


def output_options(command: _Command) -> _Command:
    """Add the options that `output_form` takes, and ``thumbnails``, which is None unless it is given."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Print one document per line."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header, for a spreadsheet."),
        click.option("--keys", is_flag=True, help="Print only BUCKET/KEY, one per line."),
        click.option(
            "-0", "zero", is_flag=True, help="End each line of --keys with a NUL byte, for keys with line breaks."
        ),
        click.option(
            "--thumbnails/--no-thumbnails",
            default=None,
            help="Show small pictures beside the hits. Default: on terminals that can (kitty, iTerm2, sixel).",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def output_form(*, as_json: bool = False, keys: bool = False, zero: bool = False, as_csv: bool = False) -> Form:
    """The form that the options ask for; ``zero`` alone means keys, too. Raises UsageError."""
    if as_json + as_csv + (keys or zero) > 1:
        raise click.UsageError("--json, --csv and --keys (or -0) cannot be combined")
    return "json" if as_json else "csv" if as_csv else "keys0" if zero else "keys" if keys else "table"


def print_hits(hits: Sequence[Document], form: Form, names: Mapping[str, LabelNames] | None = None) -> None:
    """Print documents; a table, and CSV, have their similarity as well if they have one.

    ``names`` is how a table displays labels, by model.
    """
    if form == "json":
        for hit in hits:
            click.echo(to_json(public_fields(hit)))
    elif form == "csv":
        _print_csv(hits)
    elif form in {"keys", "keys0"}:
        for hit in hits:
            print_exact(f"{hit['bucket']}/{hit['key']}", end=b"\0" if form == "keys0" else b"\n")
    elif hits:
        _print_table(hits, names or {})


def describe_labels(hit: Document, names: Mapping[str, LabelNames] | None = None) -> str:
    """The labels of a document as its model displays them, or why it has none; escaped."""
    if hit["status"] in {"refused", "failed"}:
        return escape(f"{hit['status']}: {hit.get('reason', hit.get('code', ''))}")
    display = (names or {}).get(hit.get("model", ""), {})
    labels = (f"{display.get(label, label)} {confidence:.2f}" for label, confidence in confidences(hit).items())
    return escape(", ".join(labels)) or "unlabelled"


def shorten(text: str, width: int, *, tail: bool = False) -> str:
    """A text of at most ``width`` columns; of a longer one the middle is left out, or with ``tail`` the end.

    Of a key both ends matter: the folders that it is in, and the name of the file.
    """
    from rich.cells import cell_len, chop_cells  # noqa: PLC0415  (--json and --keys need no table)

    if cell_len(text) <= width:
        return text
    kept = max(width - 1, 0)
    start = kept if tail else kept // 3
    first = chop_cells(text, start)[0] if start else ""
    if tail:
        return f"{first}{_ELLIPSIS}"
    last = ""
    for character in reversed(text):
        if cell_len(character + last) > kept - cell_len(first):
            break
        last = character + last
    return f"{first}{_ELLIPSIS}{last}"


def _print_csv(hits: Sequence[Document]) -> None:
    from imgtag.files.csv_cells import encode_row  # noqa: PLC0415

    extra = ("similarity",) if hits and "similarity" in hits[0] else ()
    for values in ((*extra, *CSV_COLUMNS), *([_cell(hit, name) for name in (*extra, *CSV_COLUMNS)] for hit in hits)):
        print_exact(encode_row(values).removesuffix("\r\n"), end=b"\r\n")


def _cell(hit: Document, name: str) -> Any:
    match name:
        case "labels":
            return " ".join(f"{label.replace(' ', '_')}={value:.2f}" for label, value in confidences(hit).items())
        case "when":
            # As a spreadsheet reads it. A time that no calendar has stays a number.
            try:
                return datetime.fromtimestamp(hit["when"], UTC).strftime("%Y-%m-%d %H:%M:%S")
            except (KeyError, OverflowError, OSError, ValueError):
                return hit.get("when")
        case "latitude" | "longitude":
            return hit.get("_geo", {}).get("lat" if name == "latitude" else "lng")
        case _:
            return hit.get(name)


def _print_table(hits: Sequence[Document], names: Mapping[str, LabelNames]) -> None:
    """One line for each hit. A terminal gets what fits its width, anything else the whole texts."""
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    extra = ("similarity",) if "similarity" in hits[0] else ()
    rows = [(escape(f"{hit['bucket']}/{hit['key']}"), describe_labels(hit, names)) for hit in hits]
    longest = [max(cell_len(text) for text in column) for column in zip(*rows, strict=True)]
    console = Console()
    if sys.stdout.isatty():
        room = console.width - sum(_GAP + len(name) for name in extra) - _GAP * 2 - _DAY
        longest = _share_width(room, *longest)
    else:
        console = Console(width=sum(longest) + 100, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in (*extra, "object", "labels", "when"):
        table.add_column(name, no_wrap=True)
    for hit, (name, labels) in zip(hits, rows, strict=True):
        # As Text, so that no markup in the words of strangers is obeyed.
        texts = shorten(name, longest[0]), shorten(labels, longest[1], tail=True), str(hit.get("when_day", ""))
        table.add_row(*(f"{hit[column]:.2f}" for column in extra), *map(Text, texts))
    console.print(table)


def _share_width(room: int, name: int, labels: int) -> list[int]:
    """The widths of names and labels: what they need where there is room, else the longer one gives way, to a half."""
    half = max(room // 2, _MIN_OBJECT)
    first = min(name, max(half, room - labels))
    return [first, max(min(labels, room - first), 1)]
