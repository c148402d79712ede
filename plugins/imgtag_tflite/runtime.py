"""The TensorFlow Lite runtime, whichever is installed."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from imgtag.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RUNTIMES = ("ai_edge_litert", "tflite_runtime")  # the maintained one first


class Details(TypedDict):
    """What a runtime says of an input or output. `shape_signature` has -1 where a size is open."""

    name: str
    index: int
    shape: NDArray[Any]
    shape_signature: NDArray[Any]
    dtype: type
    quantization: tuple[float, int]


class Interpreter(Protocol):
    """The part of the runtimes' interpreter that we use."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[Details]: ...
    def get_output_details(self) -> list[Details]: ...
    def get_tensor_details(self) -> list[dict[str, Any]]: ...
    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int]) -> None: ...
    def set_tensor(self, tensor_index: int, value: NDArray[Any]) -> None: ...
    def get_tensor(self, tensor_index: int) -> NDArray[Any]: ...
    def invoke(self) -> None: ...


def interpreter(content: bytes, path: Path, threads: int) -> Interpreter:
    """Return an interpreter with its tensors allocated.

    Raises ModelError where no runtime is installed or the runtime refuses the model; `path` is for the message.
    """
    create = _runtime()
    hint = "Convert the model with a TensorFlow release that is not newer than the installed runtime."
    with failures(f"{path} was refused by the TensorFlow Lite runtime", hint):
        result: Interpreter = create(model_content=content, num_threads=threads)
        result.allocate_tensors()
    return result


@contextmanager
def failures(message: str, hint: str) -> Iterator[None]:
    """Turn what a runtime raises into ModelError; it knows no classes of its own."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{message}: {' '.join(str(error).split())}", hint=hint) from error


def _runtime() -> Any:
    for name in RUNTIMES:
        try:
            return import_module(f"{name}.interpreter").Interpreter
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != name:
                raise
    hint = "Install ai-edge-litert, or where it has no wheel: pip install 'imgtag-sidecar[tflite-runtime]'"
    raise ModelError("no TensorFlow Lite runtime is installed", hint=hint)
