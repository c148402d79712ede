"""What a job did with each object, as a file: CSV or JSON lines, by its suffix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from imgtag.errors import ConfigError
from imgtag.files.csv_cells import encode_row


@dataclass(frozen=True, kw_only=True)
class Row:
    """One object. ``ms`` is the time that it was in work; ``labels`` what was found on it now."""

    bucket: str
    key: str
    outcome: str
    reason: str = ""
    labels: Mapping[str, float] = field(default_factory=dict)
    ms: int = 0


class Report:
    """Keeps rows until they are appended to a file. Blocking, but for `add` and `take`; raises ConfigError where the
    file cannot be opened.

    ``resume_at``: bytes that it had at the last checkpoint; what came after is written again. Keys that are not UTF-8
    keep their bytes in CSV. A cell that a spreadsheet would execute begins with an apostrophe, see
    `imgtag.files.csv_cells`.
    """

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        self._as_csv = path.suffix.lower() == ".csv"
        if not self._as_csv and path.suffix.lower() not in {".jsonl", ".ndjson", ".json"}:
            raise ConfigError(f"--report {path}: unknown form", hint="Name a file that ends in .csv or .jsonl.")
        try:
            self._file: BinaryIO = path.open("r+b" if resume_at and path.exists() else "wb")
        except OSError as error:
            raise ConfigError(
                f"--report {path}: {error.strerror}", hint="Name a file in a folder that exists."
            ) from error
        self._file.truncate(resume_at)
        self._file.seek(resume_at)
        self._waiting: list[bytes] = []
        if self._as_csv and not resume_at:
            self._add_line(["bucket", "key", "outcome", "reason", "labels", "ms"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write(self.take())
        self._file.close()

    def add(self, row: Row) -> None:
        """Keep a row."""
        fields = asdict(row)
        if self._as_csv:
            labels = " ".join(f"{name.replace(' ', '_')}={value:.2f}" for name, value in row.labels.items())
            self._add_line([*({**fields, "labels": labels}).values()])
        else:
            self._waiting.append(json.dumps(fields).encode() + b"\n")

    def take(self) -> list[bytes]:
        """The lines that were kept, for `write`."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def write(self, lines: list[bytes]) -> int:
        """Append lines and give them to the operating system; returns the size of the file."""
        self._file.writelines(lines)
        self._file.flush()
        return self._file.tell()

    def _add_line(self, values: list[object]) -> None:
        self._waiting.append(encode_row(values).encode("utf-8", "surrogatepass"))
