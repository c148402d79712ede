"""A neural network as plain data: tensors by name and the operations between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Kind = Literal["conv", "depthwise", "dense", "add", "mean", "reshape", "softmax", "quantise", "dequantise"]


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Real value = scale * (stored - zero); one scale for all, or one per index of `axis`."""

    scale: NDArray[np.float64]
    zero: int = 0
    axis: int = 0


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Shape without the batch for values that flow, in full for constants (those have data)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    data: NDArray[Any] | None = None
    quantisation: Quantisation | None = None


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation; `stride` and `relu6` mean something for convolutions only."""

    kind: Kind
    inputs: tuple[str, ...]
    output: str
    stride: int = 1
    relu6: bool = False


@dataclass
class Graph:
    """Tensors in the order in which they were made, operations in the order in which they run."""

    image: str
    outputs: Mapping[str, str]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def tensor(self, tensor: Tensor) -> str:
        """Add a tensor and return its name; a name is used once."""
        if tensor.name in self.tensors:
            raise ValueError(f"two tensors are called {tensor.name}")
        self.tensors[tensor.name] = tensor
        return tensor.name

    def constant(self, name: str, data: NDArray[Any], quantisation: Quantisation | None = None) -> str:
        """Add a tensor that holds data and return its name."""
        return self.tensor(Tensor(name=name, shape=data.shape, dtype=data.dtype, data=data, quantisation=quantisation))

    def op(self, kind: Kind, inputs: tuple[str, ...], output: Tensor, *, stride: int = 1, relu6: bool = False) -> str:
        """Add an operation with the tensor that it makes and return the tensor's name."""
        self.ops.append(Op(kind=kind, inputs=inputs, output=self.tensor(output), stride=stride, relu6=relu6))
        return output.name
