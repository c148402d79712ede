"""The classifier: from pictures to probabilities, embedding and vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtag.models.temperature import apply_temperature
from imgtag.plugin.classifier import ModelInfo, Scores
from imgtag_tflite.model import load_model
from imgtag_tflite.runtime import map_failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgtag.plugin.image import Image
    from imgtag_tflite.settings import TFLiteSettings

MAX_BATCH = 8  # pictures; more gains nothing on a CPU and costs memory
_HINT = "If the bundled model works on the same picture, convert this one again."


class TFLiteClassifier:
    """A TensorFlow Lite model on the CPU; one call at a time.

    The constructor raises ModelError where the model or its labels cannot be used; the message names the file.
    """

    info: ModelInfo

    def __init__(self, settings: TFLiteSettings) -> None:
        self._model = load_model(settings)
        self._batch = 1
        self.info = self._model.info

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """Return the scores of each image, in their order. Raises ModelError when the model itself fails."""
        model, interpreter = self._model, self._model.interpreter
        limit = MAX_BATCH if model.image.dynamic else 1
        scores: list[Scores] = []
        for start in range(0, len(images), limit):
            part = images[start : start + limit]
            pixels = np.stack([image.fit(self.info.size, crop=model.crop) for image in part])
            with map_failures(f"{self.info.id} failed on a picture", _HINT):
                if len(pixels) != self._batch:  # only then, since the runtime plans its memory again
                    interpreter.resize_tensor_input(model.image.index, pixels.shape)
                    interpreter.allocate_tensors()
                    self._batch = len(pixels)
                interpreter.set_tensor(model.image.index, model.image.encode(pixels))
                interpreter.invoke()
                classes = model.classes.probabilities(interpreter.get_tensor(model.classes.index))
                probabilities = apply_temperature(classes, self.info.temperature)
                if model.embedding is None:
                    scores += [Scores(probabilities=row) for row in probabilities]
                    continue
                embeddings = model.embedding.decode(interpreter.get_tensor(model.embedding.index))
                matrix = model.projection
                scores += [
                    Scores(probabilities=row, embedding=values, vector=None if matrix is None else values @ matrix)
                    for row, values in zip(probabilities, embeddings, strict=True)
                ]
        return scores
