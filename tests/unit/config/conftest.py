"""Plugins that exist for the tests of the configuration only, and a way to load a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import Field, SecretStr, field_validator

from imgtag.config.configuration import Config
from imgtag.config.findings import InvalidConfig
from imgtag.config.load import load
from imgtag.plugin.spec import FROM_FILE, Kind, ModelSettings, PluginSpec, Settings
from imgtag.registry import PluginRecord, Registry


class Tls(Settings):
    """How a server is trusted."""

    verify: bool = Field(default=True, description="Whether its certificate is checked.")


class Remote(Settings):
    """A server."""

    endpoint: str = Field(description="URL of the server.", examples=["http://127.0.0.1:9000"])
    access_key: Annotated[str, FROM_FILE] = Field(default="", description="Who we are.")
    secret_key: SecretStr | None = Field(default=None, description="What proves it.")
    ports: tuple[int, ...] = Field(default=(), description="Ports.")
    tls: Tls = Field(default=Tls(), description="Trust.")

    @field_validator("secret_key")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 4:
            raise ValueError(f"{value.get_secret_value()} is too short")
        return value


class Model(Settings):
    """A model one of whose settings has moved."""

    removed: ClassVar[Mapping[str, str]] = {"crop": "moved to the model's manifest"}
    threads: int = Field(default=1, description="Threads.")


class Folder(Settings):
    """A folder."""

    root: Path = Field(description="The folder.", examples=["/srv/pictures"])


def record(kind: Kind, name: str, settings: type[Settings]) -> PluginRecord:
    files = ModelSettings(name="model", suffix=".tflite") if kind == "classifier" else None
    fields = {"name": name, "kind": kind, "summary": f"The {kind} {name}.", "settings": settings, "models": files}
    spec = PluginSpec(factory="nowhere:Nothing", **fields)
    return PluginRecord(kind=kind, name=name, origin="tests 1", entry=f"tests:{name}", spec=spec)


@pytest.fixture
def registry() -> Registry:
    return Registry(
        (
            record("source", "directory", Settings),
            record("source", "nats", Remote),
            record("store", "directory", Folder),
            record("store", "s3", Remote),
            PluginRecord(kind="store", name="tape", origin="tests 1", entry="", status="broken", reason="no drive"),
            record("classifier", "tflite", Model),
            record("indexer", "sqlite", Settings),
            record("indexer", "meilisearch", Remote),
        )
    )


Load = Callable[..., Config]


@pytest.fixture
def load_text(tmp_path: Path, registry: Registry) -> Load:
    """Load a TOML text, with variables as keyword arguments."""

    def call(text: str = "", /, **env: str) -> Config:
        path = tmp_path / "imgtag.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, env=env, registry=registry)

    return call


@pytest.fixture
def findings(load_text: Load, tmp_path: Path) -> Callable[..., list[str]]:
    """The findings of a text as they are printed, without the folder of the file."""

    def call(text: str = "", /, **env: str) -> list[str]:
        with pytest.raises(InvalidConfig) as caught:
            load_text(text, **env)
        return [str(finding).replace(f"{tmp_path}/", "") for finding in caught.value.findings]

    return call
