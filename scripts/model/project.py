"""The projection of the bundled model's embedding, from the weights of its last layer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from imgtag.models.projection import project

if TYPE_CHECKING:
    from graph import Graph


def projection(graph: Graph) -> bytes:
    """Return the file: float16 [embedding, 128], computed in float64, so that all machines round to the same bytes."""
    last = [op for op in graph.ops if op.kind == "dense"][-1]
    kernel = graph.tensors[last.inputs[1]]
    assert kernel.data is not None
    assert kernel.quantisation is not None
    scales = kernel.quantisation.scale[:, None]
    weights = kernel.data.reshape(len(scales), -1).astype(np.float64) * scales
    file = io.BytesIO()
    np.save(file, project(weights).astype(np.float16))
    return file.getvalue()
