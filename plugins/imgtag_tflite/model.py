"""A model ready to run: its interpreter, what goes in, what comes out, what the classes are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.errors import ModelError
from imgtag.labels.taxonomy import Taxonomy
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import identity
from imgtag_tflite import labels, model_file, projection, runtime, words
from imgtag_tflite.choice import choose
from imgtag_tflite.tensors import Input, NoClassifier, Normalisation, Output, select

if TYPE_CHECKING:
    from pathlib import Path

    from imgtag.models.manifest import Manifest, OutputManifest
    from imgtag_tflite.choice import Choice
    from imgtag_tflite.model_file import ModelFile
    from imgtag_tflite.projection import Matrix
    from imgtag_tflite.runtime import Interpreter
    from imgtag_tflite.settings import TFLiteSettings

CROP = 0.875  # what models for ImageNet were tested with
WORDIEST = 100  # characters of a licence's name; more is its text


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the classifier needs."""

    info: ModelInfo
    interpreter: Interpreter
    image: Input
    classes: Output
    embedding: Output | None
    projection: Matrix | None
    """Embedding to vector: float32 [embedding, 128]."""
    crop: float
    """Share of a picture's shorter side that the model sees."""


def load(settings: TFLiteSettings) -> Model:
    """Read, check and open the model of the settings.

    Raises ModelError that names the file, where the model or its labels cannot be used.
    """
    choice = choose(settings.model)
    file = model_file.read(choice.path, expected=choice.digest)
    elsewhere = settings.labels or choice.labels
    origin, names = _labels(file, elsewhere)
    interpreter = runtime.interpreter(file.content, file.path, settings.threads)
    with runtime.failures(f"{file.path} is damaged", "Copy the file again, or convert the model again."):
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    try:
        preparation = _preparation(file, settings, choice.manifest)
        image = Input.of(inputs, preparation.normalisation)
        classes, embedding = select(outputs, file.graph, len(names), choice.manifest.output)
    except NoClassifier as error:
        raise ModelError(f"{file.path} is not an image classifier: {error.seen}", hint=error.hint) from error
    display = labels.fit(names, origin, classes.length)
    identities = tuple(identity(label) for label in display)
    taxonomy = words.read(choice.words) if choice.words else Taxonomy()
    if choice.words and elsewhere is None:
        better = words.shown(choice.words)
        display = tuple(better.get(number, name) for number, name in enumerate(display))
    matrix = _projection(choice, file, interpreter, classes.length, embedding)
    info = ModelInfo(
        name=choice.name,
        digest=file.digest,
        labels=identities,
        display=display,
        size=image.size,
        embedding=embedding.length if embedding else 0,
        projection=projection.NAME if matrix is not None else "",
        licence=choice.manifest.licence or _licence(file),
        variant=_variant(preparation, identities if elsewhere else (), choice.manifest.output),
        temperature=settings.temperature or choice.manifest.temperature or 1.0,
        taxonomy=taxonomy,
    )
    return Model(
        info=info,
        interpreter=interpreter,
        image=image,
        classes=classes,
        embedding=embedding,
        projection=matrix,
        crop=preparation.crop,
    )


def _projection(
    choice: Choice, file: ModelFile, interpreter: Interpreter, classes: int, embedding: Output | None
) -> Matrix | None:
    if choice.projection is not None:
        return projection.read(choice.projection)
    if embedding is None:
        return None
    return projection.find(interpreter, file.graph.layers[embedding.index], classes, embedding.length)


def _labels(file: ModelFile, elsewhere: Path | None) -> tuple[str, tuple[str, ...]]:
    """Where the labels stand and what they are; none where the model file holds none and none were named."""
    if elsewhere is not None:
        return str(elsewhere), labels.read(elsewhere)
    inside = file.label_file()
    if inside is None:
        return str(file.path), ()
    name, content = inside
    origin = f"{name} in {file.path}"
    return origin, labels.parse(content, origin)


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """How a picture becomes the input; `said` is what the model file does not say itself."""

    normalisation: Normalisation | None
    crop: float
    said: tuple[object, ...]


def _preparation(file: ModelFile, settings: TFLiteSettings, manifest: Manifest) -> _Preparation:
    """The settings decide, then the manifest, then the model file."""
    asked = _channels(settings.mean) or _channels(manifest.input.mean)
    divided = _channels(settings.std) or _channels(manifest.input.std)
    crop = settings.crop or manifest.input.crop or CROP
    normalisation = _normalisation(file, asked or file.about.mean, divided or file.about.std)
    said = (asked, divided, *([crop] if crop != CROP else ()))
    return _Preparation(normalisation=normalisation, crop=crop, said=said if any(said) else ())


def _normalisation(file: ModelFile, mean: tuple[float, ...], std: tuple[float, ...]) -> Normalisation | None:
    if not mean and not std:
        return None
    try:
        return Normalisation.of(mean, std)
    except ValueError as error:
        hint = "Set `mean` and `std` in [classifier.tflite]: one number, or three for R, G, B."
        raise ModelError(f"{file.path}: {error}", hint=hint) from error


def _variant(preparation: _Preparation, identities: tuple[str, ...], output: OutputManifest) -> str:
    """Four hex digits for what shapes the labels and does not stand in the model file; empty where all of it does."""
    named = output.model_dump(exclude_none=True)
    if not (preparation.said or identities or named):
        return ""
    return sha256(json.dumps([preparation.said, identities, named]).encode()).hexdigest()[:4]


def _channels(value: float | tuple[float, float, float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _licence(file: ModelFile) -> str | None:
    name = " ".join(file.about.licence.partition("\n")[0].split())
    return name if 0 < len(name) <= WORDIEST else None
