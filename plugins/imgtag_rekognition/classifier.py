"""Asks Amazon Rekognition what is on an image."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import anyio

from imgtag.errors import ImgtagError, Unavailable, Undecodable, Unreadable
from imgtag.plugin import (
    Check,
    Cost,
    Detection,
    ImageOrder,
    ModelInfo,
    ObjectState,
    PluginContext,
    RemoteImage,
    ServiceBase,
)
from imgtag.types.detections import MAX_DETECTIONS
from imgtag_rekognition.answers import read_labels, read_moderation, read_version
from imgtag_rekognition.budget import Budget
from imgtag_rekognition.pace import Pace
from imgtag_rekognition.service import REFUSED, UNREADABLE_OBJECT, NotCharged, RekognitionService, Throttled
from imgtag_rekognition.settings import RekognitionSettings
from imgtag_rekognition.versions import Versions

log = logging.getLogger(__name__)

MIN_SIDE = 80
"""https://docs.aws.amazon.com/rekognition/latest/dg/limits.html"""
MAX_READ = 15 << 20
"""Bytes of an object that Rekognition reads itself."""
FORMATS = frozenset({"JPEG", "PNG"})
MAX_TRIES = 5
"""Times that a call is made while AWS says that there are too many."""
_MODERATED = 8
"""Detections of an image that are left for moderation labels."""


