"""A TensorFlow Lite model ready to run, with the names of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from imgtag.labels.taxonomy import Taxonomy
from imgtag.models.image_model import ImageModel, explain_refusals, name_variant
from imgtag.models.label_file import fit_labels, parse_labels, read_labels
from imgtag.models.projection import NAME
from imgtag.models.tensors import Input, Output, Preparation, Tensor, select_outputs
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import identity
from imgtag_tflite import projection, runtime
from imgtag_tflite.model_file import read_model_file
from imgtag_tflite.source import find_model, read_display_names, read_taxonomy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from imgtag.models.projection import Matrix
    from imgtag_tflite.model_file import ModelFile
    from imgtag_tflite.runtime import Details, Interpreter
    from imgtag_tflite.settings import TFLiteSettings
    from imgtag_tflite.source import ModelSource

_RUN_HINT = "If the bundled model works on the same picture, convert this one again."


def load_model(settings: TFLiteSettings) -> ImageModel:
    """Read, check and open the model of the settings.

    Raises ModelError that names the file, where the model, its manifest or its labels cannot be used.
    """
    source = find_model(settings.model)
    file = read_model_file(source.path, expected=source.digest)
    origin, names = _read_labels(file, source)
    interpreter = runtime.create_interpreter(file.content, file.path, settings.threads)
    with runtime.map_failures(f"{file.path} is damaged", "Copy the file again, or convert the model again."):
        inputs = [_describe(each, each["shape_signature"]) for each in interpreter.get_input_details()]
        outputs = [
            _describe(each, (*each["shape_signature"][:1], *each["shape"][1:]), file.graph.outputs.get(each["index"]))
            for each in interpreter.get_output_details()
        ]
    preparation = Preparation.of(source.manifest.input, file.metadata.mean, file.metadata.std)
    with explain_refusals(file.path):
        image = Input.of(inputs, preparation)
        classes, embedding = select_outputs(outputs, file.graph.probable, len(names), source.manifest.output)
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
        projection=NAME if matrix is not None else "",
        licence=source.manifest.licence or file.metadata.licence or None,
        variant=name_variant(preparation, identities if source.labels else (), source.manifest.output),
        temperature=source.manifest.temperature or 1.0,
        taxonomy=read_taxonomy(source.taxonomy) if source.taxonomy else Taxonomy(),
    )

    shape = tuple(abs(size) for size in image.tensor.shape)  # as the runtime allocates it: 1 for what is free

    def run(batch: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        nonlocal shape
        with runtime.map_failures(f"{info.id} failed on a picture", _RUN_HINT):
            if batch.shape != shape:  # only then, since the runtime plans its memory again
                interpreter.resize_tensor_input(image.tensor.index, batch.shape)
                interpreter.allocate_tensors()
                shape = batch.shape
            interpreter.set_tensor(image.tensor.index, batch)
            interpreter.invoke()
            features = None if embedding is None else interpreter.get_tensor(embedding.tensor.index)
            return interpreter.get_tensor(classes.tensor.index), features

    return ImageModel(
        info=info,
        image=image,
        classes=classes,
        embedding=embedding,
        projection=matrix,
        crop=preparation.crop,
        run=run,
    )


def _describe(details: Details, shape: Iterable[int], *names: str | None) -> Tensor:
    scale, zero = details["quantization"]
    return Tensor(
        index=details["index"],
        names=tuple(name for name in (*names, details["name"]) if name),
        shape=tuple(int(size) for size in shape),
        dtype=np.dtype(details["dtype"]),
        scale=float(scale),
        zero=int(zero),
    )


def _read_projection(
    source: ModelSource, file: ModelFile, interpreter: Interpreter, classes: int, embedding: Output | None
) -> Matrix | None:
    if source.projection is not None:
        return projection.read_projection(source.projection)
    if embedding is None:
        return None
    layers = file.graph.layers[embedding.tensor.index]
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
