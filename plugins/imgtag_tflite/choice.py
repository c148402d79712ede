"""Which model file the settings mean."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from imgtag.models.manifest import Manifest, model_files
from imgtag_tflite import SUFFIX

BUNDLED = Path(__file__).with_name("bundled")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model by name and file; the rest where it is known.

    `digest` is a SHA-256 in hex; `labels` and `projection` are files, `words` is a folder.
    """

    name: str
    path: Path
    digest: str | None = None
    labels: Path | None = None
    manifest: Manifest = field(default_factory=Manifest)
    projection: Path | None = None
    words: Path | None = None


def choose(model: str) -> Choice:
    """Return the bundled model for "bundled" or its own name, else that of the file or manifest at that path.

    Raises ModelError where a manifest cannot be used.
    """
    about = tomllib.loads((BUNDLED / "MODEL.toml").read_text(encoding="utf-8"))
    if model in {"bundled", about["name"]}:
        projection = BUNDLED / about["projection"]
        path = BUNDLED / about["file"]
        return Choice(name=about["name"], path=path, digest=about["sha256"], projection=projection, words=BUNDLED)
    files = model_files(Path(model).expanduser(), SUFFIX)
    return Choice(
        name=re.sub(r"[^a-z0-9._-]+", "-", files.name.lower()).strip("-") or "model",
        path=files.model,
        digest=files.manifest.sha256,
        labels=files.labels,
        manifest=files.manifest,
    )
