"""A classifier of the main process, with the workers that prepare images for its server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from imgtag.errors import Unavailable, Undecodable, Unreadable
from imgtag.flow.turns import Turns
from imgtag.models.spec import ModelSpec
from imgtag.plugin.classifier import RemoteClassifier, RemoteImage
from imgtag.types.detections import MAX_BOXES, MAX_DETECTIONS, MAX_NAME, MAX_TERMS, Detection, clip, is_usable_name
from imgtag.types.image_formats import identify
from imgtag.types.labels import Raw, identity
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.ref import ObjectState
from imgtag.types.thumbnail import Thumbnail, ThumbnailOrder
from imgtag.workers.answers import Inference, Preparation
from imgtag.workers.pool import WorkerPool, hash_image

if TYPE_CHECKING:
    from imgtag.plugin.classifier import ModelInfo

_MAX_EXCESS = 1e-3
"""By how much a confidence may go over 1: single precision rounds."""
INVALID_ANSWER = "invalid_answer"
"""Code of what a remote classifier must not answer."""


class RemotePool:
    """Classifies as a `WorkerPool` does, by asking a server. An async context manager.

    Images wait for their turns at the server as they do for workers: by uploader. Only those that have one are held in
    the form in which they are sent.
    """

    def __init__(self, spec: ModelSpec, classifier: RemoteClassifier, workers: WorkerPool) -> None:
        self.classifier = classifier
        self._spec = spec
        self._workers = workers
        self._free = Turns(classifier.concurrency)

    @property
    def info(self) -> ModelInfo:
        """The model as it is now: a server may change its version."""
        return self.classifier.info

    @property
    def infos(self) -> dict[ModelSpec, ModelInfo]:
        """As of `WorkerPool`."""
        return {self._spec: self.info}

    @property
    def pids(self) -> tuple[int, ...]:
        """As of `WorkerPool`."""
        return self._workers.pids

    @property
    def confinement(self) -> frozenset[str]:
        """As of `WorkerPool`."""
        return self._workers.confinement

    @property
    def on_restart(self) -> Callable[[str], None]:
        """As of `WorkerPool`."""
        return self._workers.on_restart

    @on_restart.setter
    def on_restart(self, call: Callable[[str], None]) -> None:
        self._workers.on_restart = call

    async def __aenter__(self) -> Self:
        """Start the workers and enter the classifier. Raises as both do."""
        await self._workers.__aenter__()
        try:
            await self.classifier.__aenter__()
        except BaseException:
            await self._workers.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.classifier.__aexit__(kind, error, trace)
        finally:
            await self._workers.__aexit__(kind, error, trace)

    async def classify(
        self,
        data: bytes,
        limits: PictureLimits,
        model: ModelSpec | None = None,  # noqa: ARG002 - there is one
        *,
        uploader: str = "",
        all_probabilities: bool = False,  # noqa: ARG002 - a server does not tell
        last: bool = False,
        state: ObjectState | None = None,
    ) -> Inference:
        """Prepare an image in a worker and ask the server about it; ``state`` is the object that it is, if any.

        Raises Unreadable, Undecodable; Unavailable.
        """
        digest, asked = await hash_image(data), monotonic()
        await (self._free.take_last() if last else self._free.take(uploader))
        started = monotonic()
        try:
            image_format = identify(data)
            is_read = bool(state and image_format and self.classifier.by_reference(state, image_format.name))
            order = None if is_read else self.classifier.order
            prepared = await self._workers.prepare(data, order, limits, uploader=uploader, last=last)
            sent = monotonic()
            try:
                detections = await self.classifier.classify(_to_remote(prepared, state))
            except (Undecodable, Unreadable):
                if order is not None:
                    raise
                # Too large, too small, or not to be read by the server: a worker makes of it what the server takes.
                order = self.classifier.order
                prepared = await self._workers.prepare(data, order, limits, uploader=uploader, last=last)
                detections = await self.classifier.classify(_to_remote(prepared, state))
        finally:
            if last:
                self._free.charge_last(monotonic() - started)
            else:
                self._free.charge(uploader, monotonic() - started)
            self._free.give()
        return Inference(
            raw=Raw.of_detections(require_detections(detections)),
            facts=prepared.facts,
            digest=digest,
            decode=prepared.decode,
            infer=monotonic() - sent,
            waited=started - asked + prepared.waited,
        )

    async def reduce(self, data: bytes, order: ThumbnailOrder, limits: PictureLimits) -> Thumbnail:
        """As `WorkerPool.reduce`."""
        return await self._workers.reduce(data, order, limits)


def require_detections(answer: Sequence[Detection]) -> tuple[Detection, ...]:
    """What a remote classifier says of an image, within the limits of `imgtag.types.detections`.

    Names that nobody could use and boxes outside of the image are left out. Raises Unavailable(code="invalid_answer")
    for a confidence that is none: then the server is at fault, and not the image.
    """
    try:
        kept = dict(reversed([(identity(detection.name), detection) for detection in _usable(answer)]))
        chosen = sorted(kept.values(), key=lambda detection: -detection.confidence)
    except (AttributeError, TypeError, ValueError) as error:
        raise Unavailable(
            f"the classifier's answer is invalid: {error}",
            code=INVALID_ANSWER,
            hint="Its images wait, and are tried again. `imgtag doctor` may say more; else report it to its author.",
        ) from error
    boxes = MAX_BOXES
    limited = []
    for detection in chosen:
        limited.append(replace(detection, boxes=detection.boxes[:boxes]))
        boxes -= len(limited[-1].boxes)
    return tuple(limited)


def _usable(answer: Sequence[Detection]) -> Iterator[Detection]:
    for detection in answer[:MAX_DETECTIONS]:
        confidence = detection.confidence
        if not (math.isfinite(confidence) and 0 <= confidence <= 1 + _MAX_EXCESS):
            raise ValueError(f"a confidence of {confidence!r} is not between 0 and 1")
        name = _clean(detection.name)
        if not name:
            continue
        boxes = (clip(box) for box in detection.boxes[:MAX_BOXES])
        yield Detection(
            name=name,
            confidence=min(1.0, float(confidence)),
            parents=_clean_all(detection.parents),
            synonyms=_clean_all(detection.synonyms),
            category=_clean(detection.category or "") or None,
            boxes=tuple(box for box in boxes if box is not None),
        )


def _clean_all(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(_clean, texts[:MAX_TERMS]))))


def _clean(text: Any) -> str:
    """A name on one line, with single spaces; empty where it cannot be one."""
    if not isinstance(text, str):
        raise TypeError(f"a label is text, not {type(text).__name__}")
    name = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * MAX_NAME]).split())
    return name if is_usable_name(name) else ""


def _to_remote(prepared: Preparation, state: ObjectState | None) -> RemoteImage:
    image = prepared.image
    if image is None:
        return RemoteImage(data=b"", width=prepared.facts.width or 0, height=prepared.facts.height or 0, state=state)
    return RemoteImage(data=image.data, width=image.width, height=image.height, state=state)
