"""The classifier: pictures in, probabilities and embedding out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtag.models.temperature import tempered
from imgtag.plugin.classifier import ModelInfo, Scores
from imgtag_tflite.model import load
from imgtag_tflite.runtime import failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from imgtag.plugin.image import Image
    from imgtag_tflite.settings import TFLiteSettings
    from imgtag_tflite.tensors import Floats

BATCH = 8  # pictures at a time; more gains nothing on a CPU and costs memory
HINT = "If the bundled model does better, convert this one again."


class TFLiteClassifier:
    """A TensorFlow Lite model on the CPU; one call at a time.

    Raises ModelError, when made, where the model or its labels cannot be used; the message names the file.
    """

    info: ModelInfo

    def __init__(self, settings: TFLiteSettings) -> None:
        self._model = load(settings)
        self._batch = 1
        self.info = self._model.info

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """Return the scores of each image, in their order. Raises ModelError when the model itself fails."""
        limit = BATCH if self._model.image.dynamic else 1
        scores: list[Scores] = []
        for start in range(0, len(images), limit):
            part = images[start : start + limit]
            pixels = np.stack([image.fit(self.info.size, crop=self._model.crop) for image in part])
            with failures(f"{self.info.id} failed on a picture", HINT):
                self._infer(pixels)
                scores += self._scores()
        return scores

    def _infer(self, pixels: NDArray[np.uint8]) -> None:
        image, interpreter = self._model.image, self._model.interpreter
        if len(pixels) != self._batch:
            interpreter.resize_tensor_input(image.index, pixels.shape)
            interpreter.allocate_tensors()
            self._batch = len(pixels)
        interpreter.set_tensor(image.index, image.encode(pixels))
        interpreter.invoke()

    def _scores(self) -> list[Scores]:
        classes, embedding = self._model.classes, self._model.embedding
        read = self._model.interpreter.get_tensor
        probabilities = tempered(classes.probabilities(read(classes.index)), self.info.temperature)
        if embedding is None:
            return [Scores(probabilities=row) for row in probabilities]
        embeddings = embedding.decode(read(embedding.index))
        vectors = _vectors(embeddings, self._model.projection)
        rows = zip(probabilities, embeddings, vectors, strict=True)
        return [Scores(probabilities=row, embedding=each, vector=vector) for row, each, vector in rows]


def _vectors(embeddings: Floats, projection: Floats | None) -> Sequence[Floats | None]:
    return [None] * len(embeddings) if projection is None else [each @ projection for each in embeddings]
