"""The graph inside a model file, checked, and what we want to know of it.

Field numbers are those of TensorFlow Lite's schema.fbs, version 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtag_tflite.flatbuffer import Malformed, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CUSTOM = 32  # of BuiltinOperator, as all below
PASSING = frozenset({6, 22, 43, 114})  # DEQUANTIZE, RESHAPE, SQUEEZE, QUANTIZE: the values stay what they are
PROBABILITIES = frozenset({14, 25})  # LOGISTIC, SOFTMAX
LAYERS = frozenset({3, 9})  # CONV_2D, FULLY_CONNECTED
ABSENT = -1  # in place of a tensor: an optional input that is not given


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What a model's flatbuffer says."""

    outputs: Mapping[int, str]
    """Names from the signature, by tensor index; empty where there is no signature."""
    probable: frozenset[int]
    """The outputs that a softmax or a sigmoid made."""
    layers: Mapping[int, tuple[int, ...]]
    """The tensors that an output is multiplied by in further layers, by the output's index."""
    custom: tuple[str, ...]
    """Operations that are not built in."""
    metadata: bytes
    """The TFLITE_METADATA buffer; empty where there is none."""


@dataclass(frozen=True)
class _Operator:
    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(content: bytes) -> Graph:
    """Check a model's flatbuffer and return what it says. Raises Malformed."""
    model = Table.root(content)
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    names = [code.text(1) for code in model.tables(1)]
    buffers = _buffers(model)
    graphs = [(subgraph, _operators(subgraph, codes, len(buffers))) for subgraph in model.tables(2)]
    if not graphs:
        raise Malformed("it holds no graph")
    main, operators = graphs[0]
    outputs = main.numbers(2, "i")
    return Graph(
        outputs=_signature(model),
        probable=frozenset(output for output in outputs if _maker(operators, output) in PROBABILITIES),
        layers={output: tuple(_layers(operators, output)) for output in outputs},
        custom=tuple(name for name, code in zip(names, codes, strict=True) if code == CUSTOM or name),
        metadata=_metadata(model, buffers),
    )


def _buffers(model: Table) -> Sequence[Table]:
    buffers = model.tables(4)
    for buffer in buffers:
        if buffer.length(0) == 0 and buffer.number(1, "Q") + buffer.number(2, "Q") > len(model.data):
            raise Malformed("a buffer lies behind its end")
    return buffers


def _operators(subgraph: Table, codes: Sequence[int], buffers: int) -> list[_Operator]:
    tensors = subgraph.tables(0)
    if any(tensor.number(2, "I") >= buffers for tensor in tensors):
        raise Malformed("a tensor has no buffer")
    ends = (*subgraph.numbers(1, "i"), *subgraph.numbers(2, "i"))
    operators = list(_operations(subgraph, codes))
    for operator in operators:
        given = [index for place, index in enumerate(operator.inputs) if index != ABSENT or _needed(operator, place)]
        ends = (*ends, *given, *operator.outputs)
    if any(not 0 <= index < len(tensors) for index in ends):
        raise Malformed("an operation uses a tensor that is not there")
    return operators


def _operations(subgraph: Table, codes: Sequence[int]) -> Iterator[_Operator]:
    for operator in subgraph.tables(3):
        number = operator.number(0, "I")
        if number >= len(codes):
            raise Malformed("an operation is not in the table of operations")
        yield _Operator(codes[number], operator.numbers(1, "i"), operator.numbers(2, "i"))


def _needed(operator: _Operator, place: int) -> bool:
    """Whether an input must be given: runtimes trust this, and crash. Only recurrent cells have more than three."""
    return place == 0 or (place == 1 and len(operator.inputs) <= 3)


def _signature(model: Table) -> dict[int, str]:
    signatures = [signature for signature in model.tables(7) if signature.number(4, "I") == 0]
    entries = signatures[0].tables(1) if signatures else ()
    return {entry.number(1, "I"): entry.text(0) for entry in entries}


def _layers(operators: Sequence[_Operator], tensor: int) -> Iterator[int]:
    """The weights of the layers that take a tensor, each as it is stored."""
    origin = _origin(operators, tensor)
    for operator in operators:
        source, weights = (*operator.inputs, ABSENT, ABSENT)[:2]
        if operator.code in LAYERS and weights != ABSENT and _origin(operators, source) == origin:
            yield _origin(operators, weights)


def _maker(operators: Sequence[_Operator], tensor: int) -> int | None:
    """The operation that made a tensor, looking through those that keep the values."""
    origin = _origin(operators, tensor)
    return next((operator.code for operator in operators if origin in operator.outputs), None)


def _origin(operators: Sequence[_Operator], tensor: int) -> int:
    """The tensor that has the same values first, before operations that keep them."""
    makers = {output: operator for operator in operators for output in operator.outputs}
    for _ in operators:  # no chain is longer, not even a circular one
        maker = makers.get(tensor)
        if maker is None or maker.code not in PASSING or not maker.inputs:
            return tensor
        tensor = maker.inputs[0]
    return tensor


def _metadata(model: Table, buffers: Sequence[Table]) -> bytes:
    entries = [entry.number(1, "I") for entry in model.tables(6) if entry.text(0) == "TFLITE_METADATA"]
    return buffers[entries[0]].content(0) if entries and entries[0] < len(buffers) else b""
