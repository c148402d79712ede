"""What stands beside a model file: a TOML file of the same name, where the model does not say it all itself."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from imgtag.errors import ModelError
from imgtag.plugin.spec import Settings

SUFFIX = ".toml"
LABELS = ".txt"
"""Of the label file beside a model that has no manifest."""

_LARGEST = 1 << 20
Beside = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=128)]
"""The name of a file in the same folder."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0.05, le=20)]
"""More sharpens or blurs a model beyond use."""


class InputManifest(Settings):
    """How pictures are given to the model."""

    mean: Number | tuple[Number, Number, Number] | None = None
    std: Positive | tuple[Positive, Positive, Positive] | None = None
    crop: Annotated[float, Field(gt=0, le=1)] | None = None


class OutputManifest(Settings):
    """Which outputs are which, by the name of their tensors."""

    probabilities: str | None = None
    embedding: str | None = None


class Manifest(Settings):
    """Everything optional: what is absent, the model file says, or the defaults hold."""

    file: Beside | None = None
    """The model file beside it; that of the manifest's own name where it is absent."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    labels: Beside | None = None
    summary: str = ""
    licence: str | None = None
    source: str | None = None
    """Where it came from: a URL, BUCKET/KEY or a path."""
    temperature: Temperature | None = None
    input: InputManifest = InputManifest()
    output: OutputManifest = OutputManifest()


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model by name: its file, its manifest and its label file, where it has them."""

    name: str
    model: Path
    manifest: Manifest = field(default_factory=Manifest)
    manifest_file: Path | None = None
    labels: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that belongs to it."""
        return tuple(path for path in (self.model, self.manifest_file, self.labels) if path is not None)


def model_files(path: Path, suffix: str) -> ModelFiles:
    """What belongs to a model that is named by its manifest, or by its file, which ends in ``suffix``.

    Raises ModelError where there is a manifest that cannot be used.
    """
    beside = path.with_suffix(SUFFIX)
    if path.suffix == SUFFIX:
        return _described(path, suffix)
    if beside.is_file() and _described(beside, suffix).model == path:
        return _described(beside, suffix)
    labels = path.with_suffix(LABELS)
    return ModelFiles(name=path.stem, model=path, labels=labels if labels.is_file() else None)


def read(path: Path) -> Manifest:
    """Read a manifest. Raises ModelError that names the file and the key."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path} is too large for a manifest", hint="Is it the model itself?")
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        hint = "`imgtag models list` shows the models that there are."
        raise ModelError(f"the model {path} cannot be read: {error.strerror}", hint=hint) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} is no TOML: {error}", hint="Mend it, or add the model again.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        message = "is no key of a manifest" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise ModelError(f"{path}: {key}: {message}", hint="docs/reference/models.md lists the keys.") from error


def _described(path: Path, suffix: str) -> ModelFiles:
    manifest = read(path)
    model = path.with_name(manifest.file) if manifest.file else path.with_suffix(suffix)
    labels = path.with_name(manifest.labels) if manifest.labels else None
    return ModelFiles(name=path.stem, model=model, manifest=manifest, manifest_file=path, labels=labels)