class RekognitionClassifier(ServiceBase):
    """See `RemoteClassifier`."""

    def __init__(self, settings: RekognitionSettings, context: PluginContext) -> None:
        self._settings = settings
        self._buckets = context.buckets
        self._service = RekognitionService(settings)
        self._budget = Budget(context.state_dir / "rekognition-calls.json", settings.max_calls)
        self._versions = Versions(context.state_dir / "rekognition-models.json")
        self._pace = Pace(settings.calls_per_second)
        self._reads_store = _reads_store(settings, context)
        self.concurrency = settings.concurrency
        self.order = ImageOrder(max_side=settings.max_side, min_side=MIN_SIDE)

    @property
    def info(self) -> ModelInfo:
        """AWS changes its models without being asked: an answer names the version, and the last one stands here."""
        settings = self._settings
        shaping = [
            self._versions.labels,
            settings.min_confidence,
            [self._versions.moderation, settings.moderation_min_confidence] if settings.moderation else None,
        ]
        digest = sha256(json.dumps(shaping).encode()).hexdigest()
        return ModelInfo(name="rekognition", digest=digest, labels=(), display=(), open=True)

    async def __aenter__(self) -> Self:
        """Connects to nothing: a call costs money."""
        await self._versions.load()
        await self._service.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._budget.close()
        finally:
            await self._service.close()

    async def checks(self) -> AsyncIterator[Check]:
        """Whether AWS answers and allows the calls, by an image that it refuses and does not charge; and the budget."""
        actions = ["DetectLabels", *(["DetectModerationLabels"] if self._settings.moderation else [])]
        for action in actions:
            try:
                await self._service.call(action, Image={"Bytes": b"not an image"})
            except ImgtagError as error:
                if error.code != REFUSED:
                    yield Check(check="rekognition", ok=False, message=error.message, hint=error.hint)
                    continue
            yield Check(check="rekognition", ok=True, message=f"{self._service.where} allows {action}")
        where = "Rekognition reads objects itself" if self._reads_store else "imgtag sends a JPEG without metadata"
        yield Check(check="privacy", ok=True, message=f"pictures leave this site for {self._settings.region}: {where}")
        try:
            used = await self._budget.used()
        except Unavailable as error:
            yield Check(check="budget", ok=False, message=error.message, hint=error.hint)
            return
        message = f"${self._dollars(used):,.2f} of ${self._settings.monthly_budget:,.2f} are spent this month"
        hint = "Images wait for the next month. To go on now, raise `monthly_budget`."
        yield Check(check="budget", ok=used < self._settings.max_calls, message=message, hint=hint)

    def policy(self) -> str:
        """An IAM policy."""
        actions = ["rekognition:DetectLabels"]
        if self._settings.moderation:
            actions.append("rekognition:DetectModerationLabels")
        statements: list[Mapping[str, Any]] = [{"Effect": "Allow", "Action": actions, "Resource": "*"}]
        if self._reads_store:
            objects = [f"arn:aws:s3:::{bucket}/*" for bucket in self._buckets or ("*",)]
            rights = ["s3:GetObject", "s3:GetObjectVersion"]
            statements.append({"Effect": "Allow", "Action": rights, "Resource": objects})
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)

    def by_reference(self, state: ObjectState, image_format: str) -> bool:
        """What Rekognition takes, in a bucket that it can read."""
        return self._reads_store and image_format in FORMATS and state.size <= MAX_READ

    async def classify(self, image: RemoteImage) -> Sequence[Detection]:
        """See `RemoteClassifier`."""
        calls, charged = self._settings.calls, list[str]()
        month = await self._budget.take(calls)  # all at once: a half-paid image would be paid for again
        try:
            return await self._detect(image, charged)
        finally:
            with anyio.CancelScope(shield=True):
                await self._budget.give_back(calls - len(charged), month)

    async def _detect(self, image: RemoteImage, charged: list[str]) -> Sequence[Detection]:
        """Ask AWS about an image. ``charged`` gets the actions that AWS charges, or may charge."""
        settings = self._settings
        shown = {"Bytes": image.data} if image.data or image.state is None else _reference(image.state)
        detections: list[Detection] = []
        if settings.moderation:
            percent = settings.moderation_min_confidence * 100
            answer = await self._call("DetectModerationLabels", charged, Image=shown, MinConfidence=percent)
            await self._versions.note(moderation=read_version(answer, "ModerationModelVersion"))
            detections += read_moderation(answer)[:_MODERATED]
        most = MAX_DETECTIONS - len(detections)
        percent = settings.min_confidence * 100
        answer = await self._call("DetectLabels", charged, Image=shown, MaxLabels=most, MinConfidence=percent)
        await self._versions.note(labels=read_version(answer, "LabelModelVersion"))
        return [*detections, *read_labels(answer, boxes=settings.boxes)]

    async def cost(self, images: int) -> Cost:
        """See `Priced`."""
        calls = images * self._settings.calls
        dollars = self._dollars(calls)
        left = self._dollars(max(0, self._settings.max_calls - await self._budget.used()))
        note = f"${left:,.2f} of this month's budget are left"
        if dollars > left:
            note += ", so a part of the images will wait for the next month"
        return Cost(dollars=dollars, seconds=calls / self._settings.calls_per_second, note=note)

    async def _call(self, action: str, charged: list[str], **parameters: Any) -> Mapping[str, Any]:
        """One call, in its turn; again after AWS has refused it because there were too many, which costs nothing."""
        for attempt in range(1, MAX_TRIES + 1):
            await self._pace.wait()
            charged.append(action)  # also where nobody waits for the answer any more
            try:
                answer = await self._service.call(action, **parameters)
            except NotCharged as error:
                charged.remove(action)
                if not isinstance(error, Throttled):
                    raise
                self._pace.slow_down()
                if attempt == MAX_TRIES:
                    raise
            except (Undecodable, Unreadable) as error:
                self._note_unreadable(error)
                raise
            else:
                self._pace.speed_up()
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _note_unreadable(self, error: ImgtagError) -> None:
        """Stop naming objects that AWS cannot read: each would take a call more."""
        if self._reads_store and UNREADABLE_OBJECT in error.message:
            self._reads_store = False
            hint = "Check that buckets and Rekognition share a region, and `imgtag policy rekognition`."
            log.warning("rekognition_cannot_read_store", extra={"reason": error.message, "hint": hint})

    def _dollars(self, calls: int) -> float:
        return calls * self._settings.price / 1000


def _reads_store(settings: RekognitionSettings, context: PluginContext) -> bool:
    """Whether the store is S3 of AWS in the same region, by its settings; or as configured."""
    if settings.read_store is not None:
        return settings.read_store
    endpoint, region = (str(getattr(context.store, name, "")) for name in ("endpoint", "region"))
    return endpoint.rstrip("/").endswith("amazonaws.com") and region == settings.region


def _reference(state: ObjectState) -> Mapping[str, Any]:
    place = {"Bucket": state.ref.bucket, "Name": state.ref.key}
    return {"S3Object": {**place, "Version": state.version} if state.version else place}
