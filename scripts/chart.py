#!/usr/bin/env python3
"""Generate the values table in the README of the Helm chart from the comments in its values.yaml.

python scripts/chart.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "helm" / "imgtag"
BEGIN, END = "<!-- values: made by scripts/chart.py -->\n", "<!-- end of values -->\n"


class Undescribed(Exception):
    """A value without a description."""


@dataclass(frozen=True)
class Row:
    """One value."""

    path: str
    default: Any
    description: str

    def __str__(self) -> str:
        default = json.dumps(self.default, ensure_ascii=False).replace("|", "\\|")
        return f"| `{self.path}` | `{default}` | {self.description} |\n"


def rows(text: str) -> Iterator[Row]:
    """The described values of a values.yaml. Raises Undescribed for a value that is not below a description."""
    values, described, path, comment = yaml.safe_load(text), "", list[str](), ""
    for line in text.splitlines():
        if found := re.match(r"\s*# (-- )?(.*)", line):
            comment = found[2] if found[1] else f"{comment} {found[2]}" if comment else ""
            continue
        if found := re.match(r"( *)([A-Za-z0-9]+):(.*)", line):
            depth = len(found[1]) // 2
            path[depth:] = [found[2]]
            name = ".".join(path)
            if comment:
                described = f"{name}."
                yield Row(name, _value(values, path), comment)
            elif found[3] and not name.startswith(described or " "):
                raise Undescribed(name)
        comment = ""


def _value(values: Any, path: Sequence[str]) -> Any:
    for name in path:
        values = values[name]
    return values


def renewed(readme: str, text: str) -> str:
    """The README with the table of these values."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    table = "".join(map(str, rows(text)))
    return f"{before}{BEGIN}\n| Value | Default | Description |\n|---|---|---|\n{table}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 where the README is out of date or a value has no description."""
    parser = argparse.ArgumentParser(description="Generate the values table in the README of the chart.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it is out of date")
    options = parser.parse_args(arguments)
    readme = CHART / "README.md"
    before = readme.read_text()
    try:
        after = renewed(before, (CHART / "values.yaml").read_text())
    except Undescribed as error:
        print(f"values.yaml: {error} has no description: write `# -- ...` above it", file=sys.stderr)
        return 1
    if not options.check:
        readme.write_text(after)
    elif before != after:
        print("helm/imgtag/README.md is out of date: python scripts/chart.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
