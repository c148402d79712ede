"""ONNX Runtime, and what it raises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from imgtag.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from imgtag_onnx.settings import OnnxSettings

ERRORS_ONLY = 3  # of its log levels
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}
# Its exceptions have no base class of their own: onnxruntime_pybind_exceptions.cc in its sources.
_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)


def open_session(content: bytes, path: Path, settings: OnnxSettings) -> ort.InferenceSession:
    """Open a model. Raises ModelError where the runtime refuses it or lacks a provider; `path` is for the message."""
    available = ort.get_available_providers()
    if missing := [name for name in settings.providers if name not in available]:
        message = f"[classifier.onnx] providers: this ONNX Runtime has no {', '.join(missing)}"
        raise ModelError(message, hint=f"It has {', '.join(available)}. Install the build that has the others.")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a waiting thread must not hold a core
    hint = "Export the model with an opset that the installed ONNX Runtime knows, and with standard operators only."
    with map_failures(f"{path} was refused by ONNX Runtime", hint):
        return ort.InferenceSession(content, options, providers=list(settings.providers))


@contextmanager
def map_failures(message: str, hint: str) -> Iterator[None]:
    """Turn what the runtime raises into ModelError."""
    try:
        yield
    except _FAILURES as error:
        raise ModelError(f"{message}: {' '.join(str(error).split())}", hint=hint) from error


def run_session(session: ort.InferenceSession, names: Sequence[str], batch: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs of these names for one batch."""
    (given,) = session.get_inputs()
    return list(session.run(list(names), {given.name: batch}))
