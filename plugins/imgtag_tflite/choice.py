"""Which model file the settings mean."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

BUNDLED = Path(__file__).with_name("bundled")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model by name and file; `digest` (SHA-256, hex), `projection` (a file) and `words` (a folder) where known."""

    name: str
    path: Path
    digest: str | None = None
    projection: Path | None = None
    words: Path | None = None


def choose(model: str) -> Choice:
    """Return the bundled model for "bundled" or its own name, else the file at that path, named after it."""
    about = tomllib.loads((BUNDLED / "MODEL.toml").read_text(encoding="utf-8"))
    if model in {"bundled", about["name"]}:
        projection = BUNDLED / about["projection"]
        path = BUNDLED / about["file"]
        return Choice(name=about["name"], path=path, digest=about["sha256"], projection=projection, words=BUNDLED)
    path = Path(model).expanduser()
    return Choice(name=re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-") or "model", path=path)
