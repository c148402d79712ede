"""How well vectors of 128 numbers, made from the bundled model's embeddings in several ways, find similar pictures.

    python benchmarks/similarity.py FOLDER [--wordnet data.noun]

FOLDER holds pictures named SYNSET_label.EXT (as `n02119789_kit_fox.JPEG`), at best one for each class.

kind     mean WordNet similarity (Wu and Palmer) of a picture's class and the classes of its 10 nearest others
path     the same by the shortest path, 1 / (1 + steps)
variant  how often the nearest to a cut, mirrored, darkened, more compressed copy is its original

What is fitted is fitted on one half of the pictures and measured on the other, both ways round; so `kind` and `path`
are within halves for all. int8 is scaled by each vector's own largest number; `fixed`: by that of all pictures.
WordNet: Debian's wordnet-base.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps

from imgtag.models.projection import project
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.vector import LENGTH
from imgtag.workers.child.decode import decode
from imgtag_tflite.graph import read_graph
from imgtag_tflite.model import load_model
from imgtag_tflite.projection import read_constant
from imgtag_tflite.runtime import create_interpreter
from imgtag_tflite.settings import TFLiteSettings
from imgtag_tflite.source import find_model

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts/wordnet"))
from lexicon import DEBIAN, Lexicon, LexiconError

LIMITS = PictureLimits(pixels=10**9, frames=1, memory=1 << 30, seconds=30)
NEAREST = 10
ROOT = "n00001740"  # entity

Way = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]


def embeddings(pictures: Sequence[bytes]) -> np.ndarray:
    classifier = load_model(TFLiteSettings())
    images = (decode(picture, classifier.info.size, LIMITS).image for picture in pictures)
    return np.stack([classifier.classify([image])[0].embedding for image in images])


def variant(picture: bytes) -> bytes:
    with Pillow.open(BytesIO(picture)) as opened:
        width, height = opened.size
        cut = opened.convert("RGB").crop((width // 5, height // 10, width, height * 17 // 20))
    file = BytesIO()
    ImageEnhance.Brightness(ImageOps.mirror(cut)).enhance(0.6).save(file, "JPEG", quality=60)
    return file.getvalue()


def relatedness(lexicon: Lexicon, synsets: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair of classes: Wu and Palmer's similarity, and that of the shortest path."""
    above = [lexicon.above(synset) for synset in synsets]
    depth = cache(lambda synset: lexicon.above(synset)[ROOT] + 1)
    kind, path = np.zeros((2, len(synsets), len(synsets)))
    for i, one in enumerate(above):
        for j, other in enumerate(above[:i]):
            shared = one.keys() & other.keys()
            lowest = max(shared, key=lambda synset: (depth(synset), synset))
            steps = one[lowest] + other[lowest]
            kind[i, j] = kind[j, i] = 2 * depth(lowest) / (2 * depth(lowest) + steps)
            path[i, j] = path[j, i] = 1 / (1 + min(one[synset] + other[synset] for synset in shared))
    return kind, path


def last_layer() -> np.ndarray:
    model = load_model(TFLiteSettings())
    path = find_model("bundled").path
    content = path.read_bytes()
    layers = read_graph(content).layers[model.embedding.tensor.index]
    return (
        read_constant(create_interpreter(content, path, 1), layers[0])
        .reshape(model.classes.length, -1)
        .astype(np.float64)
    )


def linear(matrix: np.ndarray) -> Way:
    return lambda _: lambda rows: rows @ matrix


def fitted(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Principal components."""
    middle = rows.mean(axis=0)
    components = np.linalg.svd(rows - middle, full_matrices=False)[2][:LENGTH].T
    return lambda others: (others - middle) @ components


def ways(weights: np.ndarray) -> dict[str, Way]:
    spread = weights - weights.mean(axis=0)
    _, sizes, rows = np.linalg.svd(spread, full_matrices=False)
    directions, sizes = rows[:LENGTH].T, sizes[:LENGTH]
    random = np.linalg.qr(np.random.default_rng(0).normal(size=(weights.shape[1], LENGTH)))[0]
    return {
        f"none: all {weights.shape[1]:,} numbers": linear(np.eye(weights.shape[1])),
        "random directions": linear(random),
        "principal components of the other half": fitted,
        "singular vectors of the last layer": linear(directions),
        "the same, times the root of the value (what the sidecar does)": linear(project(weights)),
        "the same, times the value": linear(directions * sizes),
        f"all {weights.shape[0]:,} logits": linear(spread.T),
    }


def int8(vectors: np.ndarray) -> np.ndarray:
    return np.rint(vectors * (127 / np.abs(vectors).max(axis=1, keepdims=True)))


def fixed(vectors: np.ndarray) -> np.ndarray:
    return np.rint(vectors * (127 / np.abs(vectors).max()))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(vectors: np.ndarray, alike: np.ndarray) -> float:
    cosines = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, :NEAREST]
    return float(np.take_along_axis(alike, nearest, 1).mean())


def measured(
    way: Way, store: Callable, rows: np.ndarray, copies: np.ndarray, alike: Sequence[np.ndarray]
) -> list[float]:
    shuffled = np.random.default_rng(0).permutation(len(rows))
    halves = np.array_split(shuffled, 2)
    means = [
        [near(store(way(rows[fit])(rows[test])), matrix[np.ix_(test, test)]) for matrix in alike]
        for fit, test in (halves, halves[::-1])
    ]
    project = way(rows)
    nearest = (unit(store(project(copies))) @ unit(store(project(rows))).T).argmax(axis=1)
    return [*np.mean(means, axis=0), float((nearest == np.arange(len(rows))).mean())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wordnet", type=Path, default=DEBIAN)
    options = parser.parse_args()
    if not options.folder.is_dir():
        raise SystemExit(f"there is no folder {options.folder}: name one with pictures called SYNSET_label.JPEG")
    try:
        lexicon = Lexicon.read(options.wordnet)
    except LexiconError as error:
        raise SystemExit(str(error)) from error
    paths = sorted(path for path in options.folder.iterdir() if path.name.split("_")[0] in lexicon.synsets)
    if len(paths) <= 2 * NEAREST:
        raise SystemExit(f"{options.folder} has {len(paths)} pictures called SYNSET_label.JPEG: that is too few")
    pictures = [path.read_bytes() for path in paths]
    rows, copies = embeddings(pictures), embeddings([variant(picture) for picture in pictures])
    alike = relatedness(lexicon, [path.name.split("_")[0] for path in paths])
    print(f"{len(paths)} pictures\n\n| way | stored as | kind | path | variant |\n|---|---|---|---|---|")
    for name, way in ways(last_layer()).items():
        for stored in (lambda vectors: vectors, int8, fixed):
            kind, path, first = measured(way, stored, rows, copies, alike)
            form = stored.__name__ if stored in (int8, fixed) else "float"
            print(f"| {name} | {form} | {kind:.3f} | {path:.4f} | {first:.1%} |", flush=True)


if __name__ == "__main__":
    main()
