"""A model ready to run: its interpreter, what goes in, what comes out, what the classes are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtag.errors import ModelError
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import identity
from imgtag.types.words import Words
from imgtag_tflite import labels, model_file, projection, runtime, words
from imgtag_tflite.choice import choose
from imgtag_tflite.tensors import Input, NoClassifier, Normalisation, Output, select

if TYPE_CHECKING:
    from imgtag_tflite.choice import Choice
    from imgtag_tflite.model_file import ModelFile
    from imgtag_tflite.projection import Matrix
    from imgtag_tflite.runtime import Interpreter
    from imgtag_tflite.settings import TFLiteSettings

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


def load(settings: TFLiteSettings) -> Model:
    """Read, check and open the model of the settings.

    Raises ModelError that names the file, where the model or its labels cannot be used.
    """
    choice = choose(settings.model)
    file = model_file.read(choice.path, expected=choice.digest)
    origin, names = _labels(file, settings)
    interpreter = runtime.interpreter(file.content, file.path, settings.threads)
    with runtime.failures(f"{file.path} is damaged", "Copy the file again, or convert the model again."):
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    try:
        image = Input.of(inputs, _normalisation(file, settings))
        classes, embedding = select(outputs, file.graph, len(names))
    except NoClassifier as error:
        raise ModelError(f"{file.path} is not an image classifier: {error.seen}", hint=error.hint) from error
    display = labels.fit(names, origin, classes.length)
    identities = tuple(identity(label) for label in display)
    known = words.read(choice.words) if choice.words else Words()
    if choice.words and settings.labels is None:
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
        licence=_licence(file),
        words=known,
    )
    return Model(
        info=info,
        interpreter=interpreter,
        image=image,
        classes=classes,
        embedding=embedding,
        projection=matrix,
    )


def _projection(
    choice: Choice, file: ModelFile, interpreter: Interpreter, classes: int, embedding: Output | None
) -> Matrix | None:
    if choice.projection is not None:
        return projection.read(choice.projection)
    if embedding is None:
        return None
    return projection.find(interpreter, file.graph.layers[embedding.index], classes, embedding.length)


def _labels(file: ModelFile, settings: TFLiteSettings) -> tuple[str, tuple[str, ...]]:
    """Where the labels stand and what they are; none where the model file holds none and none were named."""
    if settings.labels is not None:
        return str(settings.labels), labels.read(settings.labels)
    inside = file.label_file()
    if inside is None:
        return str(file.path), ()
    name, content = inside
    origin = f"{name} in {file.path}"
    return origin, labels.parse(content, origin)


def _normalisation(file: ModelFile, settings: TFLiteSettings) -> Normalisation | None:
    """The settings decide, then the model file."""
    mean = _channels(settings.mean) or file.about.mean
    std = _channels(settings.std) or file.about.std
    if not mean and not std:
        return None
    try:
        return Normalisation.of(mean, std)
    except ValueError as error:
        hint = "Set `mean` and `std` in [classifier.tflite]: one number, or three for R, G, B."
        raise ModelError(f"{file.path}: {error}", hint=hint) from error


def _channels(value: float | tuple[float, float, float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _licence(file: ModelFile) -> str | None:
    name = " ".join(file.about.licence.partition("\n")[0].split())
    return name if 0 < len(name) <= WORDIEST else None
