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
    """An input or output as a runtime describes it. `shape_signature` has -1 where a size is free."""

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


def create_interpreter(content: bytes, path: Path, threads: int) -> Interpreter:
    """Create an interpreter and allocate its tensors.

    Raises ModelError where no runtime is installed or the runtime refuses the model; `path` is for the message.
    """
    create = _import_interpreter()
    hint = "Convert the model with a TensorFlow release no newer than the installed runtime."
    with map_failures(f"{path} was refused by the TensorFlow Lite runtime", hint):
        result: Interpreter = create(model_content=content, num_threads=threads)
        result.allocate_tensors()
    return result


@contextmanager
def map_failures(message: str, hint: str) -> Iterator[None]:
    """Turn what a runtime raises into ModelError; it has no exception classes of its own."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{message}: {' '.join(str(error).split())}", hint=hint) from error


def _import_interpreter() -> Any:
    for name in RUNTIMES:
        try:
            return import_module(f"{name}.interpreter").Interpreter
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != name:
                raise
    hint = "Install ai-edge-litert, or where it has no wheel: pip install 'imgtag-sidecar[tflite-runtime]'"
    raise ModelError("no TensorFlow Lite runtime is installed", hint=hint)
