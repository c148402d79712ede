"""Where the parts of a model are: the bundled one with its taxonomy and projection, or a file with its manifest."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imgtag.errors import ModelError
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.models.manifest import Manifest, find_model_files
from imgtag_tflite import BUILTIN, SUFFIX

BUNDLED = Path(__file__).with_name("bundled")
CLASSES, ANCESTORS = "words.tsv", "ancestors.tsv"
"""In the folder of a taxonomy; scripts/wordnet makes them."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model by name and file; the rest where it is known.

    `digest` is a SHA-256 in hex; `labels` and `projection` are files, `taxonomy` is a folder.
    """

    name: str
    path: Path
    digest: str | None = None
    labels: Path | None = None
    manifest: Manifest = field(default_factory=Manifest)
    projection: Path | None = None
    taxonomy: Path | None = None


def find_model(model: str) -> ModelSource:
    """Return the built-in model of that name, else the one whose file or manifest has that path.

    Raises ModelError where a manifest cannot be used.
    """
    if model in BUILTIN:
        return _bundled_model()
    files = find_model_files(Path(model).expanduser(), SUFFIX)
    if files.model is None:
        if files.manifest.extends not in BUILTIN:
            message = f"{files.manifest_file}: extends: there is no built-in model {files.manifest.extends!r}"
            raise ModelError(message, hint=f"Built-in models: {', '.join(BUILTIN)}.")
        return replace(_bundled_model(), manifest=files.manifest, labels=files.labels)
    return ModelSource(
        name=files.slug,
        path=files.model,
        digest=files.manifest.sha256,
        labels=files.labels,
        manifest=files.manifest,
    )


def _bundled_model() -> ModelSource:
    facts = tomllib.loads((BUNDLED / "MODEL.toml").read_text(encoding="utf-8"))
    return ModelSource(
        name=facts["name"],
        path=BUNDLED / facts["file"],
        digest=facts["sha256"],
        projection=BUNDLED / facts["projection"],
        taxonomy=BUNDLED,
    )


def read_taxonomy(folder: Path) -> Taxonomy:
    """Return the terms of a model's classes and their ancestors. Raises ModelError."""
    classes = tuple(
        ClassTerms(category=row["category"], ancestors=_names(row["ancestors"]), synonyms=_names(row["synonyms"]))
        for row in _rows(folder / CLASSES)
    )
    ancestors = (
        AncestorTerms(name=row["ancestor"], synonyms=_names(row["synonyms"])) for row in _rows(folder / ANCESTORS)
    )
    return Taxonomy(classes=classes, ancestors=tuple(ancestors))


def read_display_names(folder: Path) -> Mapping[int, str]:
    """Return better names for classes whose labels few people know, by class number. Raises ModelError."""
    return {number: row["shown"] for number, row in enumerate(_rows(folder / CLASSES)) if row["shown"]}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", hint="Reinstall imgtag-sidecar.") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()
