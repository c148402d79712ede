"""What a model file says about itself: its graph and its metadata, both checked.

Field numbers of the graph are those of TensorFlow Lite's schema.fbs, version 3; those of the metadata are from
metadata_schema.fbs 1.x, https://github.com/tensorflow/tflite-support.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtag_tflite.flatbuffer import Malformed, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CUSTOM = 32  # of BuiltinOperator, like all below
PASSING = frozenset({6, 22, 43, 114})  # DEQUANTIZE, RESHAPE, SQUEEZE, QUANTIZE: the values stay the same
PROBABILITIES = frozenset({14, 25})  # LOGISTIC, SOFTMAX
LAYERS = frozenset({3, 9})  # CONV_2D, FULLY_CONNECTED
ABSENT = -1  # instead of a tensor: an optional input that is not given
METADATA_IDENTIFIER = b"M001"
NORMALIZATION_OPTIONS = 1  # of the union ProcessUnitOptions
MAX_LICENCE_NAME = 100  # characters; anything longer is the text of the licence
LABEL_FILES = frozenset({2, 3})  # TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The graph of a model file."""

    outputs: Mapping[int, str]
    """Names from the signature, by tensor index; empty where there is no signature."""
    probable: frozenset[int]
    """The outputs of a softmax or a sigmoid."""
    layers: Mapping[int, tuple[int, ...]]
    """The weights that an output is multiplied by in later layers, by the output's index."""
    custom: tuple[str, ...]
    """Operations that are not built in."""
    metadata: bytes
    """The TFLITE_METADATA buffer; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What we use of it; empty where absent.

    `licence` is a name, never the text of one; `mean` and `std` are in pixel values, one number or one per channel.
    """

    licence: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    label_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Operator:
    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(content: bytes) -> Graph:
    """Check a model file and return its graph. Raises Malformed."""
    model = Table.root(content)
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    names = [code.text(1) for code in model.tables(1)]
    buffers = model.tables(4)
    for buffer in buffers:
        # Weights beyond 2 GB lie outside the table: offset and size instead of a vector.
        if buffer.length(0) == 0 and buffer.number(1, "Q") + buffer.number(2, "Q") > len(content):
            raise Malformed("a buffer lies outside the file")
    graphs = [(subgraph, _operators(subgraph, codes, len(buffers))) for subgraph in model.tables(2)]
    if not graphs:
        raise Malformed("it holds no graph")
    main, operators = graphs[0]
    outputs = main.numbers(2, "i")
    signatures = [signature for signature in model.tables(7) if signature.number(4, "I") == 0]  # of the main graph
    entries = signatures[0].tables(1) if signatures else ()
    metadata = [entry.number(1, "I") for entry in model.tables(6) if entry.text(0) == "TFLITE_METADATA"]
    makers = {output: operator.code for operator in operators[::-1] for output in operator.outputs}
    return Graph(
        outputs={entry.number(1, "I"): entry.text(0) for entry in entries},
        probable=frozenset(output for output in outputs if makers.get(_origin(operators, output)) in PROBABILITIES),
        layers={output: tuple(_layers(operators, output)) for output in outputs},
        custom=tuple(name for name, code in zip(names, codes, strict=True) if code == CUSTOM or name),
        metadata=buffers[metadata[0]].content(0) if metadata and metadata[0] < len(buffers) else b"",
    )


def read_metadata(buffer: bytes) -> Metadata:
    """Read a TFLITE_METADATA buffer. Raises Malformed."""
    if buffer[4:8] != METADATA_IDENTIFIER:
        raise Malformed(f"the metadata begin with {buffer[4:8]!r}, not with {METADATA_IDENTIFIER!r}")
    model = Table.root(buffer)
    subgraphs = model.tables(3)
    inputs = subgraphs[0].tables(2) if subgraphs else ()
    outputs = subgraphs[0].tables(3) if subgraphs else ()
    mean, std = _normalisation(inputs[0]) if inputs else ((), ())
    files = [file for owner in outputs for file in owner.tables(6)]
    names = tuple(file.text(0) for file in files if file.number(2, "b") in LABEL_FILES)
    licence = " ".join(model.text(5).partition("\n")[0].split())
    if len(licence) > MAX_LICENCE_NAME:
        licence = ""
    return Metadata(licence=licence, mean=mean, std=std, label_files=names)


def _normalisation(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.number(0, "B") == NORMALIZATION_OPTIONS and options is not None:
            return options.numbers(0, "f"), options.numbers(1, "f")
    return (), ()


def _operators(subgraph: Table, codes: Sequence[int], buffers: int) -> list[_Operator]:
    tensors = subgraph.tables(0)
    if any(tensor.number(2, "I") >= buffers for tensor in tensors):
        raise Malformed("a tensor has no buffer")
    ends = (*subgraph.numbers(1, "i"), *subgraph.numbers(2, "i"))
    operators = []
    for table in subgraph.tables(3):
        number = table.number(0, "I")
        if number >= len(codes):
            raise Malformed("an operation is not in the table of operations")
        operator = _Operator(codes[number], table.numbers(1, "i"), table.numbers(2, "i"))
        operators.append(operator)
        # Whether an input must be given: runtimes trust this, and crash. Only recurrent cells have more than three.
        inputs = [
            index
            for place, index in enumerate(operator.inputs)
            if index != ABSENT or (place == 0 or (place == 1 and len(operator.inputs) <= 3))
        ]
        ends = (*ends, *inputs, *operator.outputs)
    if any(not 0 <= index < len(tensors) for index in ends):
        raise Malformed("an operation uses a tensor that does not exist")
    return operators


def _layers(operators: Sequence[_Operator], tensor: int) -> Iterator[int]:
    """The weights of the layers that take a tensor, each as it is stored."""
    origin = _origin(operators, tensor)
    for operator in operators:
        source, weights = (*operator.inputs, ABSENT, ABSENT)[:2]
        if operator.code in LAYERS and weights != ABSENT and _origin(operators, source) == origin:
            yield _origin(operators, weights)


def _origin(operators: Sequence[_Operator], tensor: int) -> int:
    """The tensor that has the same values first, before operations that keep them."""
    makers = {output: operator for operator in operators for output in operator.outputs}
    for _ in operators:  # no chain is longer, not even a circular one
        maker = makers.get(tensor)
        if maker is None or maker.code not in PASSING or not maker.inputs:
            return tensor
        tensor = maker.inputs[0]
    return tensor
