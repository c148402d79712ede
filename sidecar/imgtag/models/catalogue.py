"""Well-known public models: where to download them, and the digest that each file must have."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from imgtag.errors import ConfigError
from imgtag.files.toml import parse_toml
from imgtag.models.manifest import InputManifest, OutputManifest
from imgtag.plugin.spec import Settings

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class CatalogueEntry(Settings):
    """One model. ``published`` is the accuracy that its publisher states."""

    summary: str
    url: Url
    sha256: Digest
    bytes: int
    licence: str
    labels_url: Url | None = None
    labels_sha256: Digest | None = None
    published: str = ""
    input: InputManifest = InputManifest()
    output: OutputManifest = OutputManifest()


class _Catalogue(Settings):
    models: Mapping[str, CatalogueEntry]


def load_catalogue(shipped: str | None, own: Path | None) -> Mapping[str, CatalogueEntry]:
    """The models of the shipped list (``package:file``) and of the admin's own, which wins. Raises ConfigError."""
    entries: dict[str, CatalogueEntry] = {}
    if shipped:
        package, _, name = shipped.partition(":")
        entries |= _parse(files(package).joinpath(name).read_text(encoding="utf-8"), name)
    if own:
        try:
            entries |= _parse(own.read_text(encoding="utf-8-sig"), str(own))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the catalogue {own}: {error}", hint="Check `catalogue` in [models]."
            ) from error
    return entries


def _parse(text: str, origin: str) -> Mapping[str, CatalogueEntry]:
    try:
        return _Catalogue.model_validate(parse_toml(text)).models
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"the catalogue {origin}: {key}: {first['msg'].lower()}", hint="See docs/reference/models.md."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"the catalogue {origin} is not valid TOML: {error}", hint="Check `catalogue` in [models]."
        ) from error
