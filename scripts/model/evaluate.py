"""Top-1 of a model on pictures named after their class: `n02119789_kit_fox.JPEG`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from lite0 import MEAN, STD
from pictures import pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Accuracy:
    """How many pictures were classified correctly, top 1 and top 5; milliseconds per inference, one thread."""

    pictures: int
    top1: int
    top5: int
    milliseconds: float


def evaluate(model: bytes, paths: Iterable[Path], synsets: Sequence[str]) -> Accuracy:
    """Classify each picture; `synsets` are the classes in the model's order."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    run = interpreter.get_signature_runner()
    floating = interpreter.get_input_details()[0]["dtype"] == np.float32
    ranks: list[int] = []
    times: list[float] = []
    for path in paths:
        picture = pixels(path)[None]
        image = (picture.astype(np.float32) - np.float32(MEAN)) / np.float32(STD) if floating else picture
        start = time.perf_counter()
        probabilities = run(image=image)["probabilities"][0]
        times.append(time.perf_counter() - start)
        truth = synsets.index(path.name.partition("_")[0])
        ranks.append(int((probabilities >= probabilities[truth]).sum()) - 1)  # a tie is not a hit
    top1, top5 = (sum(rank < limit for rank in ranks) for limit in (1, 5))
    return Accuracy(len(ranks), top1, top5, float(np.median(times)) * 1000)
