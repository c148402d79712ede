"""The manifest beside a model file: a TOML file of the same name, with what the model file does not say itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from imgtag.errors import ModelError
from imgtag.files.toml import parse_toml
from imgtag.plugin.spec import Settings

MANIFEST_SUFFIX = ".toml"
LABELS_SUFFIX = ".txt"
"""Of the label file beside a model that has no manifest."""

_MAX_BYTES = 1 << 20
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=128)]
"""Of a file in the same folder."""
Side = Annotated[int, Field(ge=1, le=4096)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0.05, le=20)]
"""Beyond these bounds a model is sharpened or blurred until it is useless."""


class InputManifest(Settings):
    """How pictures are passed to the model."""

    mean: Number | tuple[Number, Number, Number] | None = None
    std: Positive | tuple[Positive, Positive, Positive] | None = None
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None
    """Whether the colours come last or first; by default, where the model has three channels."""
    size: Side | tuple[Side, Side] | None = None
    """Side, or width and height, in pixels, for a model that takes pictures of any size."""


class OutputManifest(Settings):
    """Which output is which, by tensor name, and what its numbers are."""

    probabilities: str | None = None
    embedding: str | None = None
    activation: Literal["none", "softmax", "sigmoid"] | None = None
    """What makes probabilities of the output; by default, what its values look like."""


class Manifest(Settings):
    """Everything is optional: the model file, or a default, fills in what is absent."""

    extends: str | None = None
    """A built-in model, such as ``bundled``, that this manifest changes; there is no model file then."""
    file: FileName | None = None
    """The model file beside it; by default the one with the manifest's own name."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    labels: FileName | None = None
    summary: str = ""
    licence: str | None = None
    source: str | None = None
    """Where it came from: a URL, BUCKET/KEY or a path."""
    temperature: Temperature | None = None
    input: InputManifest = InputManifest()
    output: OutputManifest = OutputManifest()

    @model_validator(mode="after")
    def _names_one_model(self) -> Manifest:
        if self.extends and (self.file or self.sha256):
            raise ValueError("`extends` stands for the model file: remove `file` and `sha256`")
        return self


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model by name: its file, its manifest and its label file, as far as it has them.

    ``model`` is None where the manifest extends a built-in model.
    """

    name: str
    model: Path | None
    manifest: Manifest = field(default_factory=Manifest)
    manifest_file: Path | None = None
    labels: Path | None = None

    @property
    def slug(self) -> str:
        """The name as marks and documents carry it: lower case, without spaces or `@`."""
        return re.sub(r"[^a-z0-9._-]+", "-", self.name.lower()).strip("-") or "model"

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that belongs to it."""
        return tuple(path for path in (self.model, self.manifest_file, self.labels) if path is not None)


def find_model_files(path: Path, suffix: str) -> ModelFiles:
    """Everything that belongs to a model, given its manifest or its model file, which ends in ``suffix``.

    Raises ModelError where there is a manifest that cannot be used.
    """
    if path.suffix == MANIFEST_SUFFIX:
        return _resolve(path, suffix)
    manifest = path.with_suffix(MANIFEST_SUFFIX)
    if manifest.is_file() and (files := _resolve(manifest, suffix)).model == path:
        return files  # a manifest of the same name may describe another file
    labels = path.with_suffix(LABELS_SUFFIX)
    return ModelFiles(name=path.stem, model=path, labels=labels if labels.is_file() else None)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raises ModelError that names the file and the key."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path} is too large for a manifest", hint="Is it the model itself?")
        return Manifest.model_validate(parse_toml(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        hint = "`imgtag models list` shows the available models."
        raise ModelError(f"cannot read the model {path}: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        message = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise ModelError(
            ": ".join(filter(None, (str(path), key, message))), hint="docs/reference/models.md lists the keys."
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid TOML: {error}", hint="Correct it, or add the model again.") from error


def _resolve(path: Path, suffix: str) -> ModelFiles:
    manifest = read_manifest(path)
    model = path.with_name(manifest.file) if manifest.file else path.with_suffix(suffix)
    labels = path.with_name(manifest.labels) if manifest.labels else None
    return ModelFiles(
        name=path.stem,
        model=None if manifest.extends else model,
        manifest=manifest,
        manifest_file=path,
        labels=labels,
    )
