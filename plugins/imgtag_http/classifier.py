"""Asks an inference server what is on an image."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from imgtag.errors import ConfigError, ImgtagError, Unavailable
from imgtag.plugin import (
    Check,
    Detection,
    ImageOrder,
    ModelInfo,
    ObjectState,
    PluginContext,
    RemoteImage,
    ServiceBase,
)
from imgtag.types.labels import identity
from imgtag_http.client import Client
from imgtag_http.json_protocol import JsonProtocol
from imgtag_http.settings import HttpSettings
from imgtag_http.v2_protocol import V2Protocol, model_path, read_model

_NOT_SHAPING = frozenset(
    {"url", "token", "token_header", "ca", "connect_timeout", "timeout", "concurrency", "tensors", "labels", "version"}
)
"""Settings that no label depends on, and two that the digest has in another form."""
_MAX_VERSION = 100
"""Characters of a version."""
_MAX_LABELS = 1 << 20
"""Bytes of a file of labels."""


class HttpClassifier(ServiceBase):
    """See `RemoteClassifier`."""

    def __init__(self, settings: HttpSettings, context: PluginContext) -> None:  # noqa: ARG002 - the contract's
        self._settings = settings
        self._client = Client(settings)
        self._names: tuple[str, ...] = ()
        self._protocol: JsonProtocol | V2Protocol = JsonProtocol(settings)
        self._version = settings.version
        self.concurrency = settings.concurrency
        self.info = self._make_info()

    @property
    def order(self) -> ImageOrder:
        """What the model takes, once entered."""
        return self._protocol.order

    async def __aenter__(self) -> Self:
        """With ``v2``, read what the server says of its model. Raises Unavailable, ConfigError."""
        await self._client.open()
        try:
            if self._settings.labels is not None:
                self._names = await anyio.to_thread.run_sync(_read_labels, self._settings.labels)
            if self._settings.protocol == "v2":
                model = read_model(await self._client.get(model_path(self._settings)), self._settings)
                self._protocol = V2Protocol(self._settings, model, self._names)
                self._version = model.version
            self.info = self._make_info()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def checks(self) -> AsyncIterator[Check]:
        """Whether the server is ready, and what it is going to be sent."""
        settings = self._settings
        if settings.protocol == "v2":
            try:
                await self._client.get(f"{model_path(settings)}/ready")
            except ImgtagError as error:
                if error.code != "invalid_answer":  # servers answer without a body, too
                    yield Check(check="inference server", ok=False, message=error.message, hint=error.hint)
                    return
            yield Check(check="inference server", ok=True, message=f"{settings.url} serves {self.info.id}")
        else:
            message = f"images are sent to {settings.url}; only a real one shows whether it understands them"
            yield Check(check="inference server", ok=True, message=f"{message}: try `imgtag label FILE`")
        order = self.order
        form = f"pixels, {order.size[0]} x {order.size[1]}" if order.format == "rgb" else "JPEG without metadata"
        limit = "" if order.format == "rgb" else f", at most {order.max_side} pixels a side"
        secure = "" if settings.url.startswith("https:") else ", unencrypted"
        yield Check(check="what is sent", ok=True, message=f"{form}{limit}{secure}")

    def by_reference(self, state: ObjectState, image_format: str) -> bool:  # noqa: ARG002 - the contract's
        """No such server reads the store."""
        return False

    async def classify(self, image: RemoteImage) -> Sequence[Detection]:
        """See `RemoteClassifier`."""
        # Half a million numbers as JSON take a while.
        is_slow = self.order.format == "rgb"
        make = self._protocol.request
        request = await anyio.to_thread.run_sync(make, image) if is_slow else make(image)
        answer = await self._client.ask(request)
        detections = self._protocol.detections(answer, image)
        lowest = min((each.confidence for each in detections), default=0.0)
        if lowest < 0:  # it would pass for nothing seen, below `min_confidence`
            raise Unavailable(
                f"the inference server answers with the confidence {lowest:g}",
                hint="Set what makes numbers from 0 to 1 of them under [classifier.http]. The images wait meanwhile.",
                code="invalid_answer",
            )
        self._note_version(answer)
        return [each for each in detections if each.confidence >= self._settings.min_confidence]

    def _note_version(self, answer: Any) -> None:
        """The server may have loaded another version since the last image."""
        version = answer.get("model_version") if isinstance(answer, dict) else None
        if self._settings.protocol != "v2" or self._settings.version or not isinstance(version, str):
            return
        if version not in {"", self._version} and len(version) <= _MAX_VERSION:
            self._version = version
            self.info = self._make_info()

    def _make_info(self) -> ModelInfo:
        shaping = self._settings.model_dump(mode="json", exclude=set(_NOT_SHAPING))
        facts = json.dumps([self._version, shaping, self._names], sort_keys=True)
        labels = {identity(name): name for name in self._names if name}
        return ModelInfo(
            name=self._settings.model,
            digest=sha256(facts.encode()).hexdigest(),
            labels=tuple(labels),
            display=tuple(labels.values()),
            open=True,
        )


def _read_labels(path: Path) -> tuple[str, ...]:
    """One name per line; an empty line is a class without one. Raises ConfigError."""
    try:
        if path.stat().st_size > _MAX_LABELS:
            raise ConfigError(f"`labels` under [classifier.http]: {path} has more than {_MAX_LABELS:,} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"`labels` under [classifier.http]: {path}: {reason}") from error
    return tuple(line.strip() for line in lines)
