"""The range of each value of the float graph, as seen on a sample of pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from flatbuffer import write
from lite0 import MEAN, STD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from graph import Graph
    from numpy.typing import NDArray
    from quantise import Ranges

DIGITS = 4  # significant; finer differences are the machine's, not the pictures'


def calibrate(graph: Graph, pictures: Iterable[NDArray[np.uint8]]) -> Ranges:
    """Run every picture through the float graph; return the lowest and highest value of each tensor."""
    content = write(graph, "calibration", b"")
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    index = {name: position for position, name in enumerate(graph.tensors)}
    wanted = {op.output: index[op.output] for op in graph.ops}
    lows = dict.fromkeys(wanted, np.inf)
    highs = dict.fromkeys(wanted, -np.inf)
    for picture in pictures:
        interpreter.set_tensor(index[graph.image], ((picture.astype(np.float32) - MEAN) / STD)[None])
        interpreter.invoke()
        for name, position in wanted.items():
            value = interpreter.get_tensor(position)
            lows[name] = min(lows[name], float(value.min()))
            highs[name] = max(highs[name], float(value.max()))
    return {name: (lows[name], highs[name]) for name in wanted}


def save(ranges: Ranges, path: Path) -> None:
    """Write ranges as one line of JSON per value."""
    lines = (f"{json.dumps(name)}: [{low:.{DIGITS}g}, {high:.{DIGITS}g}]" for name, (low, high) in ranges.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def load(path: Path) -> Ranges:
    """Read what `save` wrote."""
    return {name: (low, high) for name, (low, high) in json.loads(path.read_text(encoding="utf-8")).items()}
