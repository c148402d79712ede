"""A model ready to run: its interpreter, its inputs and outputs, and the names of its classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.errors import ModelError
from imgtag.labels.taxonomy import Taxonomy
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import identity
from imgtag_tflite import projection, runtime
from imgtag_tflite.labels import fit_labels, parse_labels, read_labels
from imgtag_tflite.model_file import read_model_file
from imgtag_tflite.source import find_model, read_display_names, read_taxonomy
from imgtag_tflite.tensors import Input, NoClassifier, Normalisation, Output, select_outputs

if TYPE_CHECKING:
    from imgtag.models.manifest import InputManifest, OutputManifest
    from imgtag_tflite.model_file import ModelFile
    from imgtag_tflite.projection import Matrix
    from imgtag_tflite.runtime import Interpreter
    from imgtag_tflite.settings import TFLiteSettings
    from imgtag_tflite.source import ModelSource

DEFAULT_CROP = 0.875  # what models for ImageNet were tested with


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


def load_model(settings: TFLiteSettings) -> Model:
    """Read, check and open the model of the settings.

    Raises ModelError that names the file, where the model, its manifest or its labels cannot be used.
    """
    source = find_model(settings.model)
    file = read_model_file(source.path, expected=source.digest)
    origin, names = _read_labels(file, source)
    interpreter = runtime.create_interpreter(file.content, file.path, settings.threads)
    with runtime.map_failures(f"{file.path} is damaged", "Copy the file again, or convert the model again."):
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    try:
        preparation = _prepare(file, source.manifest.input)
        image = Input.of(inputs, preparation.normalisation)
        classes, embedding = select_outputs(outputs, file.graph, len(names), source.manifest.output)
    except NoClassifier as error:
        raise ModelError(f"{file.path} is not an image classifier: {error.seen}", hint=error.hint) from error
    display = fit_labels(names, origin, classes.length)
    identities = tuple(identity(label) for label in display)
    if source.taxonomy and source.labels is None:
        better = read_display_names(source.taxonomy)
        display = tuple(better.get(number, name) for number, name in enumerate(display))
    matrix = _read_projection(source, file, interpreter, classes.length, embedding)
    info = ModelInfo(
        name=source.name,
        digest=file.digest,
        labels=identities,
        display=display,
        size=image.size,
        embedding=embedding.length if embedding else 0,
        projection=projection.NAME if matrix is not None else "",
        licence=source.manifest.licence or file.metadata.licence or None,
        variant=_variant(preparation, identities if source.labels else (), source.manifest.output),
        temperature=source.manifest.temperature or 1.0,
        taxonomy=read_taxonomy(source.taxonomy) if source.taxonomy else Taxonomy(),
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


def _read_projection(
    source: ModelSource, file: ModelFile, interpreter: Interpreter, classes: int, embedding: Output | None
) -> Matrix | None:
    if source.projection is not None:
        return projection.read_projection(source.projection)
    if embedding is None:
        return None
    layers = file.graph.layers[embedding.index]
    return projection.find_projection(interpreter, layers, classes, embedding.length)


def _read_labels(file: ModelFile, source: ModelSource) -> tuple[str, tuple[str, ...]]:
    """The origin of the labels, and the labels; none where neither a label file nor the model file has any."""
    if source.labels is not None:
        return str(source.labels), read_labels(source.labels)
    inside = file.read_label_file()
    if inside is None:
        return str(file.path), ()
    name, content = inside
    origin = f"{name} in {file.path}"
    return origin, parse_labels(content, origin)


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """How a picture becomes the input; `deviations` are what the model file does not say itself."""

    normalisation: Normalisation | None
    crop: float
    deviations: tuple[object, ...]


def _prepare(file: ModelFile, manifest: InputManifest) -> _Preparation:
    """The manifest decides, then the model file."""
    mean, std, crop = _channels(manifest.mean), _channels(manifest.std), manifest.crop or DEFAULT_CROP
    deviations = (mean, std, *([crop] if crop != DEFAULT_CROP else ()))
    mean, std = mean or file.metadata.mean, std or file.metadata.std
    try:
        normalisation = Normalisation.of(mean, std) if mean or std else None
    except ValueError as error:
        hint = "Set `mean` and `std` under [input] of the model's manifest: one number, or three for R, G, B."
        raise ModelError(f"{file.path}: {error}", hint=hint) from error
    return _Preparation(
        normalisation=normalisation,
        crop=crop,
        deviations=deviations if any(deviations) else (),
    )


def _variant(preparation: _Preparation, identities: tuple[str, ...], output: OutputManifest) -> str:
    """Four hex digits for what shapes the labels without standing in the model file; empty where nothing does."""
    names = output.model_dump(exclude_none=True)
    if not (preparation.deviations or identities or names):
        return ""
    return sha256(json.dumps([preparation.deviations, identities, names]).encode()).hexdigest()[:4]


def _channels(value: float | tuple[float, float, float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
