"""Classifiers: which label, how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from imgtag.labels.open_vocabulary import open_vocabulary
from imgtag.labels.taxonomy import Taxonomy
from imgtag.labels.vocabulary import Vocabulary, build_vocabulary
from imgtag.plugin.service import Service
from imgtag.types.detections import Detection
from imgtag.types.prepared_image import ImageOrder
from imgtag.types.ref import ObjectState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgtag.labels.policy import LabelPolicy
    from imgtag.plugin.image import Image


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model. ``labels`` are identities by class number: lower case, unique; ``display`` is how they are shown."""

    name: str
    digest: str
    """SHA-256 of the model file, hex; of a remote model, of its name, its version and whatever changes its labels."""
    labels: tuple[str, ...]
    display: tuple[str, ...]
    size: tuple[int, int] = (1, 1)
    """Width and height of the input, pixels; of a remote model it has no meaning."""
    embedding: int = 0
    """Length of the embedding; 0 where the model has none."""
    projection: str = ""
    """The name of the projection from embedding to vector, such as ``svd1``; empty where there are no vectors."""
    licence: str | None = None
    variant: str = ""
    """Up to eight hex digits for labels and image preparation that come from outside the model file."""
    temperature: float = 1.0
    """The divisor of the logits: more than 1 makes the model less sure."""
    taxonomy: Taxonomy = field(default_factory=Taxonomy)
    """The ancestors and synonyms of the classes; empty where they are not known."""
    open: bool = False
    """Whether labels come with each image (`Detection`), as from every remote model. Then ``labels`` are those that are
    known in advance, perhaps none."""

    @property
    def id(self) -> str:
        """Name, first eight digits of the digest, and whatever changes the labels, as marks and documents carry it.

        ``birds@1a2b3c4d``, ``birds@1a2b3c4d.77f0`` with labels from elsewhere, ``birds@1a2b3c4d~1.35`` calibrated.
        """
        variant = f".{self.variant}" if self.variant else ""
        temperature = f"~{self.temperature:.4g}" if self.temperature != 1 else ""
        return f"{self.name}@{self.digest[:8]}{variant}{temperature}"

    def names(self) -> frozenset[str]:
        """The labels and ancestors, which label rules may name."""
        return self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset({*self.labels, *(ancestor.name for ancestor in self.taxonomy.ancestors)})

    def vocabulary(self, policy: LabelPolicy) -> Vocabulary:
        """The labels and ancestors under a policy."""
        if self.open:
            return open_vocabulary(self.id, policy)
        return build_vocabulary(self.id, self.labels, self.display, self.taxonomy, policy)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The answer of a model for one image.

    ``probabilities`` are float32, one for each class. ``embedding`` is float32 of the model's length, or None.
    ``vector`` is the embedding projected to 128 numbers, float32, or None; the cosine of two vectors is the similarity
    of their images, so its length has no meaning.
    """

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None
    vector: NDArray[np.float32] | None = None


class Classifier(Protocol):
    """Runs in a worker process, one call at a time, without credentials."""

    info: ModelInfo

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """The scores of each image, in their order. Raises ModelError where the model itself fails."""
        ...


@dataclass(frozen=True, kw_only=True)
class RemoteImage:
    """An image for a remote classifier.

    ``data`` is what its `ImageOrder` asks for, made by a worker: upright, without any metadata; ``width`` and
    ``height`` are its size in pixels. It is empty where ``by_reference`` was True for ``state``, the object in the
    store; ``state`` is None for a file, and for an image that somebody sends.
    """

    data: bytes
    width: int
    height: int
    state: ObjectState | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it costs to classify so many images, in US dollars, and the seconds that the server's limits make of it.

    ``note``: what a person should know of it besides, such as what is left of a budget.
    """

    dollars: float
    seconds: float
    note: str = ""


class RemoteClassifier(Service, Protocol):
    """Runs in the main process and asks a server. Its factory is called as ``factory(settings, context)``.

    Entering raises Unavailable where the server does not answer; a sidecar then waits for it. Calls overlap, at most
    ``concurrency`` of them; more images wait without being held in memory a second time.
    """

    info: ModelInfo
    """With ``open=True``. It may change while the classifier is entered, when the server has a new version of its
    model; what labelled an image is what stands here when its call returns."""
    concurrency: int
    """Images that the server is asked about at once."""
    order: ImageOrder
    """In what form, and how large, images are sent."""

    def by_reference(self, state: ObjectState, image_format: str) -> bool:
        """Whether the server reads this object from the store itself. ``image_format`` is that of its bytes: JPEG.

        Where it then refuses the object, it gets the image after all.
        """
        ...

    async def classify(self, image: RemoteImage) -> Sequence[Detection]:
        """What is on an image; the first 20 count.

        Raises Unavailable where the server does not answer, or not as it should: the image is tried again, for as long
        as it takes. Raises Unreadable or Undecodable where it refuses this image: that is a failure of the object.
        """
        ...


class Priced(Protocol):
    """What a remote classifier may have besides, where each image costs money: `imgtag plan` asks it."""

    async def cost(self, images: int) -> Cost:
        """What these would cost now. Nothing is bought."""
        ...
