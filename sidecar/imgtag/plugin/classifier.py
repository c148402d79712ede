"""Classifiers: which label, how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from imgtag.labels.taxonomy import Taxonomy
from imgtag.labels.vocabulary import Vocabulary, build_vocabulary

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
    """SHA-256 of the model file, hex."""
    labels: tuple[str, ...]
    display: tuple[str, ...]
    size: tuple[int, int]
    """Width and height of the input, pixels."""
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


class RemoteClassifier(Protocol):
    """Runs in the main process and asks a server."""

    info: ModelInfo

    async def classify(self, images: Sequence[bytes]) -> Sequence[Scores]:
        """The scores of each encoded image. Raises Unavailable, Unreadable, Undecodable."""
        ...
