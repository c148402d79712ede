"""Classifiers: which label, how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """How vectors are made of embeddings, as ``svd1``: another name for another way. Empty where there are none."""
    licence: str | None = None
    variant: str = ""
    """Up to eight hex digits that stand for labels and preparation of pictures that the file does not say itself."""
    temperature: float = 1.0
    """What its logits were divided by: more than 1 makes it less sure."""
    taxonomy: Taxonomy = field(default_factory=Taxonomy)
    """What its classes are kinds of and what else they are called; empty where that is not known."""

    @property
    def id(self) -> str:
        """Name and the first eight digits of the digest, as marks and documents carry it; with what changes its labels.

        ``birds@1a2b3c4d``, ``birds@1a2b3c4d.77f0`` with labels from elsewhere, ``birds@1a2b3c4d~1.35`` calibrated.
        """
        variant = f".{self.variant}" if self.variant else ""
        temperature = f"~{self.temperature:.4g}" if self.temperature != 1 else ""
        return f"{self.name}@{self.digest[:8]}{variant}{temperature}"

    def known(self) -> frozenset[str]:
        """The labels and ancestors that rules may name."""
        return frozenset({*self.labels, *(ancestor.name for ancestor in self.taxonomy.ancestors)})

    def vocabulary(self, policy: LabelPolicy) -> Vocabulary:
        """The labels and ancestors that it gives under a policy."""
        return build_vocabulary(self.id, self.labels, self.display, self.taxonomy, policy)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model says of one picture: float32 probabilities of all classes; the embedding, float32, or None.

    ``vector`` is the embedding projected to 128 numbers, float32, whose cosine tells how alike pictures are; None
    where the model has no projection. Its length means nothing.
    """

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None
    vector: NDArray[np.float32] | None = None


class Classifier(Protocol):
    """Runs in a worker process, one call at a time, without credentials."""

    info: ModelInfo

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """Scores of each image, in their order. Raises ModelError when the model itself fails."""
        ...


class RemoteClassifier(Protocol):
    """Runs in the main process and asks a server."""

    info: ModelInfo

    async def classify(self, images: Sequence[bytes]) -> Sequence[Scores]:
        """Scores of each encoded picture. Raises Unavailable, Unreadable, Undecodable."""
        ...
