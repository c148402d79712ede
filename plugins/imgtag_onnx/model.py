"""An ONNX model ready to run, with the names of its classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtag.errors import ModelError
from imgtag.models.image_model import ImageModel, explain_refusals, name_variant, read_content
from imgtag.models.label_file import fit_labels, read_labels
from imgtag.models.manifest import find_model_files
from imgtag.models.projection import NAME, project_layer
from imgtag.models.tensors import MIN_EMBEDDING, Input, Output, Preparation, Tensor, select_outputs
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import identity
from imgtag_onnx import SUFFIX

try:
    from imgtag_onnx.graph import read_graph
    from imgtag_onnx.runtime import DTYPES, map_failures, open_session, run_session
except ModuleNotFoundError as error:
    _MISSING: str | None = error.name
else:
    _MISSING = None

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnxruntime as ort
    from numpy.typing import NDArray

    from imgtag.models.projection import Matrix
    from imgtag_onnx.graph import Graph, Head
    from imgtag_onnx.settings import OnnxSettings

_RUN_HINT = "Try the model with other software on the same picture; export it again if that fails, too."


def load_model(settings: OnnxSettings) -> ImageModel:
    """Read, check and open the model of the settings.

    Raises ModelError that names the file, where the model, its manifest or its labels cannot be used.
    """
    if _MISSING:
        raise ModelError(f"{_MISSING} is not installed", hint="pip install 'imgtag-sidecar[onnx]'")
    files = find_model_files(Path(settings.model).expanduser(), SUFFIX)
    if files.model is None:
        message = f"{files.manifest_file}: extends: there is no built-in model {files.manifest.extends!r}"
        raise ModelError(message, hint="This classifier has no built-in models: name a `file`.")
    path, manifest = files.model, files.manifest
    hint = "Check `model` in [classifier.onnx]: the path of an .onnx file that imgtag can read."
    content, digest = read_content(path, expected=manifest.sha256, hint=hint)
    graph = read_graph(content, path)
    origin, names = (str(files.labels), read_labels(files.labels)) if files.labels else (str(path), graph.labels)
    further = _find_features(graph, manifest.output.embedding)
    session = open_session(graph.add_outputs(further) if further else content, path, settings)
    preparation = Preparation.of(manifest.input)
    with explain_refusals(path):
        image = Input.of([_describe(number, each) for number, each in enumerate(session.get_inputs())], preparation)
        tensors = _try(session, image, path)
        declared = [tensors[name] for name in graph.outputs]
        probable = {tensors[name].index for name in graph.probable}
        named = manifest.output.model_copy(update={"embedding": None}) if further else manifest.output
        classes, embedding = select_outputs(declared, probable, len(names), named)
    head = graph.heads.get(classes.tensor.names[0])
    if manifest.output.embedding and further:
        embedding = Output(tensor=tensors[manifest.output.embedding])
    elif embedding is None and head is not None and tensors[head.features].length >= MIN_EMBEDDING:
        embedding = Output(tensor=tensors[head.features])
    display = fit_labels(names, origin, classes.length)
    identities = tuple(identity(label) for label in display)
    matrix = _find_projection(head, classes, embedding)
    info = ModelInfo(
        name=files.slug,
        digest=digest,
        labels=identities,
        display=display,
        size=image.size,
        embedding=embedding.length if embedding else 0,
        projection=NAME if matrix is not None else "",
        licence=manifest.licence or graph.licence or None,
        variant=name_variant(preparation, identities if files.labels else (), manifest.output),
        temperature=manifest.temperature or 1.0,
    )
    wanted = [output.tensor.names[0] for output in (classes, embedding) if output is not None]

    def run(batch: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        with map_failures(f"{info.id} failed on a picture", _RUN_HINT):
            scores, *features = run_session(session, wanted, batch)
            return scores, features[0] if features else None

    return ImageModel(
        info=info,
        image=image,
        classes=classes,
        embedding=embedding,
        projection=matrix,
        crop=preparation.crop,
        run=run,
    )


def _find_features(graph: Graph, embedding: str | None) -> Sequence[str]:
    """The tensors that become outputs: the embedding that the manifest names, else what the last layers take."""
    names = [embedding] if embedding else [head.features for head in graph.heads.values()]
    inputs = {given.name for given in graph.model.graph.input}
    return [name for name in dict.fromkeys(names) if name not in graph.outputs and name not in inputs]


def _describe(index: int, given: ort.NodeArg) -> Tensor:
    return Tensor(
        index=index,
        names=(given.name,),
        shape=tuple(size if isinstance(size, int) else -1 for size in given.shape),  # a name or None is free
        dtype=np.dtype(DTYPES.get(given.type, "O")),
    )


def _try(session: ort.InferenceSession, image: Input, path: Path) -> Mapping[str, Tensor]:
    """The outputs by name, with the shapes that they have for one black picture: a file need not say them."""
    width, height = image.size
    names = [output.name for output in session.get_outputs()]
    with map_failures(f"{path} fails on a black picture", _RUN_HINT):
        values = run_session(session, names, image.encode(np.zeros((1, height, width, 3), np.uint8)))
    free = -1 if image.is_dynamic else 1
    return {
        name: Tensor(
            index=index,
            names=(name,),
            shape=(free, *value.shape[1:]) if value.shape[:1] == (1,) else value.shape,
            dtype=value.dtype,
        )
        for index, (name, value) in enumerate(zip(names, map(np.asarray, values), strict=True))
    }


def _find_projection(head: Head | None, classes: Output, embedding: Output | None) -> Matrix | None:
    if head is None or embedding is None or embedding.tensor.names[0] != head.features:
        return None
    return project_layer(head.weights, classes.length, embedding.length)
