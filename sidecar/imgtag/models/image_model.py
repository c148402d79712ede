"""A local classifier, but for its runtime: what prepares pictures for a model and reads its answers."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtag.errors import ModelError
from imgtag.models.temperature import apply_temperature
from imgtag.models.tensors import NoClassifier
from imgtag.plugin.classifier import ModelInfo, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from imgtag.models.manifest import OutputManifest
    from imgtag.models.projection import Matrix
    from imgtag.models.tensors import Input, Output, Preparation
    from imgtag.plugin.image import Image

MAX_BYTES = 512 * 2**20  # of a model file; the largest image classifiers have about 350 MB
MAX_BATCH = 8  # pictures; more gains nothing on a CPU and costs memory


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """A `Classifier` of one model.

    ``run`` passes one batch through the runtime: from the input tensor to the output tensors of ``classes`` and, where
    there is one, of ``embedding``.
    """

    info: ModelInfo
    image: Input
    classes: Output
    embedding: Output | None
    projection: Matrix | None
    """Embedding to vector: float32 [embedding, 128]."""
    crop: float
    """Share of a picture's shorter side that the model sees."""
    run: Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any] | None]]

    def classify(self, images: Sequence[Image]) -> list[Scores]:
        """Return the scores of each image, in their order. Raises ModelError when the model itself fails."""
        limit = MAX_BATCH if self.image.is_dynamic else 1
        scores: list[Scores] = []
        for start in range(0, len(images), limit):
            pixels = np.stack([image.fit(self.info.size, crop=self.crop) for image in images[start : start + limit]])
            classes, features = self.run(self.image.encode(pixels))
            probabilities = apply_temperature(self.classes.probabilities(classes), self.info.temperature)
            if self.embedding is None or features is None:
                scores += [Scores(probabilities=row) for row in probabilities]
                continue
            matrix = self.projection
            scores += [
                Scores(probabilities=row, embedding=values, vector=None if matrix is None else values @ matrix)
                for row, values in zip(probabilities, self.embedding.decode(features), strict=True)
            ]
        return scores


@contextmanager
def explain_refusals(path: Path) -> Iterator[None]:
    """Name the file of a model that is no image classifier, or whose pixels cannot be normalised. Raises ModelError."""
    try:
        yield
    except NoClassifier as error:
        raise ModelError(f"{path} is not an image classifier: {error.seen}", hint=error.hint) from error
    except ValueError as error:
        hint = "Set `mean` and `std` under [input] of the model's manifest: one number, or three for R, G, B."
        raise ModelError(f"{path}: {error}", hint=hint) from error


def read_content(path: Path, *, expected: str | None, hint: str) -> tuple[bytes, str]:
    """Return the bytes of a model file and their SHA-256 in hex.

    Raises ModelError where it is absent (``hint`` says what to check then), too large, or not the file with the
    ``expected`` SHA-256.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            too_large = "Use a smaller model; image classifiers have 2 to 350 MB."
            raise ModelError(f"{path} has more than {MAX_BYTES >> 20} MB", hint=too_large)
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}", hint=hint) from error
    digest = hashlib.sha256(content).hexdigest()
    if expected not in {None, digest}:
        message = f"{path} is not the file that its manifest names by SHA-256 (it has {digest[:16]}...)"
        raise ModelError(message, hint="Copy or add the model again; for the bundled one, reinstall imgtag-sidecar.")
    return content, digest


def name_variant(preparation: Preparation, identities: Sequence[str], output: OutputManifest) -> str:
    """Four hex digits for what shapes the labels without standing in the model file; empty where nothing does.

    ``identities`` are the labels of a label file of its own.
    """
    names = output.model_dump(exclude_none=True)
    if not (preparation.deviations or identities or names):
        return ""
    return hashlib.sha256(json.dumps([preparation.deviations, tuple(identities), names]).encode()).hexdigest()[:4]
