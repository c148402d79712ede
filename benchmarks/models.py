"""What public models cost and how often they are right, as the sidecar runs them: one row for each.

    python benchmarks/models.py MODEL.tflite... --pictures FOLDER [--labels FILE]

The bundled model is measured with them. FOLDER holds pictures named SYNSET_label.EXT (as `n02119789_kit_fox.JPEG`), at
best one for each class; accuracy is shown for models whose classes are those of ImageNet. --labels is for models that
have none inside or beside them.

Milliseconds are of inference alone, one thread, one picture at a time, each model in turn for each picture, so that the
machine is as busy for one as for another; the median. Pictures that a model was trained on flatter it.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np

from imgtag.errors import ModelError
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child.decode import decode
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings

SYNSETS = Path(__file__).resolve().parent.parent / "plugins/imgtag_tflite/bundled/synsets.txt"
IMAGENET = 1000
LIMITS = PictureLimits(pixels=10**9, frames=1, memory=1 << 30, seconds=30)
ROUNDS = 2


class Tried:
    """A model and its measurements."""

    def __init__(self, path: Path | None) -> None:
        self.classifier = load_model(TFLiteSettings(model=str(path or "bundled")))
        self.size = (path or SYNSETS.with_name("efficientnet-lite0-int8.tflite")).stat().st_size
        self.seconds: list[float] = []
        self.ranks: list[int] = []

    @property
    def background(self) -> int | None:
        """How many classes precede those of ImageNet; None if the model has other classes."""
        classes = len(self.classifier.info.labels)
        return classes - IMAGENET if classes in {IMAGENET, IMAGENET + 1} else None

    def see(self, data: bytes, right: int) -> None:
        picture = decode(data, self.classifier.info.size, LIMITS).image
        start = time.perf_counter()
        (scores,) = self.classifier.classify([picture])
        self.seconds.append(time.perf_counter() - start)
        if self.background is not None:
            probabilities = scores.probabilities[self.background :]
            self.ranks.append(int((probabilities > probabilities[right]).sum()))

    def row(self) -> str:
        info, ranks = self.classifier.info, np.array(self.ranks)
        width, height = info.size
        top = f"{(ranks == 0).mean():.1%} | {(ranks < 5).mean():.1%}" if len(ranks) else "- | -"
        cost = (
            f"{self.size / 1e6:.1f} | {width} x {height} | {len(info.labels):,} | {np.median(self.seconds) * 1e3:.1f}"
        )
        return f"| {info.name} | {cost} | {top} |"


def tried(paths: list[Path]) -> list[Tried]:
    found = [Tried(None)]
    for path in paths:
        try:
            found.append(Tried(path))
        except ModelError as error:
            print(f"left out: {error.message}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--pictures", type=Path, required=True)
    options = parser.parse_args()
    paths = sorted(path for path in options.pictures.glob("n*_*") if path.is_file())
    if not paths:
        raise SystemExit(f"{options.pictures} has no pictures called SYNSET_label.JPEG")
    classes = SYNSETS.read_text().split()
    models = tried(options.models)
    for path in paths * ROUNDS:
        data = path.read_bytes()
        for model in models:
            model.see(data, classes.index(path.name.split("_")[0]))
    print(f"{platform.machine()}, Python {platform.python_version()}, {len(paths)} pictures\n")
    print("| model | MB | input | classes | ms | top-1 | top-5 |\n|---|---|---|---|---|---|---|")
    for model in models:
        print(model.row())


if __name__ == "__main__":
    main()
