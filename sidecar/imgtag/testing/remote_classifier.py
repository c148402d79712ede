"""A remote classifier that needs no server: it names colours, in words of its own, and fails on request."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO

import anyio.to_thread
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from imgtag.errors import Undecodable
from imgtag.plugin.classifier import ModelInfo, RemoteImage
from imgtag.plugin.spec import PluginContext, PluginSpec, Settings
from imgtag.testing.classifier import COLOURS
from imgtag.testing.service import MemoryService
from imgtag.types.detections import Box, Detection
from imgtag.types.prepared_image import ImageOrder
from imgtag.types.ref import ObjectState

_PARENTS = {"red": ("Warm colour", "Colour"), "yellow": ("Warm colour", "Colour")}
_SMALL = 64
"""Pixels of a side: enough for a colour."""


class RemoteColourSettings(Settings):
    """Another ``release`` is another model; ``concurrency`` as in `RemoteClassifier`."""

    release: str = "1"
    concurrency: int = 2


class MemoryRemoteClassifier(MemoryService):
    """Names the nearest colour of an image, with its parents and a box around the whole of it.

    ``faults`` can fail the calls ``enter``, ``checks`` and ``classify``. ``images`` are those that it got.
    """

    def __init__(self, settings: RemoteColourSettings | None = None, context: PluginContext | None = None) -> None:  # noqa: ARG002
        super().__init__()
        settings = settings or RemoteColourSettings()
        self.images: list[RemoteImage] = []
        self.busy = self.most_busy = 0
        """Calls now, and the most at once."""
        self.concurrency = settings.concurrency
        self.order = ImageOrder(max_side=_SMALL)
        self.info = ModelInfo(
            name="remote-colours",
            digest=sha256(f"{settings.release} {COLOURS}".encode()).hexdigest(),
            labels=(),
            display=(),
            open=True,
        )

    def by_reference(self, state: ObjectState, image_format: str) -> bool:  # noqa: ARG002
        """It reads no store."""
        return False

    async def classify(self, image: RemoteImage) -> Sequence[Detection]:
        """The colour that its middle has."""
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            self.images.append(image)
            await self.faults.meet("classify", image.state and image.state.ref)
            return await anyio.to_thread.run_sync(_name_colours, image.data)
        finally:
            self.busy -= 1


def _name_colours(data: bytes) -> Sequence[Detection]:
    try:
        with Pillow.open(BytesIO(data)) as picture:
            mean = picture.convert("RGB").resize((1, 1), Pillow.Resampling.BOX).getpixel((0, 0))
    except (UnidentifiedImageError, OSError) as error:
        raise Undecodable(f"it is no image: {error}", code="server_refuses") from error
    assert isinstance(mean, tuple), "RGB has three numbers"
    distances = {name: sum((a - b) ** 2 for a, b in zip(mean, colour, strict=True)) for name, colour in COLOURS.items()}
    name = min(distances, key=distances.__getitem__)
    parents = _PARENTS.get(name, ("Colour",))
    whole = Box(0.0, 0.0, 1.0, 1.0)
    of_parents = [
        Detection(name=parent, confidence=0.97, parents=parents[place + 1 :]) for place, parent in enumerate(parents)
    ]
    shown = Detection(
        name=name.capitalize(), confidence=0.9, parents=parents, synonyms=("Paint",), category="Paints", boxes=(whole,)
    )
    return [shown, *of_parents]


SPEC = PluginSpec(
    name="remote-colour",
    kind="classifier",
    summary="Names the colour of a picture as a server would; for tests.",
    settings=RemoteColourSettings,
    factory="imgtag.testing.remote_classifier:MemoryRemoteClassifier",
    runs="main",
)
